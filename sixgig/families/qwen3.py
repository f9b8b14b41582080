"""Qwen3, dense."""

from sixgig.families.terms.family import Family

FAMILY = Family("qwen3")
