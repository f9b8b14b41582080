"""Llama 4: every layer or every other layer routed (top 1), one shared expert."""

from sixgig.families.terms.family import Family, SlidingRule

FAMILY = Family("llama4", sliding=SlidingRule(4, 8192))
