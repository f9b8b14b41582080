"""What shrinking takes: speed of the last write, memory of a large run; whether killed runs end alike."""
