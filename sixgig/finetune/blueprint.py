"""What the blocks of a model are made from: its file, its family's declaration, its tensors, ticked off."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from sixgig.families import blocks
from sixgig.families.terms.blocks import Blocks
from sixgig.families.terms.names import weight_in
from sixgig.finetune.claims import Claims, uncovered
from sixgig.finetune.norms import Addition
from sixgig.modelfile import ModelFile
from sixgig.modelfile.counts import Counts
from sixgig.planning import Anatomy, anatomy
from sixgig.planning.context import window


@dataclass(frozen=True)
class Blueprint:
    """context: tokens of the longest sequence there will be; epsilon: of every norm."""

    model: ModelFile
    facts: Blocks
    claims: Claims
    anatomy: Anatomy
    epsilon: float
    context: int

    @property
    def counts(self) -> Counts:
        """The file's numbers by their short names."""
        return Counts(self.model.metadata, self.model.architecture)

    @property
    def n_layers(self) -> int:
        """Layers that run."""
        return len(self.anatomy.layers)

    def number(self, name: str, default: float) -> float:
        """A finite number that is not negative; ModelFileError naming the key."""
        value = self.counts.number(name, default)
        self.counts.require(isfinite(value) and value >= 0, name, f"{value}, must be at least 0")
        return float(value)

    def norm_before_feed_forward(self, layer: int) -> str:
        """Its name; the router reads it too, where there is one."""
        name = self.model.family.router.input_norm.format(layer=layer)
        return self.claims.need(name, self.model.n_embd)

    def addition(self, layer: int, part: int) -> Addition:
        """Of what mixes tokens (0) or of the feed-forward part (1)."""
        return Addition(self._norm_after(layer, part), self.scale("residual_scale") or 1.0)

    def scale(self, name: str) -> float:
        """A number of the file's that counts where the family has scales; 0 elsewhere."""
        return self.number(name, 0.0) if self.facts.scales else 0.0

    def _norm_after(self, layer: int, part: int) -> str:
        if self.facts.norms_after is None:
            return ""
        return self.claims.need(weight_in(layer, self.facts.norms_after[part]), self.model.n_embd)

    def window(self, layer: int) -> int:
        """Tokens that a layer looks back, its own included; 0 where it sees all."""
        return window(self.model) if self.anatomy.layers[layer].slides else 0

    def is_recurrent(self, layer: int) -> bool:
        """As llama.cpp decides: by the file's flags, else by the interval."""
        shape, usual = self.model.attention, self.facts.delta_net_interval
        if not usual:
            return False
        if shape.recurrent_layers:
            return shape.recurrent_layers[layer]
        return (layer + 1) % (shape.full_attention_interval or usual) != 0


def blueprint(model: ModelFile, context: int) -> Blueprint:
    """ModelFileError where the family says nothing of its blocks, or the file asks for what none computes."""
    facts = blocks(model.architecture)
    _check_settings(model, facts)
    return Blueprint(model, facts, Claims(model), anatomy(model), _epsilon(model), context)


def _epsilon(model: ModelFile) -> float:
    counts, name = Counts(model.metadata, model.architecture), "attention.layer_norm_rms_epsilon"
    counts.require(name in counts, name, "missing")
    return counts.number(name, default=0.0)


def _check_settings(model: ModelFile, facts: Blocks) -> None:
    """What llama.cpp would heed and no block computes."""
    counts, shape = Counts(model.metadata, model.architecture), model.attention
    n_layers = model.n_layers - model.hyperparameters.n_prediction_layers
    if not counts.number("attention.causal", default=1):
        raise uncovered(model, "attention.causal", False, "causal attention")
    if (groups := counts.number("expert_group_count", default=0)) > 1:
        raise uncovered(model, "expert_group_count", groups, "1")
    used = counts.each("expert_used_count", model.n_layers, model.n_experts, (0,) * model.n_layers)[:n_layers]
    if len(set(used)) > 1:
        raise uncovered(model, "expert_used_count", used, "one number for all layers")
    if facts.scales and not counts.number("rope.scaling.finetuned", default=1):
        raise uncovered(model, "rope.scaling.finetuned", False, "a model that turns positions")
    if window(model) and shape.sliding_key_length != shape.key_length:
        what = f"{shape.key_length}, as in all layers,"
        raise uncovered(model, "attention.key_length_swa", shape.sliding_key_length, what)
