"""Where rungs stand when a judge gave the scores: nothing is decided on them before labels of people correct them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from luthier.decide._evidence import Comparison, Evidence, JudgeEvidence, Rules, RungEvidence, RungVerdict, State
from luthier.decide._sentences import listed, money
from luthier.decide._standing import Standing, demand_consistent
from luthier.evaluate import Agreement, Corrected, Rate, agreement, corrected_difference, corrected_mean

RUNG_LABELS, ALL_LABELS = 30, 60  # least numbers of labels for a rung, and over all rungs
LEAST_J = 0.5  # below it a paired test takes about six times the cases, and labels alone tell nearly as much
OF_EACH = 5  # labels of good and of other answers, from which a rung's own J is held against it


@dataclass(frozen=True)
class JudgedStanding(Standing):
    """The standing on scores of a judge, corrected by labels (PPI++, see `Corrected`).

    Every rung answers every case: early stopping looks at the scores as they come, and before they are corrected they
    may all be wrong in the same direction. A rung is open, whatever the judge says, while labels are too few or show
    that the judge does not know better than chance by half.
    """

    judge: JudgeEvidence

    @cached_property
    def blocked(self) -> tuple[str, str] | None:
        """Why the judge's scores carry no verdict at all, and what to do about it."""
        if len(self.judge.served) > 1:
            versions = listed([f"{name} ({count:,} replies)" for name, count in self.judge.served.items()])
            return (
                f"the judge changed on the way: {versions}",
                "name one version, so that all is judged again and by one model: score.model: <address>#<version>",
            )
        total = sum(len(self._human(rung)) for rung in self.measured)
        wanted = max(ALL_LABELS, RUNG_LABELS * len(self.measured))
        sheet = f"write a table to label: luthier judge --sample {wanted}; then: luthier judge"
        if total < ALL_LABELS:
            have = f"{total} of at least {ALL_LABELS} labels of people are given"
            return f"the judge is not calibrated: {have}", f"label {ALL_LABELS - total} more; {sheet}"
        j = self.agreement().j
        unlabelled = any(len(self._human(rung)) < len(rung.scores) for rung in self.measured)
        if j is not None and j < LEAST_J and unlabelled:  # with a label for every answer the judge has no say
            asked = f"J = {j:.2f} on {total} labels, and at least {LEAST_J} is asked for"
            return (
                f"the judge agrees too little with people: {asked}",
                "name a stronger judge (score.model), write a clearer rubric, or label every answer of a few rungs "
                "(decide.methods): then no judge is needed",
            )
        return None

    def refused(self, rung: RungEvidence) -> str:
        """Why the judge's scores of this rung carry no statement; empty where they do."""
        if self.blocked is not None:
            return self.blocked[0]
        if len(rung.scores) < len(self.evidence.cases):
            return f"{len(rung.scores)} of {len(self.evidence.cases)} cases are answered, and all have to be"
        have = len(self._human(rung))
        if have < RUNG_LABELS:
            wanted = RUNG_LABELS * len(self.measured)
            return f"{have} of {RUNG_LABELS} labels; label {RUNG_LABELS - have} more: luthier judge --sample {wanted}"
        found = self.agreement(rung)
        enough = min(found.sensitivity.n, found.specificity.n) >= OF_EACH
        if enough and found.j is not None and found.j < LEAST_J and have < len(rung.scores):
            return f"the judge does not know good answers of this rung from others: J = {found.j:.2f} on {have} labels"
        return ""

    def agreement(self, rung: RungEvidence | None = None) -> Agreement:
        """How well the judge agrees with people on a rung, or on all of them together."""
        pairs = [
            (other.scores[case], label)
            for other in (self.measured if rung is None else (rung,))
            for case, label in self._human(other).items()
        ]
        return agreement([self._good(judged) for judged, _ in pairs], [self._good(label) for _, label in pairs])

    def mean(self, rung: RungEvidence) -> float:
        """The corrected mean; the judge's own where there are too few labels to correct it."""
        found = self._corrected(rung)
        return _alone(rung) if found is None else found.estimate

    def better_by(self, a: RungEvidence, b: RungEvidence) -> float:
        """A lower bound, at the level of one rung, of how much better people would find `a` than `b`."""
        if not a.scores or not b.scores or self.refused(a) or self.refused(b):
            return -1.0
        return self._difference(a, b).bounds(self.alpha_each)[0]

    def comparison(self, a: RungEvidence, b: RungEvidence) -> Comparison:
        """`a` against `b` as people would see them, with a 95 % interval."""
        n, names = min(len(a.scores), len(b.scores)), (a.rung, b.rung)
        if self.refused(a) or self.refused(b):
            return Comparison(*names, n, 0.0, -1.0, 1.0, 1.0, "none: too few labels to correct the judge")
        found = self._difference(a, b)
        if not found.usable:
            return Comparison(*names, n, found.estimate, -1.0, 1.0, 1.0, "none: too few answers of both are labelled")
        return Comparison(*names, n, found.estimate, *found.bounds(0.025), found.p(0.0), "PPI++ on paired differences")

    def labels_to_compare(self, a: RungEvidence, b: RungEvidence) -> int | None:
        """How many more cases with labels of both would show whether `a` is worse than `b` by more than the margin."""
        return self._difference(a, b).labels_to_settle(-self.rules.margin, 0.025)

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """Who judged, how far it is to be trusted, and what it said against what people say."""
        judge = self.judge
        lines = [f"judge: {judge.kin}"] if judge.kin else []
        if judge.unjudged:
            causes = listed([f"{count} ({cause})" for cause, count in judge.unjudged.items()])
            lines.append(f"judge: without a judgement, and counted as 0.5 before the correction: {causes}")
        if judge.usd is not None:
            lines.append(f"judge: judging cost {money(judge.usd)} so far, which is in no rung's cost")
        for rung, means in judge.by_length.items():
            thirds = ", ".join(f"{mean:.2f}" for mean in means)
            lines.append(f"judge: {rung}: alone it says {thirds} where lengths differ least, in the middle, and most")
        labelled = [rung for rung in self.measured if self._human(rung)]
        return (*lines, *(self._trust(rung) for rung in labelled))

    def _trust(self, rung: RungEvidence) -> str:
        found = self.agreement(rung)
        means = self._corrected(rung)
        corrected = "" if means is None else f", corrected {means.estimate:.2f}"
        shown = f"sensitivity {_figure(found.sensitivity)}, specificity {_figure(found.specificity)}"
        j = "" if found.j is None else f", J {found.j:.2f} [{found.j_low:.2f}, {found.j_high:.2f}]"
        kappa = "" if found.kappa is None else f", kappa {found.kappa:.2f}"
        said = f"alone it says {_alone(rung):.2f}{corrected}"
        return f"judge: {rung.rung}: {said}; on {found.labels} labels {shown}{j}{kappa}"

    def _state(self, rung: RungEvidence) -> State:
        if not rung.scores:
            return State.NOT_RUN
        found = self._corrected(rung)
        if self.refused(rung) or found is None:
            return State.OPEN
        if self.rules.bar is not None:
            return _against(*found.bounds(self.alpha_each), self.rules.bar)
        if self.best is None or self.refused(self.best):
            return State.OPEN
        if rung is self.best:
            return State.MEETS
        return _against(*self._difference(rung, self.best).bounds(self.alpha_each), -self.rules.margin)

    def _against_bar(self, rung: RungEvidence, bar: float) -> RungVerdict:
        return self._judged(rung, bar)

    def _against_best(self, rung: RungEvidence) -> RungVerdict:
        return self._judged(rung, None)

    def _judged(self, rung: RungEvidence, bar: float | None) -> RungVerdict:
        found = self._corrected(rung)
        low, high = (0.0, 1.0) if found is None else found.bounds(self.alpha_each)
        shown = (0.0, 1.0) if found is None else found.bounds(0.025)
        return RungVerdict(
            rung=rung.rung,
            method=rung.method,
            state=self.state(rung),
            answered=len(rung.scores),
            planned=len(self.evidence.cases),
            mean=_alone(rung) if found is None else min(shown[1], max(shown[0], found.estimate)),
            low=low,
            high=high,
            display_low=shown[0],
            display_high=shown[1],
            p=None if found is None or bar is None else found.p(bar),
            note=self.refused(rung) or self._note(rung, found, bar),
            judged=_alone(rung),
            labels=len(self._human(rung)),
            youden=self.agreement(rung).j,
        )

    def _note(self, rung: RungEvidence, found: Corrected | None, bar: float | None) -> str:
        """What would settle an open rung; without a bar, how a settled one stands to the best."""
        state = self.state(rung)
        if bar is None and rung is self.best:
            return "the best measured"
        if state is not State.OPEN:
            word = "not worse" if state is State.MEETS else "worse"
            best = "" if self.best is None else self.best.rung
            return "" if bar is not None else f"{word} than {best} by more than {self.rules.margin:g}"
        if bar is None:
            found = None if self.best is None or self.refused(self.best) else self._difference(rung, self.best)
        against = -self.rules.margin if bar is None else bar
        more = None if found is None else found.labels_to_settle(against, self.alpha_each)
        if more is None:
            return "labels of these cases alone will not settle it: add test cases"
        wanted = (len(self._human(rung)) + more) * len(self.measured)
        return f"about {more:,} more labels would settle it (80 % power): luthier judge --sample {wanted}"

    def _corrected(self, rung: RungEvidence) -> Corrected | None:
        """The corrected mean of a rung; None where its labels or its answers are too few."""
        return self._means.get(rung.rung)

    @cached_property
    def _means(self) -> Mapping[str, Corrected]:
        whole = [rung for rung in self.measured if len(rung.scores) == len(self.evidence.cases)]
        human = {rung.rung: self._human(rung) for rung in whole}
        return {
            rung.rung: corrected_mean(rung.scores, human[rung.rung], self.evidence.groups)
            for rung in whole
            if len(human[rung.rung]) >= RUNG_LABELS
        }

    def _difference(self, a: RungEvidence, b: RungEvidence) -> Corrected:
        return corrected_difference(a.scores, b.scores, self._human(a), self._human(b), self.evidence.groups)

    def _human(self, rung: RungEvidence) -> dict[int, float]:
        """Labels of people by the number of the case."""
        labels = self.judge.labels.get(rung.rung, {})
        return {number: labels[case] for number, case in enumerate(self.evidence.cases) if case in labels}

    def _good(self, score: float) -> bool:
        """Whether a score counts as good: above the middle of the scale; in pairs, no worse than the wanted output."""
        return score >= 0.5 if self.judge.mode == "pairwise" else score > 0.5


def judged_standing(rules: Rules, evidence: Evidence, judge: JudgeEvidence) -> JudgedStanding:
    """The standing on a judge's scores, after the same checks as `standing`.

    Raises:
        EvidenceError: the evidence is not consistent.
    """
    demand_consistent(evidence)
    return JudgedStanding(rules, evidence, judge)


def _against(low: float, high: float, bar: float) -> State:
    if low >= bar:
        return State.MEETS
    return State.FALLS_SHORT if high < bar else State.OPEN


def _alone(rung: RungEvidence) -> float:
    """The mean that the judge gives, uncorrected."""
    return math.fsum(rung.scores) / len(rung.scores)


def _figure(rate: Rate) -> str:
    return "unknown" if rate.value is None else f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
