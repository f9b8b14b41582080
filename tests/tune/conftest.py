"""Fixtures that several files share."""

from tests.tune.tune_command import data

__all__ = ["data"]
