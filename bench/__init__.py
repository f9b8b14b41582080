"""Measurements: synthetic models, token streams, and runs of ours and of stock llama.cpp side by side."""
