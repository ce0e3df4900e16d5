"""Choosing among variants of one rung on development cases, never on test cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._system import System
from luthier.errors import TooLongError
from luthier.evaluate import measure_together


@dataclass(frozen=True)
class Candidate:
    """A variant of a rung, with the name of what was varied."""

    label: str
    system: System


@dataclass(frozen=True)
class Prepared:
    """The chosen system of a rung and what it was chosen from (label, score and cases of every candidate)."""

    system: System
    choices: dict[str, Any]


def choose(candidates: Sequence[Candidate], bench: Bench) -> Prepared:
    """The candidate with the best mean score on development cases, found by successive halving.

    All candidates answer the first third of the cases; the better half goes on to all of them (Jamieson & Talwalkar
    2016, with two rounds). Candidates stand cheapest first, and a dearer one must be strictly better. A candidate whose
    prompts do not fit the model's context is dropped, and said to be.
    """
    cases = bench.development
    table: list[dict[str, Any]] = []
    field = score_candidates(candidates, cases[: first_round(len(cases))], bench, table)
    if not field:
        reasons = "; ".join(f"{row['candidate']}: {row['dropped']}" for row in table)
        raise TooLongError(
            f"no variant of {candidates[0].system.setup.method} fits {bench.base.name}",
            why=reasons,
            fix="take a base with a longer context, or leave the method out: decide.methods in luthier.yaml",
        )
    # sorted() is stable: among equals the cheaper stays ahead
    kept = sorted(range(len(field)), key=lambda i: -field[i][0])[: _halved(len(field))]
    final = [field[i] for i in sorted(kept)]
    if len(final) > 1:
        final = score_candidates([candidate for _, candidate in final], cases, bench, table) or final
    best = max(final, key=lambda item: item[0])[1]
    return Prepared(best.system, {"chosen": best.label, "development": table})


def answers_to_choose(candidates: int, cases: int) -> int:
    """How many answers `choose` asks for, where every candidate fits the model and none was asked before."""
    first = candidates * first_round(cases)
    return first + (_halved(candidates) * (cases - first_round(cases)) if candidates > 1 else 0)


def first_round(cases: int) -> int:
    """How many of the development cases all candidates answer."""
    return min(cases, max(4, cases // 3))


def _halved(candidates: int) -> int:
    return (candidates + 1) // 2


def score_candidates(
    candidates: Sequence[Candidate],
    cases: Sequence[Example],
    bench: Bench,
    table: list[dict[str, Any]],
    stage: str | None = None,
) -> list[tuple[float, Candidate]]:
    """Mean development scores of those candidates that fit the model, in their order. All are asked together.

    Each gets a row in `table`; `stage` is what is shown as being done.
    """
    stage = stage or f"choosing {candidates[0].system.setup.method}"
    total, done = len(candidates) * len(cases), 0
    what = candidates[0].label if len(candidates) == 1 else f"{len(candidates)} variants on {len(cases)} cases"

    def count(_: object) -> None:
        nonlocal done
        done += 1
        bench.progress(stage, done, total, what)

    bench.progress(stage, 0, total, what)
    try:
        found = measure_together([c.system for c in candidates], cases, bench.scorer, bench.store, on_record=count)
    except TooLongError as error:
        if len(candidates) > 1:  # which of them is too long is found out one by one
            return [
                pair for candidate in candidates for pair in score_candidates([candidate], cases, bench, table, stage)
            ]
        table.append({"candidate": candidates[0].label, "cases": 0, "score": None, "dropped": error.what})
        return []
    means = [sum(r.score for r in records) / len(records) for records in found]
    table += [
        {"candidate": candidate.label, "cases": len(cases), "score": mean}
        for candidate, mean in zip(candidates, means, strict=True)
    ]
    return list(zip(means, candidates, strict=True))
