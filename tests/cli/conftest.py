"""Fixtures that several files share."""

from tests.cli.shrink_source import quick, source, text

__all__ = ["quick", "source", "text"]
