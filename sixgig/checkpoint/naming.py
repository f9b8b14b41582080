"""The model's name in its GGUF, from which llama.cpp concludes whose special tokens take up the space behind.

Source: llama-vocab.cpp, which knows no key for it and looks for names of models in "general.name".
"""

import re

from sixgig.checkpoint.vocabulary import Vocabulary
from sixgig.errors import ModelFileError

_STRIPPING = re.compile(r"phi-?3", re.IGNORECASE)
_OTHERS = re.compile(r"modern-bert", re.IGNORECASE)
_MARK = "phi-3"
_ALWAYS, _NEVER = {"</s>"}, {"<unk>", "<s>", "<|endoftext|>"}


def model_name(folder: str, vocabulary: Vocabulary) -> str:
    """The folder's name, changed where llama.cpp would otherwise treat the tokens as the tokenizer does not.

    ModelFileError where it has no way of treating them so.
    """
    if not vocabulary.stripping:
        name = _STRIPPING.sub(lambda found: f"{found[0].rstrip('3').rstrip('-')} 3", folder)
        return _OTHERS.sub(lambda found: found[0].replace("-", " "), name)
    known = {*vocabulary.tokens}
    theirs = (vocabulary.special() - _NEVER) | _ALWAYS
    missing = (_ALWAYS | _NEVER) - known
    if missing or theirs != vocabulary.stripping:
        token = sorted(missing or theirs ^ vocabulary.stripping)[0]
        n_stripping = len(vocabulary.stripping)
        differs = f"llama.cpp does so as Phi 3 does, which differs in {token[:40]!r}"
        numbers = f"rstrip is true of {n_stripping}; {differs}"
        raise ModelFileError(
            "tokenizer.json: an added token cannot be carried over", numbers, "use a GGUF of the model"
        )
    return folder if _STRIPPING.search(folder) else f"{_MARK} {folder}"
