"""Special tokens, stop tokens and chat templates, from wherever a folder keeps them.

Source: transformers' tokenizers for which file counts.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sixgig.checkpoint.generation import sampling, stop_tokens
from sixgig.checkpoint.naming import can_strip
from sixgig.checkpoint.safetensors import damaged, read_json
from sixgig.checkpoint.tokenizer_file import Beside, Prefix, frame
from sixgig.checkpoint.tokenizer_settings import check_settings
from sixgig.checkpoint.vocabulary import Vocabulary
from sixgig.errors import ModelFileError
from sixgig.families.terms.config import Config

_KINDS = ("bos", "eos", "unk", "sep", "pad", "mask")
_LONGEST_JSON_BYTES = 64 * 2**20
# Texts of tokens at which llama.cpp stops, whatever the file says.
_STOPS = {
    *(
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "<|calls|>",
        "<end_of_turn>",
    ),
    *("<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<eos>"),
    *("<end_of_utterance>", "<turn|>", "<|tool_response>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "[e~["),
}


@dataclass(frozen=True)
class Special:
    """`ids`: token by use. `adds_bos`, `adds_eos`: whether one is put around a text; None: nothing says so.

    `stops`: tokens that end an answer. `templates`: by name, "default" for the one. `sampling` by GGUF key.
    """

    ids: dict[str, int]
    adds_bos: bool | None
    adds_eos: bool | None
    stops: tuple[int, ...]
    templates: dict[str, str] = field(default_factory=dict)
    sampling: dict[str, int | float] = field(default_factory=dict)


def read_special(folder: Path, config: Config, vocabulary: Vocabulary, named: dict[str, str]) -> Special:
    """All of it; ModelFileError for damage and for what llama.cpp cannot do.

    `named`: tokens by use where no file says so.
    """
    settings = _json(folder / "tokenizer_config.json")
    check_settings(folder / "tokenizer_config.json", settings, vocabulary, config)
    generation = _json(folder / "generation_config.json")
    numbers = {token: number for number, token in enumerate(vocabulary.tokens)}
    ids = _ids(folder, settings, config, numbers)
    for kind, token in named.items():
        if token in numbers:
            ids.setdefault(kind, numbers[token])
    stops = stop_tokens(generation, config, len(vocabulary.tokens))
    if "eos" not in ids and not stops:
        what = f"{folder.name} names no token that ends a text, and llama.cpp would take one of its own"
        raise ModelFileError(what, "no eos_token, no eos_token_id", "put it into tokenizer_config.json")
    ids.setdefault("eos", stops[0] if stops else 0)
    _note_beside(config, vocabulary.beside)
    if vocabulary.stripping and not can_strip(vocabulary):
        some = ", ".join(sorted(vocabulary.stripping)[:4])
        config.note(f"rstrip is true of {some}: the tokenizer takes up space behind them, llama.cpp does not")
    adds = _adds(folder, settings, ids, vocabulary, config if "bos" in named else None)
    _carry_stops(folder, ids, stops, vocabulary.tokens)
    return Special(
        ids,
        *adds,
        tuple(dict.fromkeys([ids["eos"], *stops])),
        _templates(folder, settings, config),
        sampling(generation, config),
    )


def _ids(folder: Path, settings: dict[str, Any], config: Config, numbers: dict[str, int]) -> dict[str, int]:
    """By tokenizer_config.json; else special_tokens_map.json; else config.json by number, -1 for none."""
    older = _json(folder / "special_tokens_map.json")
    ids: dict[str, int] = {}
    for kind in _KINDS:
        by_number = _number(config, f"{kind}_token_id", len(numbers))
        if by_number is not None and by_number < 0:
            continue
        text = _text(settings.get(f"{kind}_token")) or _text(older.get(f"{kind}_token"))
        if text in numbers:
            ids[kind] = numbers[text]
        elif by_number is not None:
            ids[kind] = by_number
        if text and text not in numbers:
            config.note(f"tokenizer_config.json: {kind}_token is {text[:40]!r}, which is no token")
    return ids


def _number(config: Config, name: str, n_tokens: int) -> int | None:
    """A token's number, the first of a list; below 0 for none, None where nothing usable is said."""
    said = config.values.get(name)
    first = said[0] if isinstance(said, list) and said else said
    if first in (None, []):
        return None
    if type(first) is not int:
        what, cure = f"config.json: {name} is no number of a token", "correct it, or take it out"
        raise ModelFileError(what, repr(said)[:60], cure)
    if first >= n_tokens:
        config.note(f"config.json: {name} is {first}, of {n_tokens} tokens; it is passed over")
        return None
    return first


def _carry_stops(folder: Path, ids: dict[str, int], stops: list[int], tokens: list[str]) -> None:
    """Two further stop tokens have keys; others must have a name that llama.cpp stops at."""
    named = {ids.get(kind) for kind in ("eos", "eot", "eom")}
    others = [
        number for number in dict.fromkeys(stops) if number not in named and tokens[number] not in _STOPS
    ]
    free = [kind for kind in ("eot", "eom") if kind not in ids]
    if len(others) > len(free):
        numbers = f"{len(others)} beside {tokens[ids['eos']][:40]!r}, such as {tokens[others[-1]][:40]!r}"
        raise ModelFileError(
            f"{folder.name} has more stop tokens than a GGUF can name", numbers, "use a GGUF"
        )
    ids.update(zip(free, others, strict=False))


def _adds(
    folder: Path,
    settings: dict[str, Any],
    ids: dict[str, int],
    vocabulary: Vocabulary,
    templated: Config | None,
) -> tuple[bool | None, bool | None]:
    """Whether BOS and EOS are put around a text, by tokenizer_config.json, else by the post_processor.

    `templated`: of a family whose beginning is several tokens, which llama.cpp cannot put; None for others.
    """
    said = {kind: settings.get(f"add_{kind}_token") for kind in ("bos", "eos")}
    if any(isinstance(one, bool) for one in said.values()):
        return said["bos"] is True and "bos" in ids, said["eos"] is True and "eos" in ids
    path = folder / "tokenizer.json"
    if vocabulary.beside is None:
        return None, None
    before, behind = frame(_json(path))
    for kind, tokens in (("bos", before), ("eos", behind)):
        if len(tokens) > 1 or (tokens and tokens[0] not in vocabulary.tokens):
            if templated and kind == "bos":
                templated.note(
                    f"the post_processor's {', '.join(tokens)[:80]} are put by chat templates only"
                )
                tokens.clear()
                continue
            side = "before" if kind == "bos" else "behind"
            numbers = f"post_processor puts {', '.join(tokens)[:80]} {side} a text"
            raise ModelFileError(f"{path.name} asks for what llama.cpp does not do", numbers, "use a GGUF")
        if tokens:
            number = vocabulary.tokens.index(tokens[0])
            if kind == "eos" and ids["eos"] != number:
                ids.setdefault("eot", ids["eos"])  # both end an answer
            ids[kind] = number
    return bool(before), bool(behind)


def _templates(folder: Path, settings: dict[str, Any], config: Config) -> dict[str, str]:
    """Files of their own count before tokenizer_config.json, and both before chat_template.json."""
    found = settings.get("chat_template")
    older = _json(folder / "chat_template.json").get("chat_template") if found is None else None
    inside = _by_name(found if found is not None else older)
    more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    files = [("default", folder / "chat_template.jinja"), *((path.stem, path) for path in more)]
    apart = {name: _read_text(path) for name, path in files if path.is_file()}
    if apart and inside and apart != inside:
        config.note("the chat template is that of the .jinja files; tokenizer_config.json has another")
    return apart or inside


def _by_name(value: Any) -> dict[str, str]:
    """One template, a list of named ones, or an object of them."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    pairs = (
        value.items()
        if isinstance(value, dict)
        else [(one.get("name"), one.get("template")) for one in value if isinstance(one, dict)]
        if isinstance(value, list)
        else [(None, None)]
    )
    found = list(pairs)
    if not all(isinstance(name, str) and isinstance(text, str) for name, text in found):
        raise damaged(Path("tokenizer_config.json"), "its chat_template is no text and no named texts")
    return dict(found)


def _note_beside(config: Config, beside: Beside | None) -> None:
    if beside is None:
        return
    if beside.composes:
        config.note(
            "tokenizer.json brings text into Unicode's form C first, llama.cpp does not: most text is in it"
        )
    if beside.marks_apart:
        config.note(
            "text with combining marks (Hindi, Thai, Arabic vowels), and words that change case within and "
            "beyond A to Z, get other tokens in llama.cpp than by tokenizer.json"
        )
    if beside.prefix in (Prefix.EACH_WITHOUT, Prefix.FIRST_WITHOUT):
        config.note("tokenizer.json puts no space before a text that begins with one, llama.cpp does")
    if beside.prefix is Prefix.FIRST_WITHOUT:
        config.note("tokenizer.json puts no space before text behind a special token, llama.cpp does")


def _json(path: Path) -> dict[str, Any]:
    return read_json(path, _LONGEST_JSON_BYTES) if path.is_file() else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, "it cannot be read as text", str(error)[:80]) from error


def _text(token: Any) -> str:
    """A special token is a text, or an object with one; nothing or false where there is none."""
    found = token.get("content") if isinstance(token, dict) else token
    if found is None or found is False:
        return ""
    if not isinstance(found, str):
        raise damaged(Path("tokenizer_config.json"), "a special token is no text", str(token)[:60])
    return found
