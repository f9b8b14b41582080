"""What the model functions write on: sizes, random weights, and the GGUF file they end up in."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from numpy.typing import NDArray

from tests.tiny.quantise import fitting, stored
from tests.tiny.vocabulary import add_vocabulary, tokens


@dataclass(frozen=True)
class Sizes:
    """The extents all tiny models share; width is the hidden state's."""

    type_name: str
    n_layers: int
    n_experts: int
    n_used: int
    expert_width: int
    width: int
    n_heads: int = 4
    n_kv_heads: int = 2
    head_width: int = 64
    n_vocab: int = 0


class Sheet:
    """Collects one model. Weights are normal with deviation gain / sqrt(inputs)."""

    def __init__(self, path: Path, architecture: str, sizes: Sizes, seed: int, max_tensors: int) -> None:
        self.sizes = sizes
        self.writer = GGUFWriter(path, architecture, split_max_tensors=max_tensors)
        self._random = np.random.default_rng(seed)

    def matrix(self, name: str, n_out: int, n_in: int, gain: float = 1.0, stack: int = 0) -> None:
        """A weight in the model's type, `stack` of them when that is not 0."""
        values = self._normal((stack, n_out, n_in) if stack else (n_out, n_in), gain / n_in**0.5)
        self._add(f"{name}.weight", values, fitting(self.sizes.type_name, n_in))

    def exact(self, name: str, shape: tuple[int, ...], mean: float = 0.0, deviation: float = 0.1) -> None:
        """A float32 tensor; name in full."""
        self._add(name, mean + self._normal(shape, deviation), GGMLQuantizationType.F32)

    def values(self, name: str, values: NDArray[np.float32]) -> None:
        """A float32 tensor of these; name in full."""
        self._add(name, values, GGMLQuantizationType.F32)

    def norm(self, name: str, width: int) -> None:
        """Norm weights around 1."""
        self.exact(f"{name}.weight", (width,), mean=1.0)

    def outside_layers(self, *, tied: bool = False) -> None:
        """Embedding (large, so that routing depends on the token), final norm, head.

        tied: the embedding is the head too, and small.
        """
        n_tokens, width = len(tokens(self.sizes.n_vocab)), self.sizes.width
        self.matrix("token_embd", n_tokens, width, gain=1.0 if tied else width**0.5)
        self.norm("output_norm", width)
        if not tied:
            self.matrix("output", n_tokens, width, gain=3.0)

    def attention(self, layer: str, *, qk_norm: bool, biased: bool = False, q_rows: int = 1) -> None:
        """Grouped-query attention; `q_rows` 2 where the query projection carries a gate too."""
        sizes = self.sizes
        q, kv = sizes.n_heads * sizes.head_width, sizes.n_kv_heads * sizes.head_width
        for name, n_out in (("attn_q", q * q_rows), ("attn_k", kv), ("attn_v", kv)):
            self.matrix(layer + name, n_out, sizes.width)
            if biased:
                self.exact(f"{layer}{name}.bias", (n_out,))
        self.matrix(layer + "attn_output", sizes.width, q, gain=0.3)
        if qk_norm:
            self.norm(layer + "attn_q_norm", sizes.head_width)
            self.norm(layer + "attn_k_norm", sizes.head_width)

    def feed_forward(self, layer: str, suffix: str, hidden: int, stack: int = 0) -> None:
        """Gate, up and down; `suffix` "_exps" or "_shexp" for experts."""
        width = self.sizes.width
        self.matrix(f"{layer}ffn_gate{suffix}", hidden, width, 2.0, stack)
        self.matrix(f"{layer}ffn_up{suffix}", hidden, width, 1.0, stack)
        self.matrix(f"{layer}ffn_down{suffix}", width, hidden, 0.3, stack)

    def experts(self, layer: str) -> None:
        """The router, decisive enough for tokens to choose differently, and the routed experts."""
        sizes = self.sizes
        self.exact(
            f"{layer}ffn_gate_inp.weight", (sizes.n_experts, sizes.width), deviation=2.0 / sizes.width**0.5
        )
        self.feed_forward(layer, "_exps", sizes.expert_width, sizes.n_experts)

    def common_metadata(self, *, context: int = 4096) -> None:
        """The pairs every architecture has."""
        writer = self.writer
        writer.add_name("tiny")
        writer.add_block_count(self.sizes.n_layers)
        writer.add_context_length(context)
        writer.add_embedding_length(self.sizes.width)
        writer.add_head_count(self.sizes.n_heads)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_freq_base(10000.0)
        add_vocabulary(writer, self.sizes.n_vocab)

    def head_metadata(self, n_rotary: int = 64) -> None:
        """Shape of grouped-query attention; `n_rotary` channels of each head are rotated."""
        self.writer.add_head_count_kv(self.sizes.n_kv_heads)
        self.writer.add_key_length(self.sizes.head_width)
        self.writer.add_value_length(self.sizes.head_width)
        self.writer.add_rope_dimension_count(n_rotary)

    def expert_metadata(self) -> None:
        """Counts and width of the routed experts."""
        self.writer.add_expert_count(self.sizes.n_experts)
        self.writer.add_expert_used_count(self.sizes.n_used)
        self.writer.add_expert_feed_forward_length(self.sizes.expert_width)

    def write(self) -> None:
        """Ends the file."""
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()

    def _normal(self, shape: tuple[int, ...], deviation: float) -> NDArray[np.float32]:
        return self._random.standard_normal(shape, np.float32) * np.float32(deviation)

    def _add(self, name: str, values: NDArray[np.float32], kind: GGMLQuantizationType) -> None:
        self.writer.add_tensor(name, stored(values, kind), raw_dtype=kind)
