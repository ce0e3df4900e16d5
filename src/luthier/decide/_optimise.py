"""Better instructions and demonstrations, searched for within a budget of answers; `decide: {optimise: N}` turns it on.

Instructions are rewritten by a model that sees the present ones and a few failures (reflective mutation: GEPA, Agrawal
et al. 2025; OPRO, Yang et al. 2023); sets of demonstrations are drawn, and taken from what the base gets right or wrong
(MIPRO, Opsahl-Ong et al. 2024). Development cases are divided: candidates are made from the first third and filtered on
it, the best of them are judged on the rest. One is taken only if it beats the plain one there, on cases that it was not
made from, by more than the standard error of their paired difference.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._choose import Candidate, Prepared, first_round, score_candidates
from luthier.decide._propose import by_label, propose
from luthier.decide._system import System
from luthier.errors import BudgetError, TooLongError
from luthier.evaluate import Record, measure

PROPOSALS = 4  # a round
ROUNDS = 6  # of rewriting, at most
FINALISTS = 2  # that are judged beside the plain one
SIZES = (4, 8)  # of sets of demonstrations
FIRST_DRAW = 2  # those before it are variants of the rung itself
SORTED_ROWS = 24  # training rows that are asked, to see which of them the base gets right
DRAWS = 32  # of each size, at most

Draw = Callable[[int, int], tuple[Example, ...]]


def optimiser_answers(method: str, bench: Bench) -> int:
    """How many answers the optimiser may ask for on a rung: all for the prompt, or half where few-shot is tried too."""
    whole, methods = bench.task.decide.optimise, bench.task.decide.methods
    both = methods is None or "few-shot" in methods
    share = {"prompt": whole - whole // 2 if both else whole, "few-shot": whole // 2 if both else 0}
    return share.get(method, 0)


def optimised_prompt(bench: Bench, plain: Prepared) -> Prepared:
    """The prompt rung with the best instructions that were found, or as it was."""
    allowed = optimiser_answers("prompt", bench)
    if not allowed:
        return plain
    contest = _Contest(bench, plain, allowed, "instructions")
    return contest.run(lambda: _rewrite(contest))


def optimised_few_shot(bench: Bench, plain: Prepared, draw: Draw) -> Prepared:
    """The few-shot rung with the best set of demonstrations that was found, or as it was.

    Args:
        bench: task, cases and base.
        plain: the rung with the set that it chose.
        draw: gives a set of training examples for (size, number of the draw).
    """
    allowed = optimiser_answers("few-shot", bench)
    if not allowed:
        return plain
    contest = _Contest(bench, plain, allowed, "demonstrations")
    return contest.run(lambda: _draw_sets(contest, draw))


@dataclass
class _Contest:
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
        judged = [(self._gain(candidate, known), candidate) for candidate in finalists]
        (gain, error), best = max(judged, key=lambda item: item[0][0])
        if gain <= error:
            self.note = (
                f"none kept: on {len(known)} cases that it was not made from, the best differs by {gain:+.3f}, "
                f"with a standard error of {error:.3f}"
            )
            return None
        return best

    def _gain(self, candidate: Candidate, known: Sequence[float]) -> tuple[float, float]:
        """Mean paired difference from the plain system's scores, and its standard error."""
        scores = [record.score for record in self.records(candidate.system, self.rest)]
        differences = [a - b for a, b in zip(scores, known, strict=True)]
        n = len(differences)
        mean = sum(differences) / n
        variance = sum((d - mean) ** 2 for d in differences) / max(1, n - 1)
        error = math.sqrt(variance / n)
        row = {"candidate": candidate.label, "cases": n, "score": sum(scores) / n}
        self.table.append(row | {"judged": True, "difference": round(mean, 4), "error": round(error, 4)})
        self.bench.progress(f"optimising {self.what}", self.asked, self.allowed, f"{candidate.label}: {mean:+.3f}")
        return mean, error


def _rewrite(contest: _Contest) -> None:
    """Rounds of proposals, each from the best instructions so far and what they fail at."""
    bench, plain = contest.bench, contest.plain.system
    described = by_label(bench, plain.setup.instructions)
    if described:
        contest.enter([_told(plain, "with an input of each label", described)], "typical training inputs")
    seen = {candidate.system.setup.instructions for _, candidate in contest.entered}
    for number in range(1, ROUNDS + 1):
        count = min(PROPOSALS, contest.left // (1 + len(contest.first)))
        if count < 1 or not contest.entered:
            return
        _, parent = max(contest.entered, key=lambda pair: pair[0])
        failures = _failures(contest, parent.system)
        if not failures:
            contest.note = "the best instructions fail at none of the cases to learn from"
            return
        contest.asked += count
        try:
            texts = propose(bench, parent.system.setup.instructions, failures, count, number)
        except TooLongError as error:
            contest.note = f"no more was written: {error.what}"
            return
        new = [text for text in dict.fromkeys(texts) if text not in seen]
        seen |= set(new)
        labels = [f"rewritten, round {number}, {i}" for i in range(1, len(new) + 1)]
        contest.enter([_told(plain, *pair) for pair in zip(labels, new, strict=True)], f"rewritten from {parent.label}")
        for row in contest.table:
            if row["candidate"] in labels:
                row["instructions"] = new[labels.index(row["candidate"])]


def _failures(contest: _Contest, system: System) -> list[tuple[Example, str]]:
    """Cases of the first part that a system fails, with its answers; they are known, so they do not count again."""
    records = measure(system, contest.first, contest.bench.scorer, contest.bench.store)
    return [(case, r.answer) for case, r in zip(contest.first, records, strict=True) if r.score < 1]


def _told(system: System, label: str, instructions: str) -> Candidate:
    return Candidate(label, replace(system, setup=replace(system.setup, instructions=instructions)))


def _draw_sets(contest: _Contest, draw: Draw) -> None:
    """Sets of what the base gets right and wrong without demonstrations, then draws, while answers are left."""
    bench, plain = contest.bench, contest.plain.system
    rows = sorted(bench.split.train, key=lambda row: row.id)
    some = random.Random(f"sorted {bench.split.seed}").sample(rows, min(SORTED_ROWS, len(rows)))
    if contest.left >= len(some) + 2 * len(contest.first):
        bare = replace(plain, setup=replace(plain.setup, demonstrations=()))
        right = [record.score >= 1 for record in contest.records(bare, some)]
        for name, wanted in (("gets right", True), ("gets wrong", False)):
            those = [row for row, is_right in zip(some, right, strict=True) if is_right is wanted]
            sets = [(f"{k} that the base {name}", tuple(those[:k])) for k in SIZES if len(those) >= k]
            contest.enter([_shown(plain, *pair) for pair in sets], "training rows by the base's own answers")
    draws = [(f"{k} fixed, draw {number + 1}", draw(k, number)) for number in _numbers() for k in SIZES]
    contest.enter([_shown(plain, *pair) for pair in draws], "drawn")


def _numbers() -> range:
    return range(FIRST_DRAW, FIRST_DRAW + DRAWS)


def _shown(system: System, label: str, demonstrations: tuple[Example, ...]) -> Candidate:
    return Candidate(label, replace(system, setup=replace(system.setup, demonstrations=demonstrations)))
