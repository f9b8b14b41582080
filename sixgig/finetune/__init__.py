"""Low-rank adapters trained on a quantised model that is never held whole: PyTorch, layer by layer.

Needs the extra "tune". Nothing here is imported before a tuning run begins.
"""
