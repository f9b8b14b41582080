"""Model families: each file declares one architecture's tensors; everyone else walks the declaration.

A new family is one file with a FAMILY and its name in `_MODULES`.
"""

from sixgig.errors import ModelFileError
from sixgig.families import (
    bailingmoe2,
    deci,
    deepseek,
    deepseek2,
    dots1,
    ernie45moe,
    glm4moe,
    gptoss,
    granitemoe,
    hunyuanmoe,
    lfm2moe,
    llama,
    llama4,
    minimaxm2,
    olmoe,
    qwen2,
    qwen2moe,
    qwen3,
    qwen3moe,
    qwen3next,
    qwen3vlmoe,
    qwen35,
    qwen35moe,
)
from sixgig.families.family import Family, Role, RouterRule, SlidingRule, TensorRule

_MODULES = (
    bailingmoe2,
    deci,
    deepseek,
    deepseek2,
    dots1,
    ernie45moe,
    glm4moe,
    gptoss,
    granitemoe,
    hunyuanmoe,
    lfm2moe,
    llama,
    llama4,
    minimaxm2,
    olmoe,
    qwen2,
    qwen2moe,
    qwen3,
    qwen35,
    qwen35moe,
    qwen3moe,
    qwen3next,
    qwen3vlmoe,
)
FAMILIES: dict[str, Family] = {module.FAMILY.architecture: module.FAMILY for module in _MODULES}


def family(architecture: str) -> Family:
    """The declaration of an architecture as GGUF names it; ModelFileError naming those there are."""
    if architecture not in FAMILIES:
        raise ModelFileError(
            f"the architecture {architecture[:64]!r} is not supported",
            f"supported: {', '.join(sorted(FAMILIES))}",
        )
    return FAMILIES[architecture]


__all__ = ["FAMILIES", "Family", "Role", "RouterRule", "SlidingRule", "TensorRule", "family"]
