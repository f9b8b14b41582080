"""Run, shrink and fine-tune frontier-size open-weight models in the memory a person has."""

__version__ = "0.1.0"
