"""Asking a model for what is not known yet, and keeping what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from luthier.errors import ModelError, StoreError
from luthier.models import Answer, Model, Request, asked_model

ANSWER_FORMAT = 2  # 2: with the model that the endpoint says it served
FLUSH_EVERY = 8  # answers
FLUSH_SECONDS = 5.0


class AnswerStore(Protocol):
    """Where answers are kept; implemented by `Store`."""

    def get_answers(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The answers that are known, by key."""
        ...

    def put_answers(self, items: Mapping[str, dict[str, Any]], model: str | None = None) -> None:
        """Keep answers, all or none of them; `model` is the identity of what gave them."""
        ...


def ask(
    model: Model,
    missing: Mapping[str, Request],
    store: AnswerStore,
    take: Callable[[str, Answer], None],
    kept_as: str | None = None,
) -> None:
    """Ask the model and keep each answer soon after it came, whatever happens next.

    `kept_as` is what the answers are kept under, where that is not the model's identity: what it cost is counted so.
    """
    keys = list(missing)
    waiting: dict[str, dict[str, Any]] = {}
    answered: set[str] = set()
    flushed = time.monotonic()

    def flush() -> None:
        if waiting:
            store.put_answers(dict(waiting), kept_as or asked_model(model).identity)  # whose spending it is
            waiting.clear()

    try:
        for index, answer in model.answer(list(missing.values())):
            if not 0 <= index < len(keys) or keys[index] in answered:
                raise _broken(model, f"it answered request {index} of {len(keys)} unasked or twice")
            answered.add(keys[index])
            waiting[keys[index]] = {"format": ANSWER_FORMAT} | asdict(answer)
            if len(waiting) >= FLUSH_EVERY or time.monotonic() - flushed >= FLUSH_SECONDS:
                flush()
                flushed = time.monotonic()
            take(keys[index], answer)
    finally:
        flush()
    if len(answered) < len(keys):
        raise _broken(model, f"it answered {len(answered)} of {len(keys)} requests")


def _broken(model: Model, what: str) -> ModelError:
    return ModelError(
        f"{model.name} did not answer each request once: {what}",
        why="every case must be answered, or rungs would be compared on different cases",
        fix="run the command again; the answers so far are kept",
    )


def answer_from(value: Mapping[str, Any]) -> Answer:
    """A kept answer.

    Raises:
        StoreError: kept by a newer version.
    """
    if value["format"] > ANSWER_FORMAT:
        raise StoreError(
            f"a kept answer has format {value['format']}; this luthier reads up to {ANSWER_FORMAT}",
            fix="pip install -U luthier",
        )
    return Answer(**{name: part for name, part in value.items() if name != "format"})
