"""Whether the GGUF carries all that config.json says: a value is read, settled, known to be idle, or told.

A value that nobody reads and that may change what the model computes is refused by name. Source of what does
nothing: transformers' PreTrainedConfig and the classes of the architectures that recipes know.
"""

import re
from typing import Any

from sixgig.errors import ModelFileError
from sixgig.families.terms.config import ROPE_BESIDE, Config
from sixgig.families.terms.recipe import Recipe, Settled

# What every graph of llama.cpp's that recipes use takes for granted.
_EVERYWHERE: dict[str, Settled] = {
    "hidden_act": ("silu", "swish"),
    "hidden_activation": ("silu", "swish", None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "is_causal": (True, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "compression_config": (None,),
    "attn_logit_softcapping": (None, 0, 0.0),
    "final_logit_softcapping": (None, 0, 0.0),
}
# Names (regular expressions) by the reason why they change nothing.
_IDLE = {
    "what transformers notes about the file": (
        r"transformers_version|architectures|model_type|_?name_or_path|auto_map|(torch_)?dtype|mamba_ssm_dtype",
        r"return_dict|output_\w+|use_cache|problem_type|id2label|label2id|num_labels|finetuning_task|torchscript",
        r"task_specific_params|tokenizer_class|processor_class|prefix|backend|use_bfloat16|_?attn_implementation\w*",
        r"_commit_hash|is_decoder|tie_encoder_decoder|unsloth\w*|model_max_length|transformers\.js_config|ignored_layers",
        r"cross_attention_hidden_size|_experts_implementation|use_return_dict|sep_token_id|language|license",
    ),
    "training": (
        r"initializer\w*|\w*dropout\w*|\w+_pdrop|\w*aux_loss\w*|seq_aux|router_jitter_noise|\w*z_loss\w*",
        r"gradient_checkpointing\w*|pretraining_tp|ep_size|moe_drop_tokens|moe_random_routing_dropped_token",
        r"load_balanc\w*|balance_\w+|use_recompute\w*|label_smoothing\w*|\w*init_(std|method)\w*",
    ),
    "how it is computed": (
        r"chunk_size_feed_forward|cache_implementation|use_flash\w*|fused?_\w+|use_fused\w*|use_kernels?",
    ),
    "generation, which generation_config.json and the tokenizer's files say": (
        r"\w*token_ids?|\w*token_index|max_length|min_length|do_sample|early_stopping|num_(return_sequences|beams?\w*)",
        r"temperature|top_[kp]|typical_p|\w*penalty|\w*no_repeat_ngram_size|bad_words_ids|remove_invalid_values",
        r"diversity\w*|suppress_tokens|begin_suppress_tokens|forced_\w+",
    ),
    "layers that predict further tokens, which are left out": (
        r"num_nextn_predict_layers|mtp_\w+|num_mtp\w*|use_mtp",
    ),
    "pictures and sound, which are left out": (
        r"(vision|image|video|audio|speech|mm|projector|vit|boi|eoi|img|im)_\w+|\w*_(vision|image|video|audio)\w*",
    ),
}
_IDLE_ROPE = r"type|extrapolation_factor|mrope_interleaved|mrope_section|finetuned"
_PLAUSIBLE = re.compile(
    r"act|attn|attention|head|rope|rotary|position|scal|factor|multiplier|norm|eps|bias|expert|moe|router|gate|gating"
    r"|top_?k|group|layer|block|window|sparse|cap|clip|residual|parallel|alibi|mlp|ffn|hidden|intermediate|embed"
    r"|logit|temper|qk|kv|ssm|conv|mamba|linear|recurr|sink|chunk|alpha|beta|rank|lora|quant|share|dim|size|mask|scor|func|causal",
    re.IGNORECASE,
)
_CURE = "use another checkpoint or a GGUF; where the value changes nothing, take it out of config.json"


def require_carried(recipe: Recipe, config: Config) -> None:
    """ModelFileError naming a value of config.json that changes the function and is in no GGUF of `recipe`.

    Call it when everything that the recipe wants has been read. What is passed over without harm but unknown
    is noted on `config`.
    """
    _require_kinds(recipe, config)
    usual = {name: value for name, value in _EVERYWHERE.items() if name not in config.read}
    settled = usual | recipe.settled
    for name, value in config.values.items():
        if name in settled:
            _require_settled(recipe, name, value, settled[name])
        elif name in ("rope_parameters", "rope_scaling"):
            _require_rope(recipe, config, name)
        elif name in ROPE_BESIDE:
            _require_rope_value(recipe, config, name, value)
        elif not (
            name in config.read or name == "text_config" or _says_nothing(value) or _is_idle(name, recipe)
        ):
            _require_known(recipe, name, value)
            config.note(
                f"config.json: {name} is {_short(value)}, which nothing here knows; it is passed over"
            )


def _require_settled(recipe: Recipe, name: str, value: Any, wanted: Settled) -> None:
    allowed = wanted if isinstance(wanted, tuple) else (wanted,)
    if not any(type(value) is type(one) and value == one for one in (*allowed, *map(_as_float, allowed))):
        if name in ("quantization_config", "compression_config"):
            method = value.get("quant_method") if isinstance(value, dict) else value
            what = f"the checkpoint is quantised: config.json has {name} ({_short(method)})"
            raise ModelFileError(
                what, "stored weights cannot be taken over", "use its BF16 checkpoint or a GGUF"
            )
        numbers = f"{name} is {_short(value)}, llama.cpp's {recipe.architecture} has {_short(allowed[0])}"
        raise ModelFileError(
            "config.json asks for what cannot be run", numbers, "use another checkpoint or a GGUF"
        )


def _require_kinds(recipe: Recipe, config: Config) -> None:
    for kind in config.layer_kinds:
        if kind not in recipe.kinds:
            known = ", ".join(recipe.kinds)
            numbers = f"layer_types has {kind[:40]!r}, llama.cpp's {recipe.architecture} has {known}"
            raise ModelFileError(
                "config.json asks for layers that cannot be run", numbers, "use a GGUF of the model"
            )


def _as_float(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _require_rope(recipe: Recipe, config: Config, name: str) -> None:
    """Each setting within, and that layers which turn by other angles are none of this model's."""
    found = config.values[name]
    if not isinstance(found, dict):
        return
    other = config.values.get("rope_parameters")
    if name == "rope_scaling" and other and found and "full_attention" not in other:
        differs = [key for key, value in found.items() if key != "type" and other.get(key) != value]
        if differs:
            numbers = f"{differs[0]} is {_short(found[differs[0]])} and {_short(other.get(differs[0]))}"
            raise ModelFileError("config.json: rope_scaling and rope_parameters disagree", numbers, _CURE)
    for kind in ("sliding_attention", "chunked_attention"):
        inner = found.get(kind)
        used = kind in config.layer_kinds
        if not isinstance(inner, dict):
            continue
        if f"{name}.{kind}" in config.read:  # the recipe carries them apart
            for key, value in inner.items():
                _require_rope_value(recipe, config, key, value, f"{name}.{kind}")
        elif used and inner != found.get("full_attention", inner):
            what = f"config.json: {name}.{kind} turns positions otherwise than full_attention"
            raise ModelFileError(what, _short(inner), "use a GGUF of the model")
    inner = found.get("full_attention")
    flat = inner if isinstance(inner, dict) else found
    for key, value in flat.items():
        if not isinstance(value, dict):
            _require_rope_value(recipe, config, key, value)


def _require_rope_value(recipe: Recipe, config: Config, key: str, value: Any, where: str = "rope") -> None:
    if f"{where}.{key}" in config.read or _says_nothing(value) or re.fullmatch(_IDLE_ROPE, key):
        return
    if key == "partial_rotary_factor" and value == 1:
        return
    if key == "original_max_position_embeddings" or recipe.idles(f"rope.{key}"):
        return  # of ways of stretching that do without, or for which the caller answers
    numbers = f"{key} is {_short(value)}, for which llama.cpp's {recipe.architecture} has no place"
    raise ModelFileError("config.json: a rotary setting cannot be carried over", numbers, _CURE)


def _require_known(recipe: Recipe, name: str, value: Any) -> None:
    if _PLAUSIBLE.search(name):
        numbers = f"{name} is {_short(value)}, for which llama.cpp's {recipe.architecture} has no place"
        raise ModelFileError("config.json: a setting that may change the model is not known", numbers, _CURE)


def _says_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _is_idle(name: str, recipe: Recipe) -> bool:
    return recipe.idles(name) or any(
        re.fullmatch(pattern, name) for patterns in _IDLE.values() for pattern in patterns
    )


def _short(value: Any) -> str:
    return str(value)[:60]
