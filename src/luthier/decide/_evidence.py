"""What a verdict is computed from, and what it says. Plain data: saved as JSON, replayed offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from luthier.decide._costs import CostReport
from luthier.decide._inputs import Inputs, assumed_inputs
from luthier.decide.failures import Failures
from luthier.errors import StoreError
from luthier.models import Price
from luthier.spec import LatencySettings, MethodName

# 1: without prices, seconds and timing by rung, and without `failures`; 2: without repeats and `judge`; both still read
EVIDENCE_FORMAT = 3

NOT_NEEDED = "a cheaper rung meets the bar"  # why a rung was not run, that is

VerdictKind = Literal[
    "prompt",
    "few-shot",
    "constrain",
    "self-consistency",
    "retrieve",
    "fine-tune",
    "fine-tune + retrieve",
    "fix the data",
    "no rung meets the bar",
    "not enough evidence",
]


class State(StrEnum):
    """Where a rung stands against the bar (docs/statistics.md)."""

    MEETS = "meets"
    FALLS_SHORT = "falls short"
    OPEN = "open"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Cost:
    """What a rung costs, in US dollars where a price is known.

    `per_1000` requests, `per_month` at the stated volume, `once` to build it (training). `prompt_tokens`,
    `completion_tokens` are means per request; `shared` is the share of prompt tokens that a stable prefix spares;
    `seconds` is the median time of an answer as measured here, `mean_seconds` the mean. `written` tokens a request are
    put into the provider's cache, where that has a price. `price` is the one by tokens, None where the machine's time
    is paid: `machine` dollars an hour, which `machine_source` says the source of. `build_seconds` is what training
    took, `examples` how many labelled examples the rung draws on. Evidence of format 1 has none of these.
    """

    per_1000: float | None
    per_month: float | None
    once: float | None
    prompt_tokens: float
    completion_tokens: float
    shared: float
    seconds: float
    basis: str
    mean_seconds: float | None = None
    written: float = 0.0
    price: Price | None = None
    machine: float | None = None
    machine_source: str = ""
    build_seconds: float = 0.0
    examples: int = 0

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Cost:
        """The inverse of `asdict`."""
        price = value.get("price")
        return Cost(**{**value, "price": None if price is None else Price(**price)})


@dataclass(frozen=True)
class Timing:
    """Seconds of an answer: the median and the 95th percentile of `answers` of them.

    `alone`: each was asked by itself, as a user would wait for it; else these are shares of a batch's time, which no
    limit can be held against.
    """

    p50: float
    p95: float
    answers: int
    alone: bool


@dataclass(frozen=True)
class Repeat:
    """A fine-tuned rung trained again with another seed: the mean score of its system on the first `answered` cases."""

    seed: int
    system: str
    mean: float
    answered: int


@dataclass(frozen=True)
class RungEvidence:
    """One rung on the cases, in the common random order.

    `scores[i]` in [0, 1] belongs to `Evidence.cases[i]`; a rung that was settled early has fewer scores than there are
    cases; a planned rung that was not run has none. `system` is the identity (hash) of the frozen system.
    `choices` says what was chosen on development cases (prompt wording, k, chunking, checkpoint) with their scores.
    `repeats` are further trainings, which show how much training again may change; what is adopted is the first;
    `repeats_stopped` says why there are fewer than the task asks for. `silent` counts answers without a text, by why.
    """

    rung: str
    method: MethodName
    base: str
    system: str
    scores: tuple[float, ...]
    cost: Cost | None = None
    choices: Mapping[str, Any] | None = None
    skipped: str = ""  # why a planned rung was not run
    timing: Timing | None = None
    repeats: tuple[Repeat, ...] = ()
    repeats_stopped: str = ""
    silent: Mapping[str, int] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether weights were changed: what a warrant is asked for."""
        return self.method.startswith("fine-tune")


@dataclass(frozen=True)
class JudgeEvidence:
    """The judge that gave the scores, and what people said of some of the answers: by rung and case id, in [0, 1].

    `served` counts the judge's replies by the version that an endpoint says replied; `rubric` is the hash of its text.
    `kin` is what has to be said of its family; empty where that is another one than the base's. `unjudged` counts
    answers by why there is no judgement. `usd` is what judging cost so far, which is in no rung's cost; None where
    there is no price. `by_length` is, in pairs, the judge's mean score of a rung on the third of the cases in which
    answer and wanted output differ least in length, on the middle third, and on the third in which they differ most.
    """

    model: str
    served: Mapping[str, int]
    rubric: str
    scale: str
    mode: str
    kin: str
    unjudged: Mapping[str, int]
    usd: float | None
    labels: Mapping[str, Mapping[str, float]]
    by_length: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> JudgeEvidence:
        """The inverse of `asdict`."""
        by_length = {rung: tuple(means) for rung, means in value.get("by_length", {}).items()}
        return JudgeEvidence(**{**value, "by_length": by_length})


@dataclass(frozen=True)
class Evidence:
    """Everything measured on the test cases: the input of the verdict.

    `cases` and `groups` (independent sources; same length) are in the common random order. `rungs` are in cost order
    and hold every planned rung, run or not. `binary` says that scores are 0 or 1. `openings` counts how often the test
    cases were opened with a different ladder, this time included. `findings` are codes of blocking data findings.
    `knowledge` is what is known about missing knowledge (see `diagnose`), or None; `failures` is why the best rung
    fails the cases that it fails, None where that was not looked at. `served` counts the test answers by the model that
    an endpoint says it answered with, of the base whose endpoint named most models; empty where all bases are local.
    `judge` is None where no model gave the scores. `bars` are those under which the cases were looked at, the present
    one last.
    """

    cases: tuple[str, ...]
    groups: tuple[str, ...]
    rungs: tuple[RungEvidence, ...]
    binary: bool
    scorer: str
    openings: int = 1
    findings: tuple[str, ...] = ()
    knowledge: Mapping[str, Any] | None = None
    served: Mapping[str, int] = field(default_factory=dict)
    failures: Failures | None = None
    judge: JudgeEvidence | None = None
    bars: tuple[float | None, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For saving as JSON."""
        return {"format": EVIDENCE_FORMAT} | asdict(self)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Evidence:
        """The inverse of `as_dict`; evidence of format 1 has no `failures`, of formats 1 and 2 no `judge`.

        Raises:
            StoreError: saved by a newer version.
        """
        _refuse_newer(value, "evidence")
        failures = value.get("failures")
        rungs = tuple(
            RungEvidence(
                **{
                    **r,
                    "scores": tuple(r["scores"]),
                    "cost": None if r["cost"] is None else Cost.from_dict(r["cost"]),
                    "timing": None if r.get("timing") is None else Timing(**r["timing"]),
                    "repeats": tuple(Repeat(**repeat) for repeat in r.get("repeats", ())),
                }
            )
            for r in value["rungs"]
        )
        judge = value.get("judge")
        apart = ("format", "rungs", "cases", "groups", "findings", "failures", "judge", "bars")
        rest = {k: v for k, v in value.items() if k not in apart}
        return Evidence(
            cases=tuple(value["cases"]),
            groups=tuple(value["groups"]),
            findings=tuple(value["findings"]),
            rungs=rungs,
            failures=None if failures is None else Failures.from_dict(failures),
            judge=None if judge is None else JudgeEvidence.from_dict(judge),
            bars=tuple(value.get("bars", ())),
            **rest,
        )


@dataclass(frozen=True)
class Rules:
    """What the user fixed before looking: the part of the task that the verdict reads.

    `bar` is None when the yardstick is the best rung less `margin`. `volume` is requests a month. `latency` are limits
    that a recommended rung keeps; `inputs` what costs rest on.
    """

    bar: float | None
    margin: float
    alpha: float
    volume: int | None
    latency: LatencySettings = field(default_factory=LatencySettings)
    inputs: Inputs = field(default_factory=assumed_inputs)


@dataclass(frozen=True)
class RungVerdict:
    """A rung's state with its figures.

    `low`, `high` bound the mean score at the level that the decision used; `display_low`, `display_high` are the plain
    95 % interval. `answered` cases of `planned`. `p` is the one-sided p-value of the adequacy test (None if not run).
    `more_cases` that would settle it with 80 % assurance (None: settled, or more will not help: see `note`).
    Where a judge gave the scores, all these are corrected by `labels` labels of people; `judged` is the mean that the
    judge alone gives, and `youden` its J on this rung (None where the labels do not tell).
    """

    rung: str
    method: MethodName
    state: State
    answered: int
    planned: int
    mean: float | None
    low: float | None
    high: float | None
    display_low: float | None
    display_high: float | None
    p: float | None
    more_cases: int | None = None
    note: str = ""
    settled_early: bool = False
    judged: float | None = None
    labels: int | None = None
    youden: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two rungs paired on their common cases: `difference` = mean(a) - mean(b), with a 95 % interval."""

    a: str
    b: str
    n: int
    difference: float
    low: float
    high: float
    p: float
    test: str


@dataclass(frozen=True)
class Warrant:
    """The permission to fine-tune and what it rests on; `rung` is the fine-tuned rung that it is about, if any."""

    granted: bool
    reason: str
    rung: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What the evidence supports.

    `rung` is the recommended rung (None for the last three kinds). `sentence` is the verdict in one line, `reasons` say
    why, `advice` what to do next, `flips` what would change it. `answers_saved` counts test answers that early stopping
    and rungs not run have spared. `costs` is None where no rung's cost is known, and in verdicts of format 1.
    """

    kind: VerdictKind
    rung: str | None
    sentence: str
    reasons: tuple[str, ...]
    advice: tuple[str, ...]
    flips: tuple[str, ...]
    rungs: tuple[RungVerdict, ...]
    comparisons: tuple[Comparison, ...]
    warrant: Warrant
    bar: float | None
    alpha_each: float
    answers_saved: int
    exploratory: bool = False
    costs: CostReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """For saving as JSON."""
        return {"format": EVIDENCE_FORMAT} | asdict(self)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Verdict:
        """The inverse of `as_dict`.

        Raises:
            StoreError: saved by a newer version.
        """
        _refuse_newer(value, "verdict")
        plain = {k: v for k, v in value.items() if k != "format"}
        return Verdict(
            **plain
            | {
                "reasons": tuple(value["reasons"]),
                "advice": tuple(value["advice"]),
                "flips": tuple(value["flips"]),
                "rungs": tuple(RungVerdict(**r | {"state": State(r["state"])}) for r in value["rungs"]),
                "comparisons": tuple(Comparison(**c) for c in value["comparisons"]),
                "warrant": Warrant(**value["warrant"]),
                "costs": None if value.get("costs") is None else CostReport.from_dict(value["costs"]),
            }
        )


def _refuse_newer(value: Mapping[str, Any], what: str) -> None:
    if value.get("format", 0) > EVIDENCE_FORMAT:
        raise StoreError(
            f"this {what} has format {value['format']}; this luthier reads up to {EVIDENCE_FORMAT}",
            fix="pip install -U luthier",
        )
