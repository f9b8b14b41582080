"""Llama and, with experts, Mixtral."""

from sixgig.families.terms.family import Family

FAMILY = Family("llama")
