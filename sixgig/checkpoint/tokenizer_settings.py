"""What tokenizer_config.json does to a text where transformers lets it win over tokenizer.json.

Source: transformers' TokenizersBackend. Tokens that are put around a text are checkpoint.special's.
"""

from pathlib import Path
from typing import Any

from sixgig.checkpoint.safetensors import damaged
from sixgig.checkpoint.tokenizer_file import SPACE, Beside, Prefix, refuse
from sixgig.checkpoint.vocabulary import Vocabulary
from sixgig.families.terms.config import Config

_CLEAN_UP = (
    "clean_up_tokenization_spaces",
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
)

_FLAGS = ("add_prefix_space", "add_bos_token", "add_eos_token", "split_special_tokens", *_CLEAN_UP)


def check_settings(path: Path, settings: dict[str, Any], vocabulary: Vocabulary, config: Config) -> None:
    """ModelFileError for what llama.cpp does not do; what differs without harm is noted on `config`."""
    flags = {name: settings.get(name) for name in _FLAGS}
    for name, value in flags.items():
        if value is not None and not isinstance(value, bool):
            raise damaged(path, f"its {name} is neither true nor false", repr(value)[:60])
    if flags["split_special_tokens"]:
        refuse(path, "split_special_tokens", True, "special tokens in a text would be taken whole")
    if all(flags[name] for name in _CLEAN_UP):
        refuse(path, _CLEAN_UP[1], True, "answers would be spelled otherwise")
    if vocabulary.beside is None:
        return
    _check_prefix(path, flags["add_prefix_space"], vocabulary.beside, config)
    whole = vocabulary.taken_whole()
    unknown = [text for text in _further(settings) if text.replace(SPACE, " ") not in whole]
    if unknown:
        config.note(
            f"{path.name} makes {', '.join(map(repr, unknown))[:80]} a token of its own; tokenizer.json, "
            "which is carried, does not"
        )


def _check_prefix(path: Path, said: bool | None, beside: Beside, config: Config) -> None:
    """A tokenizer of bytes heeds it; of pieces, transformers' classes differ in whether they do."""
    if beside.by_bytes and said:
        refuse(path, "add_prefix_space", True, "no space would be put before the text")
    if not beside.by_bytes and said is not None and said is (beside.prefix is Prefix.NONE):
        config.note(
            f"{path.name}: add_prefix_space is {str(said).lower()}; tokenizer.json says otherwise and is "
            "carried"
        )


def _further(settings: dict[str, Any]) -> list[str]:
    """Texts of the tokens that are added to those of tokenizer.json."""
    found = list[Any]()
    for name in ("additional_special_tokens", "extra_special_tokens", "added_tokens_decoder"):
        value = settings.get(name)
        found += value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
    texts = [one.get("content") if isinstance(one, dict) else one for one in found]
    return list(dict.fromkeys(text for text in texts if isinstance(text, str) and text))
