"""Qwen2 and Qwen2.5, dense."""

from sixgig.families.terms.family import Family

FAMILY = Family("qwen2")
