"""Llama with heads and widths that differ from layer to layer (DeciLM, Llama-Nemotron)."""

from sixgig.families.terms.family import Family

FAMILY = Family("deci")
