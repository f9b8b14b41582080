"""Hostile files: each must give one clear error, quickly, whatever it claims."""
