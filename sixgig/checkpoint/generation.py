"""What generation_config.json says: carried, known to do nothing, told, or refused where it is no such value.

Source: transformers' GenerationConfig and logits processors; llama.cpp's general.sampling keys.
"""

import re
from dataclasses import dataclass
from typing import Any

from sixgig.errors import ModelFileError
from sixgig.families.terms.config import Config

_NAME = "generation_config.json"
_CURE = f"correct it in {_NAME}, or take it out"
_LARGEST = 3e38  # of float32, which GGUF keeps


@dataclass(frozen=True)
class _Range:
    """Values that transformers takes, `low` and `high` among them."""

    key: str
    low: float
    high: float
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether `value` is one of them; true, false and texts are none."""
        kinds = (int,) if self.whole else (int, float)
        return type(value) in kinds and self.low <= value <= self.high

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        above = "" if self.high in (_LARGEST, 2**31 - 1) else f" to {self.high:g}"
        return f"{kind} from {self.low:g}{above}"


_SAMPLING = {
    "temperature": _Range("temp", 0, _LARGEST),
    "top_p": _Range("top_p", 0, 1),
    "min_p": _Range("min_p", 0, 1),
    "top_k": _Range("top_k", 0, 2**31 - 1, whole=True),
    # Of other programs' making, under llama.cpp's names.
    "xtc_probability": _Range("xtc_probability", 0, 1),
    "xtc_threshold": _Range("xtc_threshold", 0, 1),
    "mirostat": _Range("mirostat", 0, 2, whole=True),
    "mirostat_tau": _Range("mirostat_tau", 0, _LARGEST),
    "mirostat_eta": _Range("mirostat_eta", 0, _LARGEST),
}
# Of the likeliest token too.
_PENALTIES = {
    "repetition_penalty": _Range("penalty_repeat", 1e-6, _LARGEST),
    "penalty_last_n": _Range("penalty_last_n", 0, 2**31 - 1, whole=True),
}
# What changes the text and no GGUF carries, with the values that do nothing beside null.
_UNCARRIED: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        (
            *("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "force_words_ids", "constraints"),
            *("stop_strings", "sequence_bias", "watermarking_config", "dola_layers"),
        ),
        ([], {}, ""),
    ),
    **dict.fromkeys(
        ("forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty"), ([],)
    ),
    **dict.fromkeys(
        (
            *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length", "min_new_tokens"),
            *("presence_penalty", "frequency_penalty", "penalty_alpha", "diversity_penalty"),
            *("epsilon_cutoff", "eta_cutoff", "top_n_sigma"),
        ),
        (0,),
    ),
    **dict.fromkeys(
        (
            *("typical_p", "top_h", "encoder_repetition_penalty", "guidance_scale", "num_beams"),
            "num_beam_groups",
        ),
        (1,),
    ),
    "token_healing": (False,),
    "assistant_ensemble_weight": (0,),
}
# Names (regular expressions) by the reason why they change nothing of what a GGUF says.
_IDLE = {
    "how much is wanted, which the caller says": r"max_length|max_new_tokens|max_time|num_return_sequences",
    "what transformers notes": r"_from_model_config|_commit_hash|transformers_version|trust_remote_code",
    "tokens that other files name": r"(bos|pad|decoder_start)_token_id",
    "what is returned": r"output_\w+|return_\w+",
    "how it is computed": (
        r"use_cache|\w*cache_\w+|max_cache_len|low_memory|compile_config|disable_compile|prefill_chunk_size"
        r"|continuous_batching_config|use_mtp|renormalize_logits|remove_invalid_values"
    ),
    "beams, which num_beams tells": r"length_penalty|early_stopping",
    "guessing ahead, which changes no answer": (
        r"is_assistant|num_assistant_tokens\w*|assistant_(confidence_threshold|early_exit|lookbehind)"
        r"|prompt_lookup_num_tokens|max_matching_ngram_size|target_lookbehind|speculation_type"
    ),
}


def sampling(values: dict[str, Any], config: Config) -> dict[str, int | float]:
    """How the model's makers sample, by GGUF key; what cannot be carried is noted on `config`.

    ModelFileError naming a value that transformers would not take.
    """
    found: dict[str, int | float] = {}
    greedy = values.get("do_sample")
    if greedy is not None and not isinstance(greedy, bool):
        raise _wrong("do_sample", greedy, "true or false")
    for name, allowed in (_SAMPLING | _PENALTIES).items():
        value = values.get(name)
        if value is None:
            continue
        if not allowed.holds(value):
            raise _wrong(name, value, str(allowed))
        if greedy is not False or name in _PENALTIES:
            found[f"general.sampling.{allowed.key}"] = value if allowed.whole else float(value)
    if greedy is False:
        found["general.sampling.temp"] = 0.0
    for name, value in values.items():
        line = _untold(name, value)
        if line:
            config.note(f"{_NAME}: {name} is {str(value)[:40]}{line}")
    return found


def _untold(name: str, value: Any) -> str:
    """What to say of a value that is not carried; nothing where it does nothing."""
    if value is None or name in (*_SAMPLING, *_PENALTIES, "do_sample", "eos_token_id"):
        return ""
    if name in _UNCARRIED:
        nothing = any(type(value) in (type(one), float) and value == one for one in _UNCARRIED[name])
        return "" if nothing else "; a GGUF cannot carry it"
    if any(re.fullmatch(pattern, name) for pattern in _IDLE.values()):
        return ""
    return ", which nothing here knows; it is passed over"


def stop_tokens(values: dict[str, Any], config: Config, n_tokens: int) -> list[int]:
    """Those that transformers stops at: of generation_config.json, else of config.json; one or several.

    A number of -1 is none. ModelFileError for what is no token.
    """
    said, where = values.get("eos_token_id"), _NAME
    if said is None:
        said, where = config.values.get("eos_token_id"), "config.json"
    if said is None or (type(said) is int and said == -1):
        return []
    listed = said if isinstance(said, list) else [said]
    for number in listed:
        if type(number) is not int or not 0 <= number < n_tokens:
            numbers = f"{_shown(number)} of {n_tokens} tokens"
            cure = f"correct it in {where}, or take it out"
            raise ModelFileError(f"{where}: eos_token_id names no token", numbers, cure)
    return listed


def _wrong(name: str, value: Any, wanted: str) -> ModelFileError:
    return ModelFileError(f"{_NAME}: {name} is no usable value", f"{_shown(value)}, not {wanted}", _CURE)


def _shown(value: Any) -> str:
    return (repr(value) if isinstance(value, str) else str(value))[:60]
