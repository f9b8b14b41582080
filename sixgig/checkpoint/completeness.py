"""Whether a checkpoint's tensors are those that its config.json announces."""

from collections.abc import Sequence

from sixgig.checkpoint.target import Converted, same_bytes
from sixgig.errors import ModelFileError
from sixgig.families import Role, family
from sixgig.families.terms.config import Config
from sixgig.families.terms.names import EMBEDDING, HEAD, inside_layer
from sixgig.families.terms.recipe import Recipe

_CURE = "fetch all files of the repository"
# What makes layers differ on purpose: routed or dense, attention, delta net or convolution.
_KINDS = (Role.ROUTER, Role.LINEAR_ATTENTION, Role.CONVOLUTION)


def check_complete(recipe: Recipe, config: Config, made: Sequence[Converted]) -> None:
    """ModelFileError where layers of one kind differ, or where a value says otherwise than the tensors."""
    layers: dict[int, dict[str, Converted]] = {}
    kinds: dict[int, set[Role]] = {}
    for one in made:
        role, number = family(recipe.architecture).classify(one.name)
        if number is not None:
            layers.setdefault(number, {})[inside_layer(one.name)] = one
            kinds.setdefault(number, set()).update({role} & {*_KINDS})
    first: dict[frozenset[Role], tuple[int, dict[str, Converted]]] = {}
    for number, tensors in layers.items():
        _require_alike(*first.setdefault(frozenset(kinds[number]), (number, tensors)), number, tensors)
    _check_embedding(config, made)
    for name, stems in recipe.flags.items():
        if name in config.values:
            _check_flag(
                recipe, config, name, {stem for tensors in layers.values() for stem in tensors} & {*stems}
            )


def with_head(config: Config, made: list[Converted]) -> list[Converted]:
    """The tensors to write: the head is left out where it is the embedding, which llama.cpp then takes.

    ModelFileError where there is none although config.json says that it is not the embedding.
    """
    found = {one.name: one for one in made}
    head, embedding = found.get(HEAD), found.get(EMBEDDING)
    tied = _tied(config)
    if head is None and not tied:
        what = "the checkpoint has no lm_head.weight, and config.json does not say that the embedding serves"
        numbers = "tie_word_embeddings is false or not there; transformers would begin with a random head"
        raise ModelFileError(
            what, numbers, f"{_CURE}, or set tie_word_embeddings to true if that is what is meant"
        )
    if head is None or embedding is None or not tied:
        return made
    if same_bytes(head.sources[0], embedding.sources[0]):
        return [one for one in made if one is not head]
    config.note("tie_word_embeddings is true, but lm_head.weight is another than the embedding: it is kept")
    return made


def _tied(config: Config) -> bool:
    """Of a model with pictures the outer value counts: the head is the outer model's."""
    name = "tie_word_embeddings"
    found = config.flag(name, default=False)
    outer = config.outer.get(name)
    return outer if "text_config" in config.outer and isinstance(outer, bool) else found


def _require_alike(
    first: int, tensors: dict[str, Converted], number: int, others: dict[str, Converted]
) -> None:
    for stem in tensors.keys() | others.keys():
        one, other = tensors.get(stem), others.get(stem)
        if one is None or other is None:
            there, missing = (first, number) if other is None else (number, first)
            numbers = f"layer {there} has {stem}, layer {missing} does not"
            raise ModelFileError("tensors are missing from the checkpoint", numbers, _CURE)
        if one.shape != other.shape:
            numbers = f"{one.name} has {one.shape}, {other.name} has {other.shape}"
            raise ModelFileError("layers have tensors of different shapes", numbers, _CURE)


def _check_embedding(config: Config, made: Sequence[Converted]) -> None:
    """Embedding and head have a row for each token that config.json announces."""
    width = config.integer("hidden_size")
    for one in made:
        if one.name in (EMBEDDING, HEAD):
            rows = config.integer("vocab_size", default=one.shape[0])
            if one.shape != (rows, width):
                numbers = f"{one.sources[0].name[:80]} has {one.shape}, config.json says {(rows, width)}"
                raise ModelFileError("a tensor has another shape than config.json says", numbers, _CURE)


def _check_flag(recipe: Recipe, config: Config, name: str, found: set[str]) -> None:
    """`found`: the tensors there are of those that the value announces."""
    said = config.flag(name)
    if said and not found:
        numbers = f"{name} is true, and there is none of {', '.join(recipe.flags[name])}"
        raise ModelFileError("config.json announces tensors that are not there", numbers, _CURE)
    if found and not said:
        numbers = f"{name} is false or not there, and the checkpoint has {', '.join(sorted(found))}"
        cure = f"set {name} to true in config.json if they count, or remove them"
        raise ModelFileError("the checkpoint has tensors that its config.json passes over", numbers, cure)
