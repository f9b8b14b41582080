"""Tiny random models that llama.cpp really loads, one function per architecture."""
