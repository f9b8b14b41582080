"""Qwen3 with experts, none shared."""

from sixgig.families.terms.family import Family

FAMILY = Family("qwen3moe")
