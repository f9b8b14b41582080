"""OLMoE."""

from sixgig.families.terms.family import Family

FAMILY = Family("olmoe")
