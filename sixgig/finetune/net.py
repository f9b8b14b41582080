"""A model as a list of blocks, each of which adds to the residual stream; built as its family declares.

Does not cover: multi-token prediction layers, which are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from sixgig.families.terms.names import EMBEDDING, FINAL_NORM, HEAD
from sixgig.finetune.attention import attention
from sixgig.finetune.blueprint import blueprint
from sixgig.finetune.feed_forward import feed_forward
from sixgig.finetune.mixture import mixture
from sixgig.finetune.norms import rms_norm
from sixgig.finetune.operands import Operands, Weights
from sixgig.finetune.recurrence import delta_net
from sixgig.finetune.rope import read_rope
from sixgig.modelfile import ModelFile


class Block(Protocol):
    """Half a layer: attention (or Gated DeltaNet), or the feed-forward part, with norms and residual sum.

    layer: its number. dense, routed: names of the tensors it reads, stacks of experts apart. joined: tokens
    of all micro-batches go through together (routed experts: one product per expert); else one micro-batch
    at a time.
    """

    layer: int
    dense: tuple[str, ...]
    routed: tuple[str, ...]
    joined: bool

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """The stream after the block. x (tokens, n_embd); documents: lengths that add up to the tokens.

        Nothing passes from one document to another, and positions begin at 0 in each.
        """


@dataclass(frozen=True)
class Net:
    """blocks: in order. The other names are of tensors outside the layers; head and embedding may be one.

    embedding_scale, logit_scale: what the embedding's rows and logits are multiplied by. logit_cap: a logit l
    becomes logit_cap * tanh(l / logit_cap), where it is not 0.
    """

    model: ModelFile
    blocks: tuple[Block, ...]
    embedding: str
    final_norm: str
    head: str
    norm_epsilon: float
    embedding_scale: float
    logit_scale: float
    logit_cap: float

    def normed(self, x: Tensor, weights: Weights) -> Tensor:
        """What the head multiplies: the stream after the last block, normed, with the logits' scale."""
        hidden = rms_norm(x, weights.vector(self.final_norm), self.norm_epsilon)
        return hidden if self.logit_scale == 1 else self.logit_scale * hidden


def build_net(model: ModelFile, context: int = 0) -> Net:
    """The blocks of all layers that run, in order.

    context: tokens of the longest sequence: as in the engine it decides which of LongRoPE's factors count.
    ModelFileError, naming the first tensor or key, for a model that would compute something else: an
    architecture whose blocks nobody declares, a tensor that is missing, of another shape or left over, a
    setting that is not covered.
    """
    plan = blueprint(model, context)
    claims, facts = plan.claims, plan.facts
    blocks: list[Block] = []
    layers = range(plan.n_layers)
    ropes = {slides: read_rope(plan, slides) for slides in {False, any(map(plan.window, layers))}}
    for layer in layers:
        if plan.is_recurrent(layer):
            blocks.append(delta_net(plan, layer))
        else:
            blocks.append(attention(plan, layer, ropes[plan.window(layer) > 0]))
        blocks.append(mixture(plan, layer) if model.n_experts else feed_forward(plan, layer))
    n_vocab = model.n_vocab or plan.anatomy.n_vocab  # a file without a vocabulary has the rows it has
    embedding = claims.need(EMBEDDING, model.n_embd, n_vocab)
    head = claims.need(HEAD, model.n_embd, n_vocab) if HEAD in claims else embedding
    final_norm = claims.need(FINAL_NORM, model.n_embd)
    claims.require_all_taken()
    scale = model.n_embd**0.5 if facts.embedding_by_width else plan.scale("embedding_scale") or 1.0
    divisor = plan.scale("logit_scale") or 1.0
    cap = plan.number("final_logit_softcapping", 0.0) if facts.capped_logits else 0.0
    return Net(
        model=model,
        blocks=tuple(blocks),
        embedding=embedding,
        final_norm=final_norm,
        head=head,
        norm_epsilon=plan.epsilon,
        embedding_scale=scale,
        logit_scale=1 / divisor,
        logit_cap=cap,
    )
