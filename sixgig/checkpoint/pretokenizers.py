"""Which of llama.cpp's ways of cutting text into words a tokenizer.json describes.

Source: the expressions in llama.cpp's llama-vocab.cpp, each beside the original it stands for, compared here
character by character; its own converter tells them apart by what they make of a sample text.
"""

from typing import Any

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _TAIL
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _TAIL
_SEED = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN35 = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_O200K = (
    _CASED + r"*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _CONTRACTIONS + "?|"
    + _CASED + r"+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _CONTRACTIONS + "?"
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # fmt: skip
_TEKKEN = (
    _CASED + r"*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|" + _CASED + r"+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # fmt: skip
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
# Whose expressions llama.cpp has without marks and with the cases of A to Z only.
MARKS_APART = {"gpt-4o", "llama4", "minimax-m2", "tekken"}
GPT2_WORDS = "gpt-2 words"
DIGITS = "single digits"
_NAMES: dict[tuple[str, ...], str] = {
    (GPT2_WORDS,): "gpt-2",
    (DIGITS, GPT2_WORDS): "refact",
    (_LLAMA3,): "llama-bpe",
    (_QWEN2,): "qwen2",
    (_QWEN35,): "qwen35",
    (_SEED,): "seed-coder",
    (_O200K,): "gpt-4o",
    (_TEKKEN,): "tekken",
    (_BAILING,): "bailingmoe2",
    _DEEPSEEK3: "deepseek-v3",
}


def steps(pre_tokenizer: Any) -> tuple[str, ...]:
    """The cuts a "pre_tokenizer" object makes, in order, as expressions or the names above."""
    if not isinstance(pre_tokenizer, dict):
        return ()
    kind = pre_tokenizer.get("type")
    if kind == "Sequence":
        inner = pre_tokenizer.get("pretokenizers")
        return tuple(step for one in inner for step in steps(one)) if isinstance(inner, list) else ()
    if kind == "ByteLevel":
        return (GPT2_WORDS,) if pre_tokenizer.get("use_regex", True) else ()
    if kind == "Digits" and pre_tokenizer.get("individual_digits"):
        return (DIGITS,)
    pattern = pre_tokenizer.get("pattern")
    expression = pattern.get("Regex", pattern.get("String")) if isinstance(pattern, dict) else None
    return (_spelled(str(expression)),) if kind == "Split" else (str(kind),)


def _spelled(expression: str) -> str:
    """Real line ends written as they are in the table."""
    return expression.replace("\r", r"\r").replace("\n", r"\n")


def name_of(found: tuple[str, ...]) -> str | None:
    """llama.cpp's name for those cuts; None where it has none, or we have not checked it."""
    return _NAMES.get(found)
