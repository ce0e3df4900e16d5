"""How likely the base finds the answer of a row, and those of other rows in its place; nothing is asked twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.audit.surprise._trials import Trial
from luthier.data import Example, Message, content_hash, with_instructions
from luthier.store import Store

if TYPE_CHECKING:
    from luthier.audit._run import Progress
    from luthier.models import LocalModel

ROOM = 0.5  # of the context that demonstrations and question may take
PROMPT = 2048  # tokens of them, at most
READ = 64  # tokens of an answer: those after them cost more than they tell
AT_ONCE = 8  # rows that are kept together
FORMAT = 1


@dataclass(frozen=True)
class Scores:
    """Log-likelihoods in nats per content token: of the row's own answer, and of the others that were tried."""

    own: float
    others: tuple[float, ...]


class Asker:
    """Asks a local model how likely it finds each answer of a trial; what was asked once is kept in the store.

    Args:
        model: the base; it has to give likelihoods.
        instructions: the system message of every question, where there is one.
        store: keeps what was computed, so that an interrupted run goes on.
        progress: is told about each batch.
    """

    def __init__(self, model: LocalModel, instructions: str, store: Store, progress: Progress) -> None:
        self._model, self._instructions = model, instructions
        self._store, self._progress = store, progress
        self._telling: dict[int, bool] = {}

    def ask(self, trials: Sequence[Trial], answers: Sequence[str], stage: str) -> list[Scores | None]:
        """What the base finds of each trial; None where a row is too long for it.

        Args:
            trials: to ask about.
            answers: of the rows that are looked at, in the order that the trials' `others` count in.
            stage: what the progress is called.

        Raises:
            ModelError: the model's template refuses the conversation.
        """
        found: list[Scores | None] = []
        for start in range(0, len(trials), AT_ONCE):
            self._progress(stage, start, len(trials), "rows")
            some = [
                self._render(t, [t.row.output, *(answers[i] for i in t.others)])
                for t in trials[start : start + AT_ONCE]
            ]
            found += self._of(some)
        return found

    def _of(self, asked: Sequence[_Asked | None]) -> list[Scores | None]:
        keys = ["" if one is None else self._key(one) for one in asked]
        known = self._store.get_answers([key for key in keys if key])
        new = {
            key: {"nats": self._logprobs(one)}
            for key, one in zip(keys, asked, strict=True)
            if one is not None and key not in known
        }
        self._store.put_answers(new)
        values = [(known | new)[key]["nats"] if key else None for key in keys]
        return [None if value is None else Scores(value[0], tuple(value[1:])) for value in values]

    def _logprobs(self, asked: _Asked) -> list[float]:
        """Mean log-probability of the content tokens of each answer; the prompt runs once for all of them."""
        parts = self._model.likelihoods(asked.sequences, [asked.start] * len(asked.sequences))
        found = []
        for ids, part in zip(asked.sequences, parts, strict=True):
            own = [float(part[n, 0]) for n, token in enumerate(ids[asked.start :]) if self._tells(token)]
            own = own or [float(x) for x in part[:, 0]]
            found.append(round(sum(own) / len(own), 5))
        return found

    def _tells(self, token: int) -> bool:
        """Whether a token says something: it holds a letter or a digit, or a part of a character."""
        if token not in self._telling:
            text = self._model.tokenizer.decode([token], skip_special_tokens=True)
            self._telling[token] = any(c.isalnum() or c == "\ufffd" for c in text)
        return self._telling[token]

    def _render(self, trial: Trial, answers: Sequence[str]) -> _Asked | None:
        from luthier.models import render_example

        messages = self._messages(trial)
        if messages is None:
            return None
        rendered = [render_example(self._model.tokenizer, messages, answer) for answer in answers]
        start = rendered[0].prompt_length
        sequences = tuple(one.ids[: min(start + READ, self._model.max_length)] for one in rendered)
        return _Asked(sequences, start)

    def _messages(self, trial: Trial) -> tuple[Message, ...] | None:
        """The question behind as many of its demonstrations as there is room for, the nearest first of all."""
        most = min(PROMPT, int(ROOM * self._model.max_length))
        for left_out in range(len(trial.shown) + 1):
            turns = [turn for example in trial.shown[left_out:] for turn in _answered(example)]
            messages = with_instructions(self._instructions, (*_system(trial.row), *turns, *_turns(trial.row)))
            if self._model.count_tokens(messages) <= most:
                return messages
        return None

    def _key(self, asked: _Asked) -> str:
        return content_hash(["surprise", FORMAT, self._model.identity, [list(s) for s in asked.sequences], asked.start])


@dataclass(frozen=True)
class _Asked:
    """One prompt with each of its answers, as tokens; answers begin at `start`."""

    sequences: tuple[tuple[int, ...], ...]
    start: int


def _turns(example: Example) -> list[Message]:
    return [m for m in example.messages if m.role != "system"]


def _system(example: Example) -> list[Message]:
    return [m for m in example.messages if m.role == "system"]


def _answered(example: Example) -> list[Message]:
    return [*_turns(example), Message("assistant", example.output)]
