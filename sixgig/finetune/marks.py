"""What the formats of other trainers say of whether something is learnt: yes, no, or what is not read here.

On messages "weight" (OpenAI, Mistral, Together), "train" and "training" (axolotl), "loss" (ms-swift, XTuner)
and their like; on rows the same, and the verdicts of preference data. Does not cover: labels of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from sixgig.errors import UsageError

LEARNT = (
    "weight",
    "train",
    "training",
    "trainable",
    "train_on_turn",
    "loss",
    "loss_weight",
    "loss_scale",
    "loss_mask",
)
"""0 or false: not learnt; 1 or true: learnt."""
_UNREAD = ("train_detail", "training_detail", "mask", "masked", "ignore", "ignore_loss", "loss_masks")
_VERDICTS = ("label", "kto_tag")  # of TRL's and LLaMA-Factory's data: false is an answer not to be given
_CURE = 'write "weight": 0 on an answer that is not to be learnt, and nothing on the others'
_NAMES_OF_ASKERS = ("user", "human")
_NO, _YES = (0, "0", "0.0", "false"), (1, "1", "1.0", "true")


def is_learnt(message: Mapping[str, Any], role: str, place: str) -> bool:
    """Whether a message may be learnt. Raises UsageError for a mark that cannot be kept."""
    _require_read(message, place)
    said = {key: _said(message, key, place) for key in LEARNT if key in message}
    if role != "assistant" and (asked := [key for key in said if said[key] and key != "weight"]):
        cure = "leave it out, or learn every message with --train-on-all"
        _refuse(
            f'{place}: "{asked[0]}" is true on a message of the role "{role}"', "answers are learnt", cure
        )
    return all(said.values())


def require_learnt_whole(part: Mapping[str, Any], place: str) -> None:
    """Raises UsageError where a part of an answer is marked: answers are learnt whole, or not at all."""
    if marked := [key for key in (*LEARNT, *_UNREAD) if part.get(key) is not None]:
        _refuse(f'{place}: "{marked[0]}" stands on a part of the content', "answers are learnt whole", _CURE)


def require_learnt(row: Mapping[str, Any], place: str) -> None:
    """Raises UsageError for a row that is not to be learnt, or only in part."""
    named = row.get("mask")  # NeMo's: who is not learnt
    asker = isinstance(named, str) and named.lower() in _NAMES_OF_ASKERS
    _require_read({key: value for key, value in row.items() if key != "mask" or not asker}, place)
    unwanted = [key for key in LEARNT if key in row and row[key] != "" and not _said(row, key, place)]
    if "text" not in row:  # beside a text a label is its class
        unwanted += [key for key in _VERDICTS if row.get(key) is False]
    if unwanted:
        _refuse(f"{place}: the whole row is not to be learnt", f'"{unwanted[0]}"', "leave it out")


def _require_read(marked: Mapping[str, Any], place: str) -> None:
    if found := [key for key in _UNREAD if marked.get(key) not in (None, "", [])]:
        _refuse(f'{place}: "{found[0]}" is not read', "it says what is not to be learnt", _CURE)


def _said(marked: Mapping[str, Any], key: str, place: str) -> bool:
    value = marked[key].strip().lower() if isinstance(marked[key], str) else marked[key]
    if isinstance(value, int | float | str) and value in (*_NO, *_YES):
        return value in _YES
    cure = "0 or false keeps an answer from being learnt, 1 or true learns it"
    _refuse(f'{place}: "{key}" is neither 0 nor 1, true nor false', str(value)[:40], cure)


def _refuse(what: str, numbers: str, cure: str) -> NoReturn:
    raise UsageError(what, numbers, cure)
