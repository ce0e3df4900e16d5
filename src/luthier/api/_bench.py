"""From a task and its data to the bench: scorer made, base opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.api._data import Data
from luthier.api._decisions import bars_before
from luthier.api._judging import seat
from luthier.data import Split, groups_of
from luthier.decide import Bench, Progress
from luthier.errors import ModelError, Problem, ScorerError
from luthier.evaluate import JudgeScorer, Scorer, make_scorer, spent_on
from luthier.models import (
    Budget,
    EndpointModel,
    Model,
    Price,
    load_model,
    load_outline,
    price_of,
    weights_at_hand,
)
from luthier.spec import Task
from luthier.store import Store


def open_bench(
    task: Task, store: Store, data: Data, progress: Progress, *, base: str | None = None, fetch: bool = True
) -> Bench:
    """The bench for a task, on its own bases or on one other alone.

    Without `fetch`, a base whose weights are not on this machine is opened as an outline: nothing but its configuration
    and its tokenizer is fetched, and it cannot answer.

    Raises:
        ModelError: the base cannot be loaded, or has no price and the task a budget.
        ScorerError: a wanted output cannot be scored, or the judge is of the base's family.
    """
    scorer = make_scorer(task.score, data.split.train + data.split.development)
    _check_wanted(scorer, data.split)
    first, *others = _models((task.base, *task.other_bases) if base is None else (base,), progress, fetch=fetch)
    optimiser = _optimiser(task, (first, *others)) if fetch and base is None else None
    budget = _limit(task, store, [model for model in (first, *others, optimiser) if isinstance(model, EndpointModel)])
    if isinstance(scorer, JudgeScorer) and fetch:
        seat(scorer, (first, *others), budget, task, store)
    groups = groups_of(data.split.test)
    return Bench(
        task,
        data.split,
        groups,
        scorer,
        first,
        store,
        progress,
        others=tuple(others),
        optimiser=optimiser,
        bars=bars_before(store, data.split.hash),
    )


def _models(names: Sequence[str], progress: Progress, *, fetch: bool) -> list[Model]:
    found = []
    for name in names:
        progress(f"load {name}", 0, 1, "")
        found.append(load_model(name) if fetch or weights_at_hand(name) else load_outline(name))
        progress(f"load {name}", 1, 1, "")
    return found


def _optimiser(task: Task, bases: Sequence[Model]) -> Model | None:
    """The model that writes instructions, where the task names one; a base that is it is not opened twice."""
    name = task.decide.optimiser
    if name is None:
        return None
    return next((base for base in bases if base.name == name), None) or load_model(name)


def _limit(task: Task, store: Store, opened: Sequence[EndpointModel]) -> Budget | None:
    """Give the hosted models the task's budget, which they share with those that are not opened now.

    What was spent on a model is counted once, whatever it is named for.
    """
    limit = task.decide.budget
    if limit is None:
        for model in opened:
            model.spend_within(None)
        return None
    names = {task.base, *task.other_bases, task.decide.optimiser} - {model.name for model in opened}
    rest = [load_model(name) for name in sorted(name for name in names if name is not None and "://" in name)]
    budget: Budget | None = None
    counted: set[str] = set()
    hosted: list[Model] = [*opened, *rest]
    for one in hosted:
        assert isinstance(one, EndpointModel)  # an address names nothing else
        price = _dearest(task, one, limit)
        spent = 0.0 if one.identity in counted else spent_on(one, price, store)
        counted.add(one.identity)
        budget = Budget(limit, price, spent) if budget is None else budget.shared(price, spent)
        if one in opened:
            one.spend_within(budget)
    return budget


def _dearest(task: Task, model: EndpointModel, limit: float) -> Price:
    price = price_of(model.name, task.prices)
    if price is None:
        raise ModelError(
            f"the price of {model.name} is not known, and `decide: {{budget: {limit:g}}}` limits what it may cost",
            fix="give its price in a sheet (`prices:` in luthier.yaml, docs/writing-a-task.md), or take `budget` out",
        )
    # Usage does not say which tokens were put into a cache, so all fresh ones are counted at the dearer price.
    return replace(price, input=max(price.input, price.write or 0.0))


def _check_wanted(scorer: Scorer, split: Split) -> None:
    problems = []
    for example in split.development + split.test:
        try:
            reason = scorer.wanted_is_valid(example.output)
        except ScorerError as error:
            where = f"the wanted output of {example.source}" if example.source.file else "a wanted output"
            raise ScorerError(
                f"{where}: {error.what}", why=error.why, fix=error.fix, problems=error.problems
            ) from error
        if reason is not None:
            problems.append(Problem(f"wanted output: {reason}", example.source.file, example.source.line))
    if problems:
        raise ScorerError(
            f"{len(problems)} wanted outputs cannot be scored with {scorer.name}",
            why="a case whose own wanted output is invalid would count against every rung",
            fix="correct these rows, or choose another score: in luthier.yaml",
            problems=problems,
        )
