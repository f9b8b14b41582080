"""What this machine has: memory and its limits, bandwidths, cores. Facts only, no decisions."""
