"""Choosing among variants of one rung on development cases, never on test cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._system import System
from luthier.errors import ModelError, TooLongError
from luthier.evaluate import measure


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
    first = cases[: _first_round(len(cases))]
    table: list[dict[str, Any]] = []
    field: list[tuple[float, Candidate]] = []
    for candidate in candidates:
        score = _score(candidate, first, bench, table)
        if score is not None:
            field.append((score, candidate))
    if not field:
        reasons = "; ".join(f"{row['candidate']}: {row['dropped']}" for row in table)
        raise ModelError(
            f"no variant of {candidates[0].system.setup.method} can be run on {bench.base.name}",
            why=reasons,
            fix="take a base with a longer context, or leave the method out: decide.methods in luthier.yaml",
        )
    # sorted() is stable: among equals the cheaper stays ahead
    ahead = sorted(field, key=lambda item: -item[0])[: _halved(len(field))]
    final = [(s, c) for s, c in field if any(c is kept for _, kept in ahead)]
    if len(final) > 1:
        final = [(s, c) for c in (c for _, c in final) if (s := _score(c, cases, bench, table)) is not None]
    best = max(final, key=lambda item: item[0])[1]
    return Prepared(best.system, {"chosen": best.label, "development": table})


def answers_to_choose(candidates: int, cases: int) -> int:
    """How many answers `choose` asks for, where every candidate fits the model and none was asked before."""
    first = candidates * _first_round(cases)
    return first + (_halved(candidates) * (cases - _first_round(cases)) if candidates > 1 else 0)


def _first_round(cases: int) -> int:
    return min(cases, max(4, cases // 3))


def _halved(candidates: int) -> int:
    return (candidates + 1) // 2


def _score(candidate: Candidate, cases: Sequence[Example], bench: Bench, table: list[dict[str, Any]]) -> float | None:
    """Mean development score of a candidate; None when it does not fit the model."""
    stage = f"choosing {candidate.system.setup.method}: {candidate.label}"
    done = 0

    def count(_: object) -> None:
        nonlocal done
        done += 1
        bench.progress(stage, done, len(cases), "development cases")

    bench.progress(stage, 0, len(cases), "development cases")
    try:
        records = measure(candidate.system, cases, bench.scorer, bench.store, on_record=count)
    except TooLongError as error:
        table.append({"candidate": candidate.label, "cases": 0, "score": None, "dropped": error.what})
        return None
    score = sum(r.score for r in records) / len(records)
    table.append({"candidate": candidate.label, "cases": len(records), "score": score})
    return score
