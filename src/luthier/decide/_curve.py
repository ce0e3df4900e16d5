"""Measuring a learning curve: the same development cases, answered with more and more of the training rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Literal

from luthier.audit import Point, Subset, nested_subsets
from luthier.data import Example, content_hash
from luthier.decide._bench import Bench
from luthier.decide._rungs import plain_system
from luthier.decide._system import Lookup, System
from luthier.decide._tuning import forecast_training, steps_of, train_untouched
from luthier.evaluate import answer_key, measure, measure_together
from luthier.models import price_of
from luthier.retrieve import IndexItem, build_index

CurveMethod = Literal["few-shot", "lora"]

SHOWN = 4  # demonstrations
TIMED = 8  # answers
POINT = "curve-point"


@dataclass(frozen=True)
class CurveWork:
    """What is left to measure of a learning curve.

    `points` in all, `missing` of them, which take `answers` that are not known yet; `seconds` is None where the base
    cannot be timed here, `usd` where it has no price.
    """

    method: CurveMethod
    points: int
    missing: int
    answers: int
    seconds: float | None
    usd: float | None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def forecast_curve(bench: Bench, method: CurveMethod, *, shown: int = SHOWN) -> CurveWork:
    """What a curve takes: points that were measured before, and answers that are known, are not asked for again.

    A few answers are given, and kept, to time them; training is timed as `plan` does it.
    """
    subsets = subsets_for(bench, method)
    missing = [s for s in subsets if _known(bench, method, s, shown) is None]
    count = len(subsets), len(missing)
    if not missing:
        return CurveWork(method, *count, 0, 0.0, None)
    if method == "lora":
        return CurveWork(method, *count, len(missing) * len(bench.development), _training_seconds(bench, missing), None)
    systems = [nearest_system(bench, subset, shown) for subset in missing]
    requests = {
        answer_key(bench.base, r): r for s in systems for r in (s.request(c.messages) for c in bench.development)
    }
    some = bench.development[:TIMED]
    before = len(bench.store.get_answers(list(requests)))
    began = time.monotonic()
    records = measure(systems[0], some, bench.scorer, bench.store)
    took = time.monotonic() - began
    left = len(requests) - len(bench.store.get_answers(list(requests)))
    asked = len(requests) - before - left
    each = took / asked if asked else sum(record.seconds for record in records) / len(records)
    price = price_of(bench.base.name, bench.task.prices)
    tokens = [sum(getattr(r, name) for r in records) / len(records) for name in ("prompt_tokens", "completion_tokens")]
    usd = None if price is None else left * (tokens[0] * price.input + tokens[1] * price.output) / 1e6
    return CurveWork(method, *count, left, left * each, usd)


def _training_seconds(bench: Bench, missing: Sequence[Subset]) -> float | None:
    """Training on all rows, timed with a few steps, in proportion to the steps that each subset takes."""
    everything = Subset(len(bench.split.train), 0, tuple(range(len(bench.split.train))))
    whole = _bench_of(bench, everything)
    seconds = forecast_training(whole, "qlora" if whole.task.train.method == "qlora" else "lora").seconds
    if seconds is None:
        return None
    steps = {subset.size: steps_of(_bench_of(bench, subset)) for subset in missing}
    return sum(seconds * steps[subset.size] / steps_of(whole) for subset in missing)


def subsets_for(bench: Bench, method: CurveMethod) -> tuple[Subset, ...]:
    """The subsets of the training rows that a curve of this method is measured on."""
    rows = len(bench.split.train)
    return tuple(nested_subsets(rows, seed=bench.split.seed, repeat_all=method == "lora"))


def measure_curve(bench: Bench, method: CurveMethod, *, shown: int = SHOWN) -> list[Point]:
    """Every point of the curve; each is kept as soon as it is measured.

    `few-shot` shows the nearest demonstrations of the subset, found by their words; `lora` trains on it. A trained
    point is scored on the cases that its checkpoint was chosen on, so all of them are a little too good.

    Raises:
        TooLongError: the demonstrations do not fit the base's context.
        ModelError, TrainingError: `lora`, and the base cannot be trained.
    """
    subsets = subsets_for(bench, method)
    points = {s: point for s in subsets if (point := _known(bench, method, s, shown)) is not None}
    missing = [subset for subset in subsets if subset not in points]
    bench.progress("learning curve", len(points), len(subsets), method)
    for _, some in groupby(missing, key=lambda subset: subset.size):
        same = list(some)
        for subset, scores in _answered(bench, same, shown) if method == "few-shot" else _trained(bench, same):
            points[subset] = Point(subset.size, subset.repeat, tuple(scores))
            bench.store.put_document(POINT, _key(bench, method, subset, shown), {"scores": list(scores)})
            remark = f"{points[subset].mean:.3f} with {subset.size} rows"
            bench.progress("learning curve", len(points), len(subsets), remark)
    return [points[subset] for subset in subsets]


def nearest_system(bench: Bench, subset: Subset, shown: int = SHOWN) -> System:
    """The nearest demonstrations of a subset by their words, held to the labels where the answer is one."""
    rows = _rows(bench, subset)
    pool = {example.id: example for example in rows}
    items = [IndexItem(key, example.input_text) for key, example in sorted(pool.items())]
    folder = bench.store.artefact_path("indexes", content_hash(["words", [[i.key, i.text] for i in items]])[:20])
    index = build_index(items, folder, embedder=None)
    constraint = bench.scorer.constraint() if bench.task.score.kind == "label" else None
    plain = plain_system(bench, "few-shot nearest", bench.task.instructions.strip() or bench.task.goal)
    nearest = Lookup(k=shown, mode="lexical", embedding=None, index=index.identity)
    setup = replace(plain.setup, nearest=nearest, constraint=constraint)
    return replace(plain, setup=setup, demonstration_index=index, pool=pool)


def _answered(bench: Bench, subsets: Sequence[Subset], shown: int) -> Iterator[tuple[Subset, list[float]]]:
    """The repeats of one size, asked together."""
    systems = [nearest_system(bench, subset, shown) for subset in subsets]
    found = measure_together(systems, bench.development, bench.scorer, bench.store)
    for subset, records in zip(subsets, found, strict=True):
        yield subset, [record.score for record in records]


def _trained(bench: Bench, subsets: Sequence[Subset]) -> Iterator[tuple[Subset, list[float]]]:
    """An adapter for each; only the one that `tune` would make from all rows stays."""
    for subset in subsets:
        part = _bench_of(bench, subset)
        system, result = train_untouched(part)
        records = measure(system, part.development, part.scorer, part.store)
        yield subset, [record.score for record in records]
        if subset.size < len(bench.split.train) or subset.repeat > 0:
            shutil.rmtree(result.folder.parent)  # with the record of the run: half of it would count as damaged


def _bench_of(bench: Bench, subset: Subset) -> Bench:
    """The bench with the subset as its training rows; every repeat trains with a seed of its own."""
    settings = bench.task.train
    method = "qlora" if settings.method == "qlora" else "lora"
    train = settings.model_copy(update={"method": method, "seed": settings.seed + subset.repeat, "track": None})
    task = bench.task.model_copy(update={"train": train, "max_answer_tokens": bench.max_tokens})
    return replace(bench, task=task, split=replace(bench.split, train=tuple(_rows(bench, subset))))


def _rows(bench: Bench, subset: Subset) -> list[Example]:
    return [bench.split.train[row] for row in subset.rows]


def _known(bench: Bench, method: CurveMethod, subset: Subset, shown: int) -> Point | None:
    found = bench.store.get_document(POINT, _key(bench, method, subset, shown))
    return None if found is None else Point(subset.size, subset.repeat, tuple(found["scores"]))


def _key(bench: Bench, method: CurveMethod, subset: Subset, shown: int) -> str:
    """Everything that the scores of a point depend on."""
    task = bench.task
    content: list[Any] = [
        f"{shown} nearest" if method == "few-shot" else method,
        bench.base.identity,
        task.instructions,
        task.goal,
        bench.max_tokens,
        bench.score_hash,
        [case.id for case in bench.development],
        [example.id for example in _rows(bench, subset)],
    ]
    return content_hash(content)
