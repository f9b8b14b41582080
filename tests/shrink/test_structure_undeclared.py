"""An architecture without a declaration: nothing is cut, and who asks is told what works."""

from pathlib import Path

import numpy as np
import pytest

from sixgig.errors import UsageError
from sixgig.modelfile import ModelFile, open_model
from sixgig.pruning.experts import keep_experts
from sixgig.pruning.proposals import proposals
from sixgig.pruning.structure import can_be_cut, dense_cuts, expert_cuts
from sixgig.weights.stored import StoredWeights
from tests.shrink.cut_models import header
from tests.tiny.edited import edited

ASKED = {
    "exaone": ("qwen3", dense_cuts, "dense models that can be: cohere2, deci"),
    "exaone-moe": ("qwen3moe", expert_cuts, "mixtures that can be: bailingmoe2"),
}


def undeclared(name: str, folder: Path) -> ModelFile:
    """The header of a model with usual tensors under an architecture that no file declares."""
    source = header(ASKED[name][0], folder / "whole.gguf")
    metadata, old = open_model(source).metadata, ASKED[name][0]
    own = {key: metadata.get(key) for key in metadata if key.startswith(f"{old}.")}
    changes = {key: None for key in own} | {name + key.removeprefix(old): value for key, value in own.items()}
    return open_model(edited(source, folder / f"{name}.gguf", changes | {"general.architecture": name}))


@pytest.mark.parametrize("name", ASKED)
def test_the_refusal_names_what_can_be_pruned_and_what_works(name: str, tmp_path: Path) -> None:
    model, (_, asked, known) = undeclared(name, tmp_path), ASKED[name]
    assert not model.family.declared and not can_be_cut(model)
    with pytest.raises(UsageError, match=f"out of {name} is not declared; {known}.*--no-prune"):
        asked(model)


@pytest.mark.parametrize("name", ASKED)
def test_shrink_is_proposed_no_cut(name: str, tmp_path: Path) -> None:
    weights = StoredWeights(undeclared(name, tmp_path))
    assert list(proposals(weights)) == []


def test_experts_of_an_undeclared_mixture_stay(tmp_path: Path) -> None:
    weights = StoredWeights(undeclared("exaone-moe", tmp_path))
    kept = {layer: np.arange(4) for layer in range(weights.model.n_layers)}
    with pytest.raises(UsageError, match="exaone-moe"):
        keep_experts(weights, kept, "test")
