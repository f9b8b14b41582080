"""DATA as documents in tokens: what is learnt and what is judged, and in steps that suit it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sixgig.finetune.examples import Completion, Conversation, Example, Text, read_examples
from sixgig.finetune.packing import Steps, cut, pack, require_apart, sample, split_held_out
from sixgig.finetune.rendering import Document, render
from sixgig.finetune.room import Room
from sixgig.finetune.schedule import StepSize, epochs_for
from sixgig.finetune.train import Corpus, Recipe, batches
from sixgig.inference.chat import ChatTemplate
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.jobs.tune_request import TuneRequest
from sixgig.modelfile import ModelFile
from sixgig.units import counted

HELD_OUT_SHARE, MOST_HELD_OUT_SHARE = 0.05, 0.15
HELD_OUT_DOCUMENTS = 8  # fewer have no error bar worth the name
MOST_NAMED = 8  # keys
MOST_HELD_OUT = 4  # steps' worth of tokens: judging should cost less than learning
WARMUP_SHARE, CLIP, PATIENCE, EVALUATIONS = 0.05, 1.0, 3, 10


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


@dataclass(frozen=True)
class Reading:
    """How DATA is read for a model. context: tokens of a document at most. today: what templates write as the
    date. room: memory it may take. check: called before each example; what it raises ends the reading.
    """

    model: ModelFile
    context: int
    train_on_all: bool
    today: datetime
    room: Room
    check: Callable[[], object]

    def documents(self, data: Path, held_out: Path | None, seed: int, step_tokens: int) -> Documents:
        """Raises UsageError, with the line, for what cannot be learnt from; BudgetError, before it is taken,
        for memory that `room` has not."""
        learnt, notices = self._rendered(data)
        most = MOST_HELD_OUT * step_tokens
        if held_out is None:
            return Documents(*split_held_out(learnt, held_out_share(len(learnt)), seed, most), notices)
        others, more = self._rendered(held_out)
        judged = sample(others, seed, most)
        require_apart(learnt, judged)
        return Documents(learnt, judged, tuple(dict.fromkeys((*notices, *more))))

    def _rendered(self, path: Path) -> tuple[Sequence[Document], tuple[str, ...]]:
        with open_tokenizer(self.model) as tokenizer:
            template = DatedTemplate(tokenizer.template, self.today)
            documents, kinds, passed_over = list[Document](), Counter[type[Example]](), Counter[str]()
            for example in read_examples(path, self.room, passed_over):
                self.check()
                kinds[type(example)] += 1
                documents += render(example, template, tokenizer.vocabulary, self.train_on_all, self.room)
        fitting = cut(documents, self.context)
        notices = (
            tokenizer.template.notice if Conversation in kinds else "",
            _mixed(kinds, path),
            _left_out(passed_over, path),
            fitting.notice,
        )
        return fitting.documents, tuple(notice for notice in notices if notice)


def held_out_share(n_documents: int) -> float:
    """Of the tokens: a twentieth, more where that would be too few documents, but most are for learning."""
    return min(MOST_HELD_OUT_SHARE, max(HELD_OUT_SHARE, HELD_OUT_DOCUMENTS / n_documents))


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


@dataclass(frozen=True)
class Course:
    """What is learnt and how. epochs: of all steps together, where nothing ends the run earlier."""

    documents: Documents
    size: StepSize
    recipe: Recipe
    epochs: float
    corpus: Corpus


def course_of(request: TuneRequest, documents: Documents, size: StepSize) -> Course:
    """Steps that suit the documents, where nothing else was asked for."""
    size = size.fitted_to([len(document) for document in documents.learnt])
    size = replace(size, longest=max(size.longest or 0, *map(len, documents.judged)))
    steps = Steps(documents.learnt, size.micro_tokens, size.micro_batches, request.seed)
    judged = pack(documents.judged, size.micro_tokens, request.seed, 0)
    n_steps = request.steps or steps.n_steps(request.epochs or epochs_for(steps.n_steps))
    recipe = Recipe(
        optimiser=request.optimizer,
        learning_rate=request.peak_rate,
        weight_decay=0.0,
        steps=n_steps,
        warmup_steps=round(WARMUP_SHARE * n_steps),
        clip=CLIP,
        evaluate_every=max(1, n_steps // EVALUATIONS),
        patience=PATIENCE,
        save_every_s=request.save_every_s,
    )
    corpus = Corpus(steps.__getitem__, batches(judged, size.micro_batches))
    return Course(documents, size, recipe, n_steps / steps.n_steps(1), corpus)
