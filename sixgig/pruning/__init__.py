"""What may be cut out of a model and still load in a stock llama.cpp: experts, widths, heads, channels."""
