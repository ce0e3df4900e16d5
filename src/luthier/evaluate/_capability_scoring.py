"""Ask one model, or two side by side, the items of a family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data import Message
from luthier.errors import ModelError
from luthier.evaluate._battery import ScoringModel
from luthier.evaluate._battery_items import AskFamily, ChoiceFamily, ChoiceItem, LengthUnit, Option
from luthier.evaluate._battery_texts import TokenText
from luthier.evaluate._instructions import fulfils
from luthier.models import Model, Request

_CHUNK = 16  # items asked at once

Step = Callable[[int], None]
"""Called with the number of items just done."""


@dataclass(frozen=True)
class Outcome:
    """One item answered by one model. `chance` is the probability given to the right option; None for what is asked."""

    right: bool
    chance: float | None = None
    answer: str = ""


@dataclass(frozen=True)
class TextOutcome:
    """Two models on one text, nats per token.

    `kl` is KL(base || tuned) of the next-token distributions; `before`, `after` are the negative log-likelihoods of the
    tokens that stand there.
    """

    kl: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


def score_choices(model: ScoringModel, family: ChoiceFamily, step: Step) -> list[Outcome]:
    """Whether the right option is the likeliest, for each item."""
    outcomes: list[Outcome] = []
    for begin in range(0, len(family.items), _CHUNK):
        items = family.items[begin : begin + _CHUNK]
        several = [item for item in items if len(item.options) > 1]
        found = iter(_logprobs_of_options(model, several))
        outcomes += [
            _compare(item, next(found), family.unit) if len(item.options) > 1 else _last_words(model, item)
            for item in items
        ]
        step(len(items))
    return outcomes


def ask(model: Model, family: AskFamily, step: Step) -> list[Outcome]:
    """Greedy answers, checked by program."""
    requests = [Request((Message("user", item.prompt),), family.max_tokens) for item in family.items]
    answers: dict[int, str] = {}
    for index, answer in model.answer(requests):
        answers[index] = answer.text
        step(1)
    return [
        Outcome(all(fulfils(answers[i], check) for check in item.checks), None, answers[i])
        for i, item in enumerate(family.items)
    ]


def compare_texts(
    base: ScoringModel, tuned: ScoringModel, texts: Sequence[TokenText], step: Step
) -> Iterator[TextOutcome]:
    """Both models side by side, text by text, so that the exact divergence never needs more than one text's logits."""
    for text in texts:
        begin = text.start - 1
        p = _finite(base.next_token_logprobs(text.ids)[begin:-1], base)
        q = _finite(tuned.next_token_logprobs(text.ids)[begin:-1], tuned)
        width = min(p.shape[1], q.shape[1])  # an embedding may be padded beyond the tokens that there are
        p, q = p[:, :width], q[:, :width]
        tokens = np.asarray(text.ids[text.start :])
        places = np.arange(len(tokens))
        kl = np.einsum("tv,tv->t", np.exp(p), p - q, dtype=np.float64)
        yield TextOutcome(_floats(kl.clip(min=0)), _floats(-p[places, tokens]), _floats(-q[places, tokens]))
        step(1)


def _logprobs_of_options(model: ScoringModel, items: Sequence[ChoiceItem]) -> list[list[float]]:
    sequences, starts = [], []
    for item in items:
        for option in item.options:
            ids, start = encode_option(model.tokenizer, option)
            sequences.append(ids)
            starts.append(start)
    if not sequences:
        return []
    sums = [float(_finite(part, model).sum(dtype=np.float64)) for part in model.logprobs(sequences, starts)]
    rest = iter(sums)
    return [list(islice(rest, len(item.options))) for item in items]


def _compare(item: ChoiceItem, logprobs: Sequence[float], unit: LengthUnit) -> Outcome:
    scores = np.asarray(logprobs, dtype=np.float64)
    if unit == "per byte":
        lengths = np.array([len(option.continuation.encode()) for option in item.options])
        # Multiplied by the mean length, so that the softmax below sees differences of the size of log-probabilities.
        scores = scores / lengths * lengths.mean()
    chances = np.exp(scores - scores.max())
    return Outcome(bool(scores.argmax() == item.right), float(chances[item.right] / chances.sum()))


def _last_words(model: ScoringModel, item: ChoiceItem) -> Outcome:
    ids, start = encode_option(model.tokenizer, item.options[0])
    after = _finite(model.next_token_logprobs(ids)[start - 1 : -1], model)
    tokens = np.asarray(ids[start:])
    right = bool((after.argmax(axis=1) == tokens).all())
    return Outcome(right, float(np.exp(after[np.arange(len(tokens)), tokens].sum(dtype=np.float64))))


def encode_option(tokenizer: Any, option: Option) -> tuple[list[int], int]:
    """Token ids of context and continuation as one text, and where the continuation begins (at least 1).

    Where a token spans the border, it belongs to the continuation.
    """
    context = tokenizer.encode(option.context)
    whole: list[int] = tokenizer.encode(option.context + option.continuation)
    same = next(
        (i for i, (a, b) in enumerate(zip(context, whole, strict=False)) if a != b), min(len(context), len(whole))
    )
    return whole, max(1, min(same, len(whole) - 1))


def _finite(values: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise ModelError(
            f"{model.name} gives log-probabilities that are not finite numbers",
            why="its weights are damaged: training ran away, or a file was cut off",
            fix="train again with a lower learning rate; if it is the base, load it anew",
        )
    return values


def _floats(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)
