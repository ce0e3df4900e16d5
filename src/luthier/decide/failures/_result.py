"""What a diagnosis of failures says. Plain data: a part of the evidence, saved as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Cause = Literal[
    "format",
    "wrong reference",
    "another rung helps",
    "demonstrations help",
    "fact missing",
    "not retrieved",
    "fact not used",
    "beyond this base",
    "open",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)


@dataclass(frozen=True)
class FailureSample:
    """A failed case to look at, shortened; personal data in it are masked."""

    case: str
    input: str
    wanted: str
    got: str
    why: str


@dataclass(frozen=True)
class Cluster:
    """Failures of one cause that have something in common, which `name` says.

    `detail` tells causes of one kind apart (how a form breaks; which rung helps); `count` of the failures that were
    looked at, `share` of them with its 95 % interval (Wilson) from `low` to `high`.
    """

    cause: Cause
    detail: str
    name: str
    count: int
    share: float
    low: float
    high: float
    samples: tuple[FailureSample, ...]


@dataclass(frozen=True)
class Failures:
    """Why the best measured rung fails the cases that it fails.

    A case fails where its score is below `right`. Of `failed` of `answered` cases, `examined` were looked at, drawn at
    random where there are more. `probes` is the number of answers of the base that were needed beside those of the
    rungs, `seconds` and `usd` (None without a price) what they took.
    """

    rung: str
    right: float
    answered: int
    failed: int
    examined: int
    clusters: tuple[Cluster, ...]
    probes: int = 0
    seconds: float = 0.0
    usd: float | None = None

    def count(self, cause: Cause) -> int:
        """The failures of one cause."""
        return sum(cluster.count for cluster in self.clusters if cluster.cause == cause)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Failures:
        """From what `dataclasses.asdict` made, or JSON of it."""
        clusters = tuple(
            Cluster(**c | {"samples": tuple(FailureSample(**s) for s in c["samples"])}) for c in value["clusters"]
        )
        return Failures(**{**value, "clusters": clusters})
