"""DeepSeek's first mixture: leading dense layers, shared experts."""

from sixgig.families.blocks import MIXTURE
from sixgig.families.family import Family, RouterRule

FAMILY = Family("deepseek", MIXTURE, RouterRule(), rotates_whole_heads=True)
