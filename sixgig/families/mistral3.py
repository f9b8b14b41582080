"""Ministral 3 and its kin: Mistral with YaRN and a temperature of attention that grows with the position."""

from sixgig.families.terms.family import Family

FAMILY = Family(
    "mistral3",
)
