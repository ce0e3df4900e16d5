"""The verdict: what the evidence supports. Pure: the same rules and evidence always give the same verdict."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.decide._elsewhere import costs_less
from luthier.decide._evidence import NOT_NEEDED, Evidence, Rules, RungEvidence, State, Verdict, VerdictKind, Warrant
from luthier.decide._explain import advice, flips, reasons, sentence
from luthier.decide._judged_standing import judged_standing
from luthier.decide._ownership import cost_report, owned
from luthier.decide._standing import Standing, standing
from luthier.decide._warrant import warrant_for
from luthier.spec import MethodName

MAX_OPENINGS = 3  # after that many looks at the same cases, figures on them are exploratory

_KINDS: dict[MethodName, VerdictKind] = {
    "prompt": "prompt",
    "few-shot": "few-shot",
    "few-shot nearest": "few-shot",
    "constrained": "constrain",
    "self-consistency": "self-consistency",
    "retrieval": "retrieve",
    "fine-tune": "fine-tune",
    "fine-tune + retrieval": "fine-tune + retrieve",
}


@dataclass(frozen=True)
class Choice:
    """The kind of verdict, the recommended rung if there is one, and whether fine-tuning is warranted."""

    kind: VerdictKind
    rung: RungEvidence | None
    warrant: Warrant


def decide(rules: Rules, evidence: Evidence) -> Verdict:
    """The verdict on the evidence under the rules that were fixed before looking.

    Every rung is tested against the bar (or, without one, for being no worse than the best by the margin) with an equal
    share of `alpha`; the cheapest that meets it and answers as fast as the task wants is recommended. A fine-tuned
    rung is recommended only with a warrant.

    Raises:
        EvidenceError: the evidence is not consistent: no cases, no rungs, or more scores than cases.
    """
    field = standing(rules, evidence) if evidence.judge is None else judged_standing(rules, evidence, evidence.judge)
    choice = choose(field)
    explained = (field, choice.kind, choice.rung, choice.warrant)
    name = None if choice.rung is None else choice.rung.rung
    adequate = {rung.rung for rung in evidence.rungs if field.adequate(rung)}
    costs = cost_report(rules, evidence, adequate, name)
    return Verdict(
        kind=choice.kind,
        rung=name,
        sentence=sentence(*explained),
        reasons=reasons(*explained) + _exploratory(evidence),
        advice=advice(*explained),
        flips=flips(field, choice.kind, choice.rung, costs),
        rungs=field.verdicts,
        comparisons=field.comparisons(choice.rung),
        warrant=choice.warrant,
        bar=rules.bar,
        alpha_each=field.alpha_each,
        answers_saved=answers_saved(field),
        exploratory=evidence.openings > MAX_OPENINGS,
        costs=costs,
    )


def choose(field: Standing) -> Choice:
    """The cheapest rung that meets the bar and may be recommended, or what stands in the way."""
    if field.evidence.findings:
        return Choice("fix the data", None, Warrant(False, "the data have to be fixed first"))
    if len(field.evidence.served) > 1:
        return Choice("not enough evidence", None, Warrant(False, "the answers are not those of one model"))
    refused: list[Warrant] = []
    for rung in field.evidence.rungs:
        if not field.adequate(rung) or not _worth_its_cost(field, rung):
            continue
        if not rung.trained:
            better = _undercut(field, rung)
            return better or Choice(_KINDS[rung.method], rung, Warrant(False, f"{rung.rung} is enough"))
        warrant = warrant_for(field, rung)
        if warrant.granted:
            return Choice(_KINDS[rung.method], rung, warrant)
        refused.append(warrant)
    return _nothing(field, refused)


def _undercut(field: Standing, first: RungEvidence) -> Choice | None:
    """The adequate rung on another base that is shown to cost less to own than the first adequate one, if there is one.

    Of several it is the one that costs least; a fine-tuned one needs its warrant as ever.
    """
    rules, cases = field.rules, len(field.evidence.cases)
    later = field.evidence.rungs[field.evidence.rungs.index(first) + 1 :]
    found = [
        (owned(rung, rules, cases) or 0.0, Choice(_KINDS[rung.method], rung, warrant))
        for rung in later
        if rung.base != first.base and field.adequate(rung) and costs_less(rung, first, rules, cases)
        if (warrant := _leave(field, rung)) is not None
    ]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _leave(field: Standing, rung: RungEvidence) -> Warrant | None:
    """The warrant with which a rung may be recommended; None where it may not."""
    if not rung.trained:
        return Warrant(False, f"{rung.rung} is enough")
    warrant = warrant_for(field, rung)
    return warrant if warrant.granted else None


def _nothing(field: Standing, refused: list[Warrant]) -> Choice:
    """No rung can be recommended: because the evidence is not enough, or because none is good enough."""
    warrant = refused[0] if refused else _standing_warrant(field)
    unsettled = [r for r in field.evidence.rungs if _unsettled(field, r)]
    if refused or unsettled or field.rules.bar is None:
        return Choice("not enough evidence", None, warrant)
    return Choice("no rung meets the bar", None, warrant)


def _unsettled(field: Standing, rung: RungEvidence) -> bool:
    """Whether more evidence could make a rung one to recommend; what is measured to be too slow stays so."""
    if field.state(rung) is State.FALLS_SHORT:
        return False
    if rung.scores and field.too_slow(rung):
        return rung.timing is None or not rung.timing.alone
    return field.state(rung) in (State.OPEN, State.NOT_RUN)


def _standing_warrant(field: Standing) -> Warrant:
    """The warrant for the first fine-tuned rung that has not been shown to fall short."""
    if not field.trained:
        return Warrant(False, "no fine-tuned rung is planned: the base is hosted, or decide.methods leaves it out")
    ahead = [r for r in field.trained if field.state(r) is not State.FALLS_SHORT and not field.too_slow(r)]
    if not ahead:
        slow = " or is too slow" if any(field.too_slow(rung) for rung in field.trained) else ""
        return Warrant(False, f"every fine-tuned rung falls short as well{slow}")
    return next(
        (w for rung in ahead if (w := warrant_for(field, rung)).granted),
        warrant_for(field, ahead[0]),
    )


def _worth_its_cost(field: Standing, rung: RungEvidence) -> bool:
    """Without a bar a rung costlier than the plain prompt must be shown to beat it; with one, meeting it is enough."""
    plain = next((r for r in field.measured if r.method == "prompt"), None)
    if field.rules.bar is not None or plain is None or rung is plain or field.too_slow(plain):
        return True
    return field.better_by(rung, plain) > 0


def answers_saved(field: Standing) -> int:
    """Answers that were not needed: of rungs settled early, and of those left out as a cheaper one meets the bar."""
    unneeded = {rung.rung for rung in field.evidence.rungs if not rung.scores and rung.skipped == NOT_NEEDED}
    return sum(v.planned - v.answered for v in field.verdicts if v.settled_early or v.rung in unneeded)


def _exploratory(evidence: Evidence) -> tuple[str, ...]:
    if evidence.openings <= MAX_OPENINGS:
        return ()
    return (
        f"exploratory: the test cases were opened {evidence.openings} times with different ladders, so that the best "
        "of many tries may look better than it is; confirm on fresh cases",
    )
