"""May this be fine-tuned? The rule, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from luthier.decide._elsewhere import costs_less
from luthier.decide._evidence import RungEvidence, State, Warrant
from luthier.decide._sentences import listed, number
from luthier.decide._standing import Standing


@dataclass(frozen=True)
class Missing:
    """What the rungs show about missing knowledge: documents helped, and plain fine-tuning did not make up for them."""

    retrieval: RungEvidence
    closed: RungEvidence


def missing_knowledge(standing: Standing, base: str | None = None) -> Missing | None:
    """The retrieval rung, when it is shown to be better than its base's best rung without documents or training.

    Args:
        standing: where the rungs stand.
        base: the base to look at; None looks at the first one that retrieval was measured on.
    """
    found = [r for r in standing.measured if r.method == "retrieval" and base in (None, r.base)]
    retrieval = found[0] if found else None
    closed = [
        r
        for r in standing.measured
        if retrieval is not None and r.base == retrieval.base and not r.trained and r.method != "retrieval"
    ]
    if retrieval is None or not closed:
        return None
    best = max(closed, key=lambda rung: sum(rung.scores) / len(rung.scores))
    return Missing(retrieval, best) if standing.better_by(retrieval, best) > 0 else None


def teaches_facts(standing: Standing, rung: RungEvidence) -> bool:
    """Whether a plain fine-tune stands where knowledge is missing: then it must be shown to beat retrieval."""
    missing = missing_knowledge(standing, rung.base) if rung.method == "fine-tune" else None
    return missing is not None and standing.better_by(rung, missing.retrieval) <= 0


def warrant_for(standing: Standing, rung: RungEvidence) -> Warrant:
    """Whether fine-tuning to this rung is warranted.

    It is when every cheaper rung is shown to fall short, or is too slow to be used; or when the rung meets the bar and
    is shown to beat, paired, every cheaper rung that does not fall short, by more than the margin (by anything at all
    where it costs no more over the horizon, with all that it needs). Each of these statements has the error budget of
    one rung, so that with K rungs a warrant that is not due has a chance of at most alpha. A rung on another base that
    is shown to cost more to own than a fine-tune that meets the bar is not a cheaper one.
    """
    found = _warrant(standing, rung)
    return replace(found, rung=rung.rung)


def dearer_elsewhere(standing: Standing, rung: RungEvidence) -> tuple[RungEvidence, ...]:
    """Rungs before a measured one that stand on another base and are shown to cost more to own.

    One that was not measured costs no less than those before it on the same base, for its prompts are longer.
    """
    rules, cases = standing.rules, len(standing.evidence.cases)
    dearer: list[RungEvidence] = []
    for other in standing.cheaper_untrained(rung):
        if other.base == rung.base or not rung.scores:
            continue
        known = costs_less(rung, other, rules, cases) if other.scores else any(o.base == other.base for o in dearer)
        dearer += [other] * known
    return tuple(dearer)


def _warrant(standing: Standing, rung: RungEvidence) -> Warrant:
    dearer = dearer_elsewhere(standing, rung) if standing.state(rung) is State.MEETS else ()
    cheaper = tuple(other for other in standing.cheaper_untrained(rung) if other not in dearer)
    fast = tuple(other for other in cheaper if not standing.too_slow(other))
    slow = " or is too slow" if len(fast) < len(cheaper) else ""
    if teaches_facts(standing, rung):
        return Warrant(False, "what is missing is knowledge, and plain fine-tuning is not shown to beat retrieval")
    if not cheaper:
        return Warrant(False, "no cheaper rung is planned, so nothing shows that a cheaper one falls short")
    if standing.rules.bar is None:
        return _without_bar(standing, rung, fast)
    left = [other for other in fast if standing.state(other) is not State.FALLS_SHORT]
    bar = number(standing.rules.bar)
    if not left:
        return Warrant(True, f"every cheaper rung falls short of {bar}{slow}{_said_dearer(standing, dearer)}")
    meeting = [other.rung for other in left if standing.state(other) is State.MEETS]
    if meeting:
        return Warrant(False, f"{meeting[0]} meets {bar} and is cheaper")
    if standing.state(rung) is State.MEETS:
        beaten = [other for other in left if _worth(standing, rung, other)]
        if len(beaten) == len(left):
            ahead = _ahead(standing, rung, left)
            return Warrant(True, f"{rung.rung} beats {ahead}, paired{_said_dearer(standing, dearer)}")
    return Warrant(False, f"it is not shown that {listed([o.rung for o in left])} {_falls(left)} short of {bar}")


def _without_bar(standing: Standing, rung: RungEvidence, cheaper: tuple[RungEvidence, ...]) -> Warrant:
    if not rung.scores:
        return Warrant(False, "without a bar nothing falls short of one; set `bar:`, or measure fine-tuning too")
    if not cheaper:
        return Warrant(True, "every cheaper rung is too slow")
    left = [other for other in cheaper if not _worth(standing, rung, other)]
    if not left:
        return Warrant(True, f"{rung.rung} beats {_ahead(standing, rung, cheaper)}, paired")
    names = listed([other.rung for other in left])
    return Warrant(False, f"{rung.rung} is not shown to beat {names} by more than {standing.rules.margin:g}")


def _said_dearer(standing: Standing, dearer: tuple[RungEvidence, ...]) -> str:
    meeting = [other.rung for other in dearer if standing.adequate(other)]
    return f"; {listed(meeting)}, which {_meets(meeting)} it too, would cost more to own" if meeting else ""


def _meets(names: list[str]) -> str:
    return "meets" if len(names) == 1 else "meet"


def _worth(standing: Standing, rung: RungEvidence, other: RungEvidence) -> bool:
    return standing.better_by(rung, other) > standing.margin_worth(rung, other)


def _ahead(standing: Standing, rung: RungEvidence, others: list[RungEvidence] | tuple[RungEvidence, ...]) -> str:
    return listed([f"{other.rung} by at least {standing.better_by(rung, other):.2f}" for other in others])


def _falls(rungs: list[RungEvidence]) -> str:
    return "falls" if len(rungs) == 1 else "fall"
