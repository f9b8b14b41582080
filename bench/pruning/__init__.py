"""What structured pruning costs, against simpler criteria."""
