"""Where every rung stands, and which paired comparisons a verdict may rest on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from luthier.decide._evidence import Comparison, Evidence, Rules, RungEvidence, RungVerdict, State
from luthier.decide._latency import too_slow
from luthier.decide._ownership import owned
from luthier.errors import EvidenceError
from luthier.evaluate import adequacy_state, better_by, bounds, compare, display_interval, more_pairs, settle


@dataclass(frozen=True)
class Standing:
    """The rungs in cost order with their states. Everything here is computed from rules and evidence alone.

    Every planned rung has the same share of the error budget, run or not (Bonferroni; with "stop at the first rung that
    meets" nothing sharper is valid), for each statement about it.
    """

    rules: Rules
    evidence: Evidence

    @property
    def alpha_each(self) -> float:
        """The error budget of one rung."""
        return self.rules.alpha / len(self.evidence.rungs)

    @cached_property
    def verdicts(self) -> tuple[RungVerdict, ...]:
        """One for every planned rung."""
        bar, cases = self.rules.bar, len(self.evidence.cases)
        return tuple(
            _not_run(rung, cases)
            if not rung.scores
            else self._against_best(rung)
            if bar is None
            else self._against_bar(rung, bar)
            for rung in self.evidence.rungs
        )

    @cached_property
    def states(self) -> tuple[State, ...]:
        """The state of every planned rung: all that the choice of a rung reads."""
        return tuple(self._state(rung) for rung in self.evidence.rungs)

    def state(self, rung: RungEvidence) -> State:
        """The state of a rung."""
        return self.states[self.evidence.rungs.index(rung)]

    def too_slow(self, rung: RungEvidence) -> str:
        """Why a measured rung is not shown to keep the limits of latency; empty where it is, or there are none."""
        return too_slow(rung, self.rules.latency) if rung.scores else ""

    def adequate(self, rung: RungEvidence) -> bool:
        """Whether a rung meets the bar and keeps the limits of latency."""
        return self.state(rung) is State.MEETS and not self.too_slow(rung)

    def verdict(self, rung: RungEvidence) -> RungVerdict:
        """The figures of a rung."""
        return self.verdicts[self.evidence.rungs.index(rung)]

    @property
    def measured(self) -> tuple[RungEvidence, ...]:
        """The rungs that answered anything."""
        return tuple(rung for rung in self.evidence.rungs if rung.scores)

    @property
    def trained(self) -> tuple[RungEvidence, ...]:
        """The planned fine-tuned rungs."""
        return tuple(rung for rung in self.evidence.rungs if rung.trained)

    @cached_property
    def best(self) -> RungEvidence | None:
        """The measured rung with the highest mean; with no bar only among those that answered every case.

        Without a bar it is the yardstick: a rung that is too slow is none, where another one is not.
        """
        whole = len(self.evidence.cases)
        field = [r for r in self.measured if self.rules.bar is not None or len(r.scores) == whole]
        if self.rules.bar is None:
            field = [rung for rung in field if not self.too_slow(rung)] or field
        return max(field, key=self.mean, default=None)

    def mean(self, rung: RungEvidence) -> float:
        """The mean score of a measured rung."""
        return math.fsum(rung.scores) / len(rung.scores)

    @property
    def blocked(self) -> tuple[str, str] | None:
        """Why nothing can be said of any rung, and what to do; None where nothing stands in the way."""
        return None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has to be said of the scores themselves."""
        return ()

    def cheaper(self, rung: RungEvidence) -> tuple[RungEvidence, ...]:
        """The rungs before this one in the order of cost."""
        return self.evidence.rungs[: self.evidence.rungs.index(rung)]

    def cheaper_untrained(self, rung: RungEvidence) -> tuple[RungEvidence, ...]:
        """Those of them that are not fine-tuned."""
        return tuple(other for other in self.cheaper(rung) if not other.trained)

    def best_cheaper(self, rung: RungEvidence) -> RungEvidence | None:
        """The cheaper, not fine-tuned rung with the highest mean."""
        field = [other for other in self.cheaper_untrained(rung) if other.scores]
        return max(field, key=self.mean, default=None)

    def better_by(self, a: RungEvidence, b: RungEvidence) -> float:
        """A lower bound, at the level of one rung, of how much better `a` is than `b`; -1 where nothing is known."""
        if not a.scores or not b.scores:
            return -1.0
        return better_by(a.scores, b.scores, self.evidence.groups, binary=self.evidence.binary, alpha=self.alpha_each)

    def margin_worth(self, dearer: RungEvidence, cheaper: RungEvidence) -> float:
        """How much better a fine-tuned rung must be: the task's margin, or anything at all where it costs no more."""
        costs = [owned(rung, self.rules, len(self.evidence.cases)) for rung in (dearer, cheaper)]
        return 0.0 if costs[0] is not None and costs[1] is not None and costs[0] <= costs[1] else self.rules.margin

    def comparison(self, a: RungEvidence, b: RungEvidence) -> Comparison:
        """`a` against `b`, with a 95 % interval."""
        found = compare(a.scores, b.scores, self.evidence.groups, binary=self.evidence.binary, alpha=0.025)
        return Comparison(a.rung, b.rung, found.n, found.difference, found.low, found.high, found.p, found.test)

    def comparisons(self, winner: RungEvidence | None) -> tuple[Comparison, ...]:
        """Neighbours; each fine-tuned rung and its best cheaper one; the recommended rung and every cheaper one."""
        measured = self.measured
        pairs = list(zip(measured[1:], measured[:-1], strict=True))
        pairs += [(rung, other) for rung in self.trained if rung.scores and (other := self.best_cheaper(rung))]
        if winner is not None:
            pairs += [(winner, other) for other in self.cheaper(winner) if other.scores]
        return tuple(self.comparison(a, b) for i, (a, b) in enumerate(pairs) if (a, b) not in pairs[:i])

    def _state(self, rung: RungEvidence) -> State:
        if not rung.scores:
            return State.NOT_RUN
        groups, binary = self.evidence.groups, self.evidence.binary
        if self.rules.bar is not None:
            return State(settle(rung.scores, groups, bar=self.rules.bar, alpha=self.alpha_each, binary=binary).state)
        if self.best is None or len(rung.scores) < len(groups):
            return State.OPEN
        if rung is self.best:
            return State.MEETS
        found = compare(rung.scores, self.best.scores, groups, binary=binary, alpha=self.alpha_each)
        if not found.usable:
            return State.OPEN
        if found.low >= -self.rules.margin:
            return State.MEETS
        return State.FALLS_SHORT if found.high < -self.rules.margin else State.OPEN

    def _against_bar(self, rung: RungEvidence, bar: float) -> RungVerdict:
        found = adequacy_state(
            rung.scores, self.evidence.groups, bar=bar, alpha=self.alpha_each, binary=self.evidence.binary
        )
        return RungVerdict(
            rung=rung.rung,
            method=rung.method,
            state=State(found.state),
            answered=found.answered,
            planned=found.planned,
            mean=found.mean,
            low=found.low,
            high=found.high,
            display_low=found.display_low,
            display_high=found.display_high,
            p=found.p,
            more_cases=found.more_cases,
            note=found.note,
            settled_early=found.state != "open" and found.answered < found.planned,
        )

    def _against_best(self, rung: RungEvidence) -> RungVerdict:
        """Non-inferiority to the best rung within the margin, on paired differences."""
        groups, binary = self.evidence.groups, self.evidence.binary
        low, high = bounds(rung.scores, groups, alpha=self.alpha_each, binary=binary)
        display = display_interval(rung.scores, groups, binary=binary)
        more, note = self._about_best(rung)
        return RungVerdict(
            rung=rung.rung,
            method=rung.method,
            state=self.state(rung),
            answered=len(rung.scores),
            planned=len(groups),
            mean=math.fsum(rung.scores) / len(rung.scores),
            low=low,
            high=high,
            display_low=display[0],
            display_high=display[1],
            p=None,
            more_cases=more,
            note=note,
        )

    def _about_best(self, rung: RungEvidence) -> tuple[int | None, str]:
        """How many more cases would settle it, and what is to be said."""
        groups, margin, best = self.evidence.groups, self.rules.margin, self.best
        if best is None or len(rung.scores) < len(groups):
            return len(groups) - len(rung.scores), f"{len(rung.scores)} of {len(groups)} cases are answered"
        if rung is best:
            return None, "the best measured"
        if self.state(rung) is State.OPEN:
            differences = [a - b for a, b in zip(rung.scores, best.scores, strict=True)]
            return more_pairs(differences, groups, margin=margin, alpha=self.alpha_each)
        word = "not worse" if self.state(rung) is State.MEETS else "worse"
        return None, f"{word} than {best.rung} by more than {margin:g}"


def standing(rules: Rules, evidence: Evidence) -> Standing:
    """The standing, after a check that the evidence is consistent.

    Raises:
        EvidenceError: no cases, no rungs, rungs of the same name, or more scores than cases.
    """
    demand_consistent(evidence)
    return Standing(rules, evidence)


def demand_consistent(evidence: Evidence) -> None:
    """Nothing, where the evidence is consistent.

    Raises:
        EvidenceError: it is not; see `standing`.
    """
    wrong = ""
    names = [rung.rung for rung in evidence.rungs]
    if not evidence.cases or not names:
        wrong = "there are no test cases" if names else "there are no rungs"
    elif len(evidence.groups) != len(evidence.cases):
        wrong = f"{len(evidence.groups)} groups for {len(evidence.cases)} cases"
    elif len(set(names)) < len(names):
        wrong = "two rungs have the same name"
    elif any(len(rung.scores) > len(evidence.cases) for rung in evidence.rungs):
        wrong = "a rung has more scores than there are cases"
    elif any(not 0 <= score <= 1 for rung in evidence.rungs for score in rung.scores):  # nan as well
        wrong = "a rung has scores outside [0, 1], which no scorer gives: the kept evidence was changed"
    if wrong:
        raise EvidenceError(f"no verdict can be computed: {wrong}", fix="measure again: luthier decide")


def _not_run(rung: RungEvidence, cases: int) -> RungVerdict:
    return RungVerdict(
        rung.rung, rung.method, State.NOT_RUN, 0, cases, None, None, None, None, None, None, note=rung.skipped
    )
