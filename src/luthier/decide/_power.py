"""What the test cases can show, before a model is asked: for each true score, how probable each answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luthier.decide._evidence import Rules
from luthier.decide._power_judged import Judged
from luthier.decide._power_outlooks import JudgeOutlook, Outlook, PairOutlook, truths
from luthier.decide._power_tries import SEED, TRIES, Exact, Tried
from luthier.decide._power_words import sentences
from luthier.errors import EvidenceError
from luthier.evaluate import is_clustered

DISCORDANCE = (0.1, 0.2, 0.3)  # shares of cases that only one of two rungs passes


@dataclass(frozen=True)
class Power:
    """What `cases` test cases from `sources` independent sources can show under rules that are fixed.

    `unit` says what `total` counts. `alpha_each` is what every one of the planned `rungs` has of `alpha`. `how` says
    whether chances are exact or tried out, `assumed` what was made up for that, `summary` is all of it in sentences.
    Where a judge scores, `labels` of people are there for each rung, `total` counts those, and `judges` says what
    better and worse judges would change.
    """

    cases: int
    sources: int
    binary: bool
    unit: str
    bar: float | None
    margin: float
    alpha: float
    alpha_each: float
    rungs: tuple[str, ...]
    outlooks: tuple[Outlook, ...]
    pairs: tuple[PairOutlook, ...]
    how: str
    assumed: tuple[str, ...]
    summary: tuple[str, ...] = ()
    labels: int | None = None
    judges: tuple[JudgeOutlook, ...] = ()

    @property
    def have(self) -> int:
        """How many there are of what `total` counts."""
        if self.unit == "labels" and self.labels is not None:
            return self.labels
        return self.sources if self.unit == "sources" else self.cases

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def power_of(
    rules: Rules, groups: Sequence[str], *, binary: bool, rungs: Sequence[str], labels: int | None = None
) -> Power:
    """What test cases can show, from their number, their sources and the rules alone.

    Pass or fail without groups: exact, by the binomial distribution, through the same looks as `decide`. Grades and
    groups: the tests of `decide` on made-up scores, with a fixed seed. With a judge: the corrected scores of a made-up
    one.

    Args:
        rules: bar or margin, and the error budget.
        groups: the independent source of every test case.
        binary: whether scores are 0 or 1.
        rungs: the planned ones, which share the error budget.
        labels: of people for each rung, where a judge scores.

    Raises:
        EvidenceError: no cases, no rungs, or a bar that every rung meets.
    """
    if not groups or not rungs:
        raise EvidenceError(
            f"there are no {'rungs' if groups else 'test cases'} to say anything about", fix="luthier check"
        )
    if rules.bar is not None and rules.bar <= 0:
        what = f"a bar of {rules.bar:g} is met by any answer, so there is nothing to show"
        raise EvidenceError(what, fix="set bar: in luthier.yaml to the mean score that is good enough, such as 0.9")
    exact = binary and not is_clustered(groups) and labels is None
    planner: Exact | Tried = Tried(rules, tuple(groups), len(rungs), binary)
    if exact:
        planner = Exact(rules, tuple(groups), len(rungs))
    elif labels is not None:
        planner = Judged(rules, tuple(groups), len(rungs), binary, min(labels, len(groups)))
    sources = len(set(groups))
    power = Power(
        cases=len(groups),
        sources=sources,
        binary=binary,
        unit=planner.unit,
        bar=rules.bar,
        margin=rules.margin,
        alpha=rules.alpha,
        alpha_each=rules.alpha / len(rungs),
        rungs=tuple(rungs),
        outlooks=() if rules.bar is None else tuple(map(planner.outlook, truths(rules.bar))),
        pairs=tuple(map(planner.pair, DISCORDANCE)),
        how="exact" if exact else f"{TRIES} tries each, seed {SEED}: right to {2 * planner.error:.2f}",
        assumed=planner.assumed,
        labels=planner.labels if isinstance(planner, Judged) else None,
        judges=planner.judges() if isinstance(planner, Judged) else (),
    )
    return Power(**{**vars(power), "summary": sentences(power)})
