"""DATA as documents in tokens: what is learnt and what is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sixgig.cli.tune_request import Request
from sixgig.finetune.examples import Completion, Conversation, Example, Text, read_examples
from sixgig.finetune.packing import cut, require_apart, sample, split_held_out
from sixgig.finetune.rendering import Document, render
from sixgig.finetune.room import Room
from sixgig.inference.chat import ChatTemplate
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import ModelFile
from sixgig.units import counted

HELD_OUT_SHARE, MOST_HELD_OUT_SHARE = 0.05, 0.15
HELD_OUT_DOCUMENTS = 8  # fewer have no error bar worth the name
MOST_NAMED = 8  # keys
MOST_HELD_OUT = 4  # steps' worth of tokens: judging should cost less than learning


@dataclass(frozen=True)
class DatedTemplate:
    """A chat template on a certain day: some write the date, and a run may be resumed on another day."""

    template: ChatTemplate
    day: datetime

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> str:
        """As rendering.Template."""
        return self.template.render(
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            day=self.day,
        )


@dataclass(frozen=True)
class Documents:
    """learnt and judged share no example. notices: what the user should know of them."""

    learnt: Sequence[Document]
    judged: Sequence[Document]
    notices: tuple[str, ...]


def read_documents(model: ModelFile, request: Request, today: datetime, room: Room) -> Documents:
    """Raises UsageError, with the line, for what cannot be learnt from; BudgetError, before it is taken, for
    memory that `room` has not."""
    documents, notices = _rendered(model, request, request.data, today, room)
    most = MOST_HELD_OUT * request.step_tokens
    if request.held_out is None:
        share = held_out_share(len(documents))
        return Documents(*split_held_out(documents, share, request.seed, most), tuple(notices))
    others, more = _rendered(model, request, request.held_out, today, room)
    judged = sample(others, request.seed, most)
    require_apart(documents, judged)
    return Documents(documents, judged, tuple(dict.fromkeys((*notices, *more))))


def held_out_share(n_documents: int) -> float:
    """Of the tokens: a twentieth, more where that would be too few documents, but most are for learning."""
    return min(MOST_HELD_OUT_SHARE, max(HELD_OUT_SHARE, HELD_OUT_DOCUMENTS / n_documents))


def _rendered(
    model: ModelFile, request: Request, path: Path, today: datetime, room: Room
) -> tuple[Sequence[Document], list[str]]:
    with open_tokenizer(model) as tokenizer:
        template = DatedTemplate(tokenizer.template, today)
        documents, kinds, passed_over = list[Document](), Counter[type[Example]](), Counter[str]()
        for example in read_examples(path, room, passed_over):
            kinds[type(example)] += 1
            documents += render(example, template, tokenizer.vocabulary, request.train_on_all, room)
    fitting = cut(documents, request.context)
    notices = (
        tokenizer.template.notice if Conversation in kinds else "",
        _mixed(kinds, path),
        _left_out(passed_over, path),
        fitting.notice,
    )
    return fitting.documents, [notice for notice in notices if notice]


def _left_out(passed_over: Mapping[str, int], path: Path) -> str:
    """Keys that no format has, or not beside the others of their rows."""
    counted = ", ".join(f"{key[:40]} ({rows})" for key, rows in list(passed_over.items())[:MOST_NAMED])
    more = f" and {len(passed_over) - MOST_NAMED} more" if len(passed_over) > MOST_NAMED else ""
    return f"{path.name}: left out: {counted}{more}, in brackets of how many rows" if passed_over else ""


def _mixed(kinds: Mapping[type[Example], int], path: Path) -> str:
    """What a file holds that holds more than one kind; a misspelt key makes one of another."""
    names = {Conversation: "conversation", Completion: "prompt-completion pair", Text: "text"}
    found = ", ".join(counted(kinds[each], name) for each, name in names.items() if kinds.get(each))
    return f"{path.name} mixes {found}" if len(kinds) > 1 else ""
