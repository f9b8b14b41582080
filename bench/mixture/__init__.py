"""A mixture of experts that speaks: a small dense model's feed-forward copied into experts, then tuned."""
