"""Synthetic mixture-of-experts GGUF files of any size, written as a stream.

Random weights whose routing depends on the token, with a locality that is chosen and then measured
(`bench.verify_routing`). The text such a model writes means nothing.
"""
