"""Which rungs are planned, on which bases, and in what order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from luthier import models
from luthier.decide._bench import Bench
from luthier.errors import SpecError
from luthier.evaluate import Scorer
from luthier.models import Model, price_of
from luthier.spec import MethodName, Task

LADDER: tuple[MethodName, ...] = (
    "prompt",
    "constrained",
    "few-shot",
    "few-shot nearest",
    "self-consistency",
    "retrieval",
    "fine-tune",
    "fine-tune + retrieval",
)


@dataclass(frozen=True)
class Planned:
    """A rung to be: its name, the method, and the bench of the base that it stands on.

    With one base a rung is named by its method; with several it says the base as well.
    """

    rung: str
    method: MethodName
    bench: Bench

    @property
    def trained(self) -> bool:
        """Whether weights are changed."""
        return self.method.startswith("fine-tune")


def planned_rungs(bench: Bench) -> tuple[Planned, ...]:
    """The rungs that are possible with this task and its bases, in order of cost and commitment.

    Training is a commitment, so the fine-tuned rungs of all bases come after everything else. Within each half a base
    with all its rungs stands before a dearer one: models on this machine by size, then hosted ones by the price of
    tokens, then those without a price; what is alike stays in the user's order.

    Raises:
        SpecError: none of the methods that the task names is possible.
    """
    names = base_labels([one.base.name for one in bench.each])
    found = [
        Planned(rung_name(method, names[one.base.name], len(names)), method, one)
        for one in sorted(bench.each, key=_rank)
        for method in possible_rungs(
            bench.task, bench.scorer, trainable=isinstance(one.base, (models.LocalModel, models.Outline))
        )
    ]
    _demand_some(bench.task, found)
    return tuple(sorted(found, key=lambda planned: planned.trained))  # sorted() is stable


def possible_rungs(task: Task, scorer: Scorer, *, trainable: bool) -> tuple[MethodName, ...]:
    """The methods for one base before it is loaded; `trainable` says whether its weights can be had."""
    possible: dict[MethodName, bool] = {
        "constrained": scorer.constraint() is not None,
        "self-consistency": task.decide.methods is not None,  # a multiple of the cost: only where it is asked for
        "retrieval": task.documents is not None,
        "fine-tune": trainable,
        "fine-tune + retrieval": trainable and task.documents is not None,
    }
    wanted = LADDER if task.decide.methods is None else task.decide.methods
    return tuple(method for method in LADDER if method in wanted and possible.get(method, True))


def rung_names(task: Task, scorer: Scorer, trainable: Mapping[str, bool]) -> tuple[str, ...]:
    """Names of the rungs on some bases before any is loaded; `trainable` by the name of the base.

    Raises:
        SpecError: none of the methods that the task names is possible.
    """
    labels = base_labels(list(trainable))
    found = tuple(
        rung_name(method, labels[name], len(labels))
        for name, weights in trainable.items()
        for method in possible_rungs(task, scorer, trainable=weights)
    )
    _demand_some(task, found)
    return found


def _demand_some(task: Task, rungs: Sequence[object]) -> None:
    if not rungs:
        raise SpecError(
            f"nothing is left to try: decide.methods names only {', '.join(task.decide.methods or ())}",
            why="constrained needs score: {kind: label} or a JSON schema, retrieval needs documents, and fine-tune a "
            "base whose weights can be had, which a hosted one's cannot",
            fix="add a method in luthier.yaml, such as decide: {methods: [prompt, few-shot]}, or give what is missing",
        )


def rung_name(method: MethodName, base: str, bases: int) -> str:
    """A rung's name among so many bases."""
    return method if bases == 1 else f"{method} on {base}"


def base_labels(names: Sequence[str]) -> dict[str, str]:
    """A short name for each base: the model of an endpoint, the last part of a hub id or path; whole where unclear."""
    short = {name: name.rpartition("#")[2] if "#" in name else PurePath(name).name for name in names}
    return {name: label if list(short.values()).count(label) == 1 else name for name, label in short.items()}


def _rank(bench: Bench) -> tuple[int, float]:
    base: Model = bench.base
    if isinstance(base, (models.LocalModel, models.Outline)):
        return 0, float(base.n_parameters)
    price = price_of(base.name, bench.task.prices)
    return (2, 0.0) if price is None else (1, 3 * price.input + price.output)  # a prompt is longer than its answer
