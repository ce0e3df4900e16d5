"""From a task and its data to the bench: scorer made, base opened."""

from __future__ import annotations

from dataclasses import replace

from luthier.api._data import Data
from luthier.api._judging import seat
from luthier.data import Split, groups_of
from luthier.decide import Bench, Progress
from luthier.errors import ModelError, Problem, ScorerError
from luthier.evaluate import JudgeScorer, Scorer, make_scorer, spent_on
from luthier.models import Budget, EndpointModel, load_model, load_outline, price_of, weights_at_hand
from luthier.spec import Task
from luthier.store import Store


def open_bench(
    task: Task, store: Store, data: Data, progress: Progress, *, base: str | None = None, fetch: bool = True
) -> Bench:
    """The bench for a task, on its own base or on another.

    Without `fetch`, a base whose weights are not on this machine is opened as an outline: nothing but its configuration
    and its tokenizer is fetched, and it cannot answer.

    Raises:
        ModelError: the base cannot be loaded, or has no price and the task a budget.
        ScorerError: a wanted output cannot be scored, or the judge is of the base's family.
    """
    scorer = make_scorer(task.score, data.split.train + data.split.development)
    _check_wanted(scorer, data.split)
    name = base if base is not None else task.base
    progress(f"load {name}", 0, 1, "")
    model = load_model(name) if fetch or weights_at_hand(name) else load_outline(name)
    progress(f"load {name}", 1, 1, "")
    if isinstance(model, EndpointModel):
        model.spend_within(_budget(task, store, model))
    if isinstance(scorer, JudgeScorer) and fetch:
        seat(scorer, model, task, store)
    return Bench(task, data.split, groups_of(data.split.test), scorer, model, store, progress)


def _budget(task: Task, store: Store, model: EndpointModel) -> Budget | None:
    limit = task.decide.budget
    if limit is None:
        return None
    price = price_of(model.name, task.prices)
    if price is None:
        raise ModelError(
            f"the price of {model.name} is not known, and `decide: {{budget: {limit:g}}}` limits what it may cost",
            fix="give its price in a sheet (`prices:` in luthier.yaml, docs/writing-a-task.md), or take `budget` out",
        )
    # Usage does not say which tokens were put into a cache, so all fresh ones are counted at the dearer price.
    price = replace(price, input=max(price.input, price.write or 0.0))
    return Budget(limit, price, spent_on(model, price, store))


def _check_wanted(scorer: Scorer, split: Split) -> None:
    problems = []
    for example in split.development + split.test:
        reason = scorer.wanted_is_valid(example.output)
        if reason is not None:
            problems.append(Problem(f"wanted output: {reason}", example.source.file, example.source.line))
    if problems:
        raise ScorerError(
            f"{len(problems)} wanted outputs cannot be scored with {scorer.name}",
            why="a case whose own wanted output is invalid would count against every rung",
            fix="correct these rows, or choose another score: in luthier.yaml",
            problems=problems,
        )
