"""Better instructions and demonstrations, searched for within a budget of answers; `decide: {optimise: N}` turns it on.

Instructions are rewritten by a model that sees the present ones and a few failures (reflective mutation: GEPA, Agrawal
et al. 2025; OPRO, Yang et al. 2023); sets of demonstrations are drawn, and taken from what the base gets right or wrong
(MIPRO, Opsahl-Ong et al. 2024). Development cases are divided: candidates are made from the first third and filtered on
it, the best of them are judged on the rest. One is taken only if it beats the plain one there, on cases that it was not
made from, by more than the standard error of their paired difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._choose import Candidate, Prepared
from luthier.decide._contest import Contest
from luthier.decide._propose import ANSWER_TOKENS, GEPA_TOKENS, by_label, propose
from luthier.decide._system import System
from luthier.errors import SpecError, TooLongError
from luthier.spec import Task

PROPOSALS = 4  # a round
ROUNDS = 6  # of rewriting, at most
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
    require_search(bench.task)
    contest = Contest(bench, plain, allowed, "instructions")
    return contest.run(lambda: _search(contest))


def most_written(task: Task) -> int:
    """How many tokens instructions may have that the task's search lets a model write."""
    return GEPA_TOKENS if task.decide.search == "gepa" else ANSWER_TOKENS


def require_search(task: Task) -> None:
    """See that the package of the search for instructions is there, before anything is spent.

    Raises:
        SpecError: it is not installed.
    """
    if task.decide.search == "gepa" and find_spec("gepa") is None:
        raise SpecError(
            "decide: {search: gepa} needs the package gepa, which is not installed",
            why="it is what looks for better instructions",
            fix="pip install 'luthier[gepa]', or take `search` out of `decide:` in luthier.yaml",
        )


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
    contest = Contest(bench, plain, allowed, "demonstrations")
    return contest.run(lambda: _draw_sets(contest, draw))


def _search(contest: Contest) -> None:
    if contest.bench.task.decide.search == "built-in":
        _rewrite(contest)
    else:
        from luthier.decide._gepa import search_by_gepa  # an optional part

        search_by_gepa(contest)


def _rewrite(contest: Contest) -> None:
    """Rounds of proposals, each from the best instructions so far and what they fail at."""
    bench, plain = contest.bench, contest.plain.system
    described = by_label(bench, plain.setup.instructions)
    if described:
        contest.enter([contest.told("with an input of each label", described)], "typical training inputs")
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
        contest.enter([contest.told(*pair) for pair in zip(labels, new, strict=True)], f"rewritten from {parent.label}")
        for row in contest.table:
            if row["candidate"] in labels:
                row["instructions"] = new[labels.index(row["candidate"])]


def _failures(contest: Contest, system: System) -> list[tuple[Example, str]]:
    """Cases of the first part that a system fails, with its answers."""
    return [(case, r.answer) for case, r in zip(contest.first, contest.known(system), strict=True) if r.score < 1]


def _draw_sets(contest: Contest, draw: Draw) -> None:
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
