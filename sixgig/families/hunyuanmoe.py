"""Hunyuan with experts, one shared expert."""

from sixgig.families.terms.family import Family

FAMILY = Family("hunyuan-moe")
