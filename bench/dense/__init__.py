"""A small dense model for the pruning measurements: trained here, since none of its size is at hand."""
