"""The model's name in its GGUF, from which llama.cpp concludes whose special tokens take up the space behind.

Source: llama-vocab.cpp, which knows no key for it and looks for names of models in "general.name".
"""

import re

from sixgig.checkpoint.vocabulary import Vocabulary

_STRIPPING = re.compile(r"phi-?3", re.IGNORECASE)
_OTHERS = re.compile(r"modern-bert", re.IGNORECASE)
_MARK = "phi-3"
_ALWAYS, _NEVER = {"</s>"}, {"<unk>", "<s>", "<|endoftext|>"}


def can_strip(vocabulary: Vocabulary) -> bool:
    """Whether llama.cpp lets just those tokens take up the space behind them that the tokenizer lets."""
    there = {*vocabulary.tokens} >= _ALWAYS | _NEVER
    return there and (vocabulary.special() - _NEVER) | _ALWAYS == vocabulary.stripping


def model_name(folder: str, vocabulary: Vocabulary) -> str:
    """The folder's name, changed where llama.cpp would treat the tokens otherwise than the tokenizer."""
    if can_strip(vocabulary):
        return folder if _STRIPPING.search(folder) else f"{_MARK} {folder}"
    name = _STRIPPING.sub(lambda found: f"{found[0].rstrip('3').rstrip('-')} 3", folder)
    return _OTHERS.sub(lambda found: found[0].replace("-", " "), name)
