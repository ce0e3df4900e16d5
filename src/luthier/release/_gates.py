"""The one gate before a release: behaviour, form, capability, and that what is served is what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from luthier.decide import RungVerdict, State, Verdict
from luthier.errors import GateError, Problem, StoreError
from luthier.evaluate import Record
from luthier.release._parity import Parity

if TYPE_CHECKING:
    from luthier.evaluate import Capability

GATE_FORMAT = 1

# Own judgement: a caller of the system can stand a few answers that need a second look, not a stream of them.
INVALID_LIMIT = 0.05  # share of answers that do not have the form the scorer asks for
CUT_LIMIT = 0.02  # share of answers that the length limit cut off
INEXACT_LIMIT = 0.20  # share of answers that rounding or a host may change; another system would change most of them


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `figure` is the number that the reason speaks of, None where there is none."""

    name: str
    passed: bool
    reason: str
    figure: float | None = None


@dataclass(frozen=True)
class GateReport:
    """What the gate found: it passes when every check does. `rung` and `system` say what was gated."""

    rung: str
    system: str
    checks: tuple[Check, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """For saving as JSON."""
        return {"format": GATE_FORMAT, "passed": self.passed} | asdict(self)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> GateReport:
        """The inverse of `as_dict`.

        Raises:
            StoreError: saved by a newer version.
        """
        if value["format"] > GATE_FORMAT:
            raise StoreError(
                f"this gate report has format {value['format']}; this luthier reads up to {GATE_FORMAT}",
                fix="pip install -U luthier",
            )
        return GateReport(value["rung"], value["system"], tuple(Check(**check) for check in value["checks"]))

    def demand(self) -> None:
        """Do nothing if the gate passed.

        Raises:
            GateError: it did not; every failed check is named.
        """
        failed = [Problem(f"{check.name}: {check.reason}") for check in self.checks if not check.passed]
        if failed:
            raise GateError(
                f"{self.rung} does not pass the gate: {len(failed)} of {len(self.checks)} checks failed",
                fix="mend what is named, then: luthier validate",
                problems=failed,
            )


def gate(
    verdict: Verdict,
    records: Sequence[Record],
    capability: Capability | None,
    bar: float | None,
    *,
    rung: str,
    system: str,
    trained: bool,
    parity: Parity,
) -> GateReport:
    """Look at everything that a release must show.

    Args:
        verdict: what the evidence supports; it holds the gated rung's interval.
        records: the gated system's answers to the test cases, in the common order.
        capability: general capability before and after training; None where no weights were changed.
        bar: the mean score that is good enough; None when the yardstick is the best rung.
        rung: the gated rung.
        system: the gated system's identity.
        trained: whether its weights were changed.
        parity: serving compared with measuring.
    """
    checks = (
        _behaviour(verdict, records, bar, rung),
        _form(records),
        _length(records),
        _capability(capability, trained),
        _requests(parity),
        _answers(parity),
    )
    return GateReport(rung, system, checks)


def _behaviour(verdict: Verdict, records: Sequence[Record], bar: float | None, rung: str) -> Check:
    found = next((r for r in verdict.rungs if r.rung == rung), None)
    if found is None or found.mean is None or found.state is State.NOT_RUN:
        return Check("behaviour", False, f"{rung} was not measured on the test cases: luthier decide")
    if not records or len(records) < found.answered:
        reason = f"{len(records)} answers are at hand, the verdict rests on {found.answered}: luthier decide"
        return Check("behaviour", False, reason, found.mean)
    first, mean = _mean(records[: found.answered]), _mean(records)
    measured = found.mean if found.judged is None else found.judged  # a judge's scores, before labels corrected them
    if abs(first - measured) > 1e-6:
        reason = f"the answers score {first:.4f}, the verdict says {measured:.4f}: they are not of one measurement"
        return Check("behaviour", False, reason, first)
    reason = _standing(found, verdict, bar)
    if len(records) > found.answered:
        reason += f"; {mean:.3f} on all {len(records)}"
    if found.judged is not None:
        reason += f"; corrected by {found.labels} labels, the judge alone says {mean:.3f}"
        mean = found.mean
    passed = found.state is State.MEETS and (bar is None or mean >= bar)
    return Check("behaviour", passed, reason, mean)


def _mean(records: Sequence[Record]) -> float:
    return sum(record.score for record in records) / len(records)


def _standing(found: RungVerdict, verdict: Verdict, bar: float | None) -> str:
    low = found.display_low if found.display_low is not None else found.low
    high = found.display_high if found.display_high is not None else found.high
    interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    yardstick = f"the bar of {bar:g}" if bar is not None else "the best rung less the margin"
    stands = {State.MEETS: "meets", State.FALLS_SHORT: "falls short of", State.OPEN: "is not shown to meet"}
    text = f"mean score {found.mean:.3f}{interval} on {found.answered} cases {stands[found.state]} {yardstick}"
    if found.state is State.OPEN and found.more_cases is not None:
        text += f"; about {found.more_cases} more cases would settle it"
    if verdict.exploratory:
        text += "; exploratory: the test cases were opened too often to prove it, collect fresh ones"
    return text


def _form(records: Sequence[Record]) -> Check:
    graded = [record.details["valid"] for record in records if "valid" in record.details]
    if not graded:
        return Check("form", True, "the scorer asks for no form of answer")
    invalid = sum(1 for valid in graded if valid < 1)
    share = invalid / len(graded)
    reason = f"{invalid} of {len(graded)} answers are not of the wanted form ({share:.1%}; limit {INVALID_LIMIT:.0%})"
    if share > INVALID_LIMIT:
        reason += "; constrained decoding would make all of them valid"
    return Check("form", share <= INVALID_LIMIT, reason, share)


def _length(records: Sequence[Record]) -> Check:
    cut = sum(1 for record in records if record.finish == "length")
    share = cut / len(records) if records else 0.0
    reason = f"{cut} of {len(records)} answers were cut off by the length limit ({share:.1%}; limit {CUT_LIMIT:.0%})"
    if share > CUT_LIMIT:
        reason += "; set max_answer_tokens: higher in luthier.yaml, or teach it to stop"
    return Check("length", share <= CUT_LIMIT, reason, share)


def _capability(capability: Capability | None, trained: bool) -> Check:
    if not trained:
        return Check("capability", True, "the weights are the base's own: there is nothing it could have lost")
    if capability is None:
        return Check("capability", False, "the weights were changed, and what the base could do was not measured again")
    lost = [family.name for family in capability.families if family.state == "lost"]
    if capability.passed:
        reason = f"nothing lost in {len(capability.families)} families of general tasks"
    else:
        reason = "; ".join(capability.reasons) or f"lost: {', '.join(lost)}"
    return Check("capability", capability.passed, reason, float(len(lost)))


def _requests(parity: Parity) -> Check:
    wrong = len(parity.request_differences)
    what = "token ids" if parity.tokens_compared else "conversations"
    if not parity.cases:
        return Check("served requests", False, "no case was compared between measuring and serving")
    reason = f"{what} of {parity.cases} requests are equal as served and as measured"
    if wrong:
        names = ", ".join(parity.request_differences[:3]) + (" …" if wrong > 3 else "")
        reason = f"{wrong} of {parity.cases} requests differ in {what} between serving and measuring (cases {names})"
    return Check("served requests", wrong == 0, reason, float(wrong))


def _answers(parity: Parity) -> Check:
    wrong = len(parity.answer_differences)
    share = wrong / parity.cases if parity.cases else 1.0
    limit = 0.0 if parity.exact else INEXACT_LIMIT
    reason = f"{parity.cases - wrong} of {parity.cases} answers made again by the serving path are the measured ones"
    if wrong:
        reason += f" (not: cases {', '.join(parity.answer_differences[:3])}{' …' if wrong > 3 else ''})"
    if wrong and not parity.exact:
        reason += f"; up to {limit:.0%} may differ, for this model does not always answer the same"
    return Check("served answers", share <= limit, reason, float(wrong))
