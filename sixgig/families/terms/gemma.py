"""What Gemma 2 and Gemma 3 share: four norms a layer, a scale of attention that llama.cpp derives, caps."""

from typing import Any

from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Keys, Settled
from sixgig.families.terms.sources import attention, feed_forward, norms, outside, weight
from sixgig.families.terms.transforms import PLUS_ONE, require

LAYERS = (
    *norms(PLUS_ONE, "post_attention_norm"),
    *weight("pre_feedforward_layernorm", "ffn_norm", PLUS_ONE),
    *weight("post_feedforward_layernorm", "post_ffw_norm", PLUS_ONE),
    *attention(),
    *feed_forward(),
)
CORE = (*outside(PLUS_ONE), *LAYERS)
VISION = (r"^(model\.)?(vision_tower|multi_modal_projector)\.",)
_GELU = ("gelu_pytorch_tanh", None)
SETTLED: dict[str, Settled] = {"hidden_activation": _GELU, "hidden_act": _GELU, "attention_bias": False}
DEFAULTS: dict[str, Any] = {"tie_word_embeddings": True, "attention_bias": False}


def require_scale(config: Config, n_layers_of_largest: int) -> None:
    """ModelFileError unless attention is scaled as llama.cpp does: by the head's width, but in the model with
    `n_layers_of_largest` layers by the whole width over the heads."""
    whole = config.integer("hidden_size") // config.n_heads
    wanted = whole if config.n_layers == n_layers_of_largest else config.head_width
    said = config.number("query_pre_attn_scalar")
    numbers = f"query_pre_attn_scalar is {said:g}, llama.cpp's graph has {wanted}"
    require(said == wanted, "config.json: attention is scaled otherwise than in llama.cpp", numbers)


def softcaps(config: Config, *names: str) -> Keys:
    """Those limits of logits that config.json sets."""
    config.hear(*names)
    return {name: config.number(name) for name in names if config.has(name) and config.number(name)}
