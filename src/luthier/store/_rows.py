"""What the store gives back: frozen rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class ReleaseRow:
    """One release of a task. `version` counts from 1 per task; `created` is UTC; `lock` is everything that made it."""

    version: int
    created: datetime
    folder: str
    lock: dict[str, Any]


@dataclass(frozen=True)
class TrafficRow:
    """One request that was served. `release` is the version that answered; `seconds` is wall time; `created` is UTC."""

    id: int
    created: datetime
    release: int
    request: dict[str, Any]
    answer: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
