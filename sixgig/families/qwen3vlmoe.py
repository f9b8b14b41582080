"""The text half of Qwen3-VL with experts."""

from sixgig.families.terms.family import Family

FAMILY = Family("qwen3vlmoe")
