"""Names of tensors: stems of the engine's vocabulary by the part they belong to, and names made of them.

Source: llama.cpp's llama-arch.cpp. "blk.3.attn_q.weight" is layer 3's weight of stem "attn_q".
"""

from dataclasses import dataclass

EMBEDDING, HEAD, FINAL_NORM = "token_embd.weight", "output.weight", "output_norm.weight"
ROPE_DIVISORS = "rope_freqs.weight"
ROPE_DIVISORS_SHORT, ROPE_DIVISORS_LONG = "rope_factors_short.weight", "rope_factors_long.weight"
ATTENTION_NORM, ATTENTION_OUTPUT = "attn_norm", "attn_output"
QUERY, KEY, VALUE, QUERY_KEY_VALUE = "attn_q", "attn_k", "attn_v", "attn_qkv"
QUERY_NORM, KEY_NORM = "attn_q_norm", "attn_k_norm"
DELTA_GATE, DELTA_OUTPUT, DELTA_NORM, DELTA_CONVOLUTION = "attn_gate", "ssm_out", "ssm_norm", "ssm_conv1d"
DELTA_BETA, DELTA_ALPHA, DELTA_STEP, DELTA_DECAY = "ssm_beta", "ssm_alpha", "ssm_dt", "ssm_a"
ROUTER, SHARED_GATE = "ffn_gate_inp", "ffn_gate_inp_shexp"
# Matrices, and tensors that are called like some, which llama.cpp's kernels read in float32 only.
ALWAYS_F32 = ("norm", ROUTER, SHARED_GATE, DELTA_CONVOLUTION, "shortconv.conv")
ENCODER, DECODER = "enc", "dec"  # what the names of two stacks of layers begin with
_LAYERS, _KINDS = "blk.", (".weight", ".bias", ".input_scale", ".scale")


@dataclass(frozen=True)
class GatedUnit:
    """Stems of a part that computes down(activation(gate(x)) * up(x)); gate_up: both in one, gate first."""

    gate: str
    up: str
    down: str
    gate_up: str

    def names(self, layer: int, fused: bool = False) -> tuple[str, ...]:
        """Gate, up and down of a layer, without ".weight", or gate_up and down."""
        stems = (self.gate_up, self.down) if fused else (self.gate, self.up, self.down)
        return tuple(in_layer(layer, stem) for stem in stems)


FEED_FORWARD, ROUTED, SHARED = (
    GatedUnit(*(f"ffn_{matrix}{suffix}" for matrix in ("gate", "up", "down", "gate_up")))
    for suffix in ("", "_exps", "_shexp")
)


def in_layer(layer: int, stem: str) -> str:
    """The name without a kind, "blk.3.attn_q"."""
    return f"{_LAYERS}{layer}.{stem}"


def weight_in(layer: int, stem: str) -> str:
    """The weight's whole name, "blk.3.attn_q.weight"."""
    return f"{in_layer(layer, stem)}.weight"


def inside_layer(name: str) -> str:
    """A name without its layer, if there is one."""
    return name.split(".", 2)[-1] if name.startswith(_LAYERS) else name


def stem_of(name: str) -> str:
    """A name without its layer and its kind."""
    inside = inside_layer(name)
    return next((inside.removesuffix(kind) for kind in _KINDS if inside.endswith(kind)), inside)


def bias_of(weight: str) -> str:
    """The name of the bias that belongs to a weight."""
    return f"{weight.removesuffix('.weight')}.bias"
