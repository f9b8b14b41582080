"""Granite with experts."""

from sixgig.families.terms.family import Family

FAMILY = Family("granitemoe")
