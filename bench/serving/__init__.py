"""Measurements of `sixgig serve`: many clients at once, and what the gateway adds to the engine's time."""
