"""Tuning beside what people use, in less memory than the model has, and at several learning rates."""
