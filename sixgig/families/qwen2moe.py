"""Qwen1.5 and Qwen2 with experts, one gated shared expert."""

from sixgig.families.terms.family import Family

FAMILY = Family("qwen2moe")
