"""Every architecture that can be converted; a new one is a file with RECIPES and its name here."""

from sixgig.checkpoint import (
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
    qwen,
    qwen3vlmoe,
    qwen_hybrid,
)
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Recipe
from sixgig.errors import ModelFileError

_MODULES = (
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
    qwen,
    qwen3vlmoe,
    qwen_hybrid,
)
RECIPES: dict[str, Recipe] = {
    name: recipe for module in _MODULES for recipe in module.RECIPES for name in recipe.names
}


def recipe_of(config: Config) -> Recipe:
    """The recipe for what config.json says it is; ModelFileError naming those there are."""
    if config.architecture not in RECIPES:
        raise ModelFileError(
            f"a checkpoint of {config.architecture or 'no named architecture'} cannot be converted",
            f"these can: {', '.join(sorted(RECIPES))}",
            "use a GGUF file of the model",
        )
    return RECIPES[config.architecture]
