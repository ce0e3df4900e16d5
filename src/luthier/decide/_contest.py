"""The contest of candidates with the plain system of a rung: what may be asked, who entered, and who is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._choose import Candidate, Prepared, first_round, score_candidates
from luthier.decide._system import System
from luthier.errors import BudgetError, TooLongError
from luthier.evaluate import Record, measure

FINALISTS = 2  # that are judged beside the plain one


@dataclass
class Contest:
    """Candidates against the plain system; counts the answers that it asks for, known ones as well.

    Counted like that, a run that is taken up again asks the same as one that was not interrupted.
    """

    bench: Bench
    plain: Prepared
    allowed: int
    what: str
    asked: int = 0
    entered: list[tuple[float, Candidate]] = field(default_factory=list)  # with scores on the first part
    table: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    search: str = ""  # the package that searched, with its version; empty where it was the built-in search

    @property
    def first(self) -> Sequence[Example]:
        """The cases that candidates are made from and filtered on."""
        return self.bench.development[: first_round(len(self.bench.development))]

    @property
    def rest(self) -> Sequence[Example]:
        """The cases that the best of them are judged on."""
        return self.bench.development[len(self.first) :]

    @property
    def left(self) -> int:
        """Answers that may still be asked for, without those that judging takes."""
        return self.allowed - self.asked - (FINALISTS + 1) * len(self.rest)

    def records(self, system: System, cases: Sequence[Example]) -> list[Record]:
        """Answers of a system; they count."""
        self.asked += len(cases)
        return measure(system, cases, self.bench.scorer, self.bench.store, prices=self.bench.task.prices)

    def known(self, system: System) -> list[Record]:
        """Records of the first part of a system that entered; the answers are known, so they do not count again."""
        return measure(system, self.first, self.bench.scorer, self.bench.store)

    def told(self, label: str, instructions: str) -> Candidate:
        """The plain system with other instructions."""
        system = self.plain.system
        return Candidate(label, replace(system, setup=replace(system.setup, instructions=instructions)))

    def enter(self, candidates: Sequence[Candidate], made: str) -> None:
        """Score candidates on the first part, as many as may be asked about; `made` says how they came about."""
        some = list(candidates[: max(0, self.left // len(self.first))])
        if some:
            self.asked += len(some) * len(self.first)
            known = len(self.table)
            self.entered += score_candidates(some, self.first, self.bench, self.table, f"optimising {self.what}")
            for row in self.table[known:]:
                row["made"] = made

    def run(self, make: Callable[[], None]) -> Prepared:
        """Make candidates, judge the best of them, and give the winner with all that was tried."""
        plain, kept = Candidate("the plain one", self.plain.system), None
        needed = (FINALISTS + 2) * len(self.first) + (FINALISTS + 1) * len(self.rest)
        try:
            if not self.rest or self.allowed < needed:
                self.note = f"{self.allowed} answers are too few: {needed} are the least (decide.optimise)"
            else:
                self.enter([plain], "")
                make()
                kept = self._judged(plain)
        except BudgetError as error:
            self.note = f"stopped: {error.what}"
        self.bench.progress(f"optimising {self.what}", self.asked, self.allowed, self.note)
        counts = {"allowed": self.allowed, "asked": self.asked}
        told = counts | {"kept": kept.label if kept else None, "note": self.note, "candidates": self.table}
        told |= {"search": self.search} if self.search else {}
        system, chosen = (kept.system, kept.label) if kept else (self.plain.system, self.plain.choices["chosen"])
        return Prepared(system, self.plain.choices | {"chosen": chosen, "optimised": told})

    def _judged(self, plain: Candidate) -> Candidate | None:
        """The best of the finalists on the rest of the cases, if it clearly beats the plain one there."""
        base = next((score for score, candidate in self.entered if candidate == plain), None)
        better = [pair for pair in self.entered if base is not None and pair[0] > base]
        finalists = [candidate for _, candidate in sorted(better, key=lambda pair: -pair[0])[:FINALISTS]]
        if not finalists:
            self.note = self.note or "no candidate did better than the plain one on the cases it was made from"
            return None
        known = [record.score for record in self.records(plain.system, self.rest)]
        gains = [(self._gain(candidate, known), candidate) for candidate in finalists]
        judged = [(gain, candidate) for gain, candidate in gains if gain is not None]
        if not judged:
            self.note = "none kept: with the best the other cases do not fit the model"
            return None
        (gain, error), best = max(judged, key=lambda item: item[0][0])
        if gain <= error:
            self.note = (
                f"none kept: on {len(known)} cases that it was not made from, the best differs by {gain:+.3f}, "
                f"with a standard error of {error:.3f}"
            )
            return None
        return best

    def _gain(self, candidate: Candidate, known: Sequence[float]) -> tuple[float, float] | None:
        """Mean paired difference from the plain system's scores, and its standard error; None where it is too long."""
        try:
            scores = [record.score for record in self.records(candidate.system, self.rest)]
        except TooLongError as error:
            self.table.append({"candidate": candidate.label, "cases": 0, "score": None, "dropped": error.what})
            return None
        differences = [a - b for a, b in zip(scores, known, strict=True)]
        n = len(differences)
        mean = sum(differences) / n
        variance = sum((d - mean) ** 2 for d in differences) / max(1, n - 1)
        spread = math.sqrt(variance / n)
        row = {"candidate": candidate.label, "cases": n, "score": sum(scores) / n}
        self.table.append(row | {"judged": True, "difference": round(mean, 4), "error": round(spread, 4)})
        self.bench.progress(f"optimising {self.what}", self.asked, self.allowed, f"{candidate.label}: {mean:+.3f}")
        return mean, spread
