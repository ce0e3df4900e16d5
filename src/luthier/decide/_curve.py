"""Measuring a learning curve: the same development cases, answered with more and more of the training rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from luthier.audit import Point, Subset, nested_subsets
from luthier.data import Example, content_hash
from luthier.decide._bench import Bench
from luthier.decide._rungs import plain_system
from luthier.decide._system import Lookup, System
from luthier.evaluate import answer_key, measure_together
from luthier.retrieve import IndexItem, build_index

CurveMethod = Literal["few-shot", "lora"]

SHOWN = 4  # demonstrations
POINT = "curve-point"


@dataclass(frozen=True)
class CurveWork:
    """What is left to measure of a learning curve: `subsets` in all, `missing` of them, `answers` not known yet."""

    method: CurveMethod
    subsets: tuple[Subset, ...]
    missing: tuple[Subset, ...]
    answers: int


def curve_work(bench: Bench, method: CurveMethod, *, shown: int = SHOWN) -> CurveWork:
    """What a curve takes: points that were measured before, and answers that are known, are not asked for again."""
    subsets = subsets_for(bench, method)
    missing = tuple(s for s in subsets if _known(bench, method, s, shown) is None)
    if method == "lora":
        return CurveWork(method, subsets, missing, len(missing) * len(bench.development))
    keys = {
        answer_key(bench.base, system.request(case.messages))
        for system in (nearest_system(bench, subset, shown) for subset in missing)
        for case in bench.development
    }
    return CurveWork(method, subsets, missing, len(keys) - len(bench.store.get_answers(list(keys))))


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
    raise NotImplementedError


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
