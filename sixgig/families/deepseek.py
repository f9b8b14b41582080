"""DeepSeek's first mixture: leading dense layers, shared experts."""

from sixgig.families.terms.family import Family

FAMILY = Family("deepseek")
