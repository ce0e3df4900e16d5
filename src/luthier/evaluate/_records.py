"""What a measurement leaves behind: one record per case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Scored:
    """A score in [0, 1] with what is behind it (for example `valid` and `exact` of a JSON answer)."""

    value: float
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One case answered by one system.

    `case` is the example's id; `seconds` the wall time of the answer when it was made; `cost` US dollars by the price
    sheet, None where the model has no price. `shared_tokens` are prompt tokens that a prefix cache spared; `served` is
    the model that an endpoint says it answered with.
    """

    case: str
    answer: str
    score: float
    details: Mapping[str, float]
    prompt_tokens: int
    shared_tokens: int
    completion_tokens: int
    seconds: float
    finish: str
    cost: float | None = None
    served: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For saving as JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"details": dict(self.details)}
