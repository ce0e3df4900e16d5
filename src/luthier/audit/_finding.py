"""What an audit says, and what it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from luthier.audit._catalogue import EFFECTS
from luthier.audit.personal import veiled
from luthier.data import Example, Message, Source, Split, families_of, visible
from luthier.errors import Problem, SplitError
from luthier.spec import Task

Severity = Literal["blocks", "harms", "note"]

SHOWN = 20
EXCERPT = 300  # characters of a row that are shown

ORDER: dict[Severity, int] = {"blocks": 0, "harms": 1, "note": 2}


@dataclass(frozen=True)
class Sample:
    """A row to look at: where it stands, an excerpt of it, and what is seen there. Personal data in it are masked."""

    source: Source
    text: str
    remark: str = ""

    def as_dict(self) -> dict[str, str]:
        """For `--json` and for saving."""
        return {"row": str(self.source), "text": self.text, "remark": self.remark}


@dataclass(frozen=True)
class Finding:
    """Something about the data that a user should know.

    `blocks`: a run on them would be worthless; `harms`: it would be worse than it need be; `note`: worth a look.
    `code` is stable and stands in docs/findings.md. `count` rows are concerned, which `rows` names where they are rows
    of a file; `effect` says what happens when nothing is done; `samples` are a few to look at.
    """

    code: str
    severity: Severity
    count: int
    rows: tuple[Source, ...]
    reason: str
    fix: str
    effect: str
    samples: tuple[Sample, ...] = ()

    def as_dict(self, shown: int | None = SHOWN) -> dict[str, Any]:
        """For `--json` and for saving; `shown` bounds the rows that are named, None names all."""
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "rows": [str(row) for row in self.rows[:shown]],
            "reason": self.reason,
            "fix": self.fix,
            "effect": self.effect,
            "samples": [sample.as_dict() for sample in self.samples],
        }


def finding(
    code: str,
    severity: Severity,
    rows: Sequence[Example | Source],
    reason: str,
    fix: str,
    *,
    count: int | None = None,
    samples: Sequence[Sample] = (),
) -> Finding:
    """A finding about rows; `count` where it is not their number. The effect is that of the code.

    Personal data in the reason are masked.
    """
    sources = tuple(row.source if isinstance(row, Example) else row for row in rows)
    number = len(sources) if count is None else count
    return Finding(code, severity, number, sources, visible(veiled(reason)), fix, EFFECTS[code], tuple(samples))


def sample(row: Example, text: str | None = None, remark: str = "") -> Sample:
    """A row to look at; `text` is its input and output unless another excerpt says more."""
    shown = f"{row.input_text} → {row.output}" if text is None else text
    shown = visible(veiled(shown[: 4 * EXCERPT]))
    return Sample(row.source, shown if len(shown) <= EXCERPT else shown[: EXCERPT - 1] + "…", visible(remark))


@dataclass(frozen=True)
class Dataset:
    """What an audit looks at.

    `examples` are the usable rows of `task.examples`, `tests` those of `task.test_examples`, `problems` the rows of
    both that cannot be used; `split` is None where the rows could not be divided, and `undivided` says why.
    `traffic` are inputs without answers, `traffic_sources` where they stand, `traffic_problems` the rows of that file
    that cannot be used. `near` are the `families_of` the examples and tests, where they are known already.
    """

    task: Task
    examples: Sequence[Example]
    split: Split | None = None
    tests: Sequence[Example] = ()
    problems: Sequence[Problem] = ()
    traffic: Sequence[tuple[Message, ...]] = ()
    traffic_sources: Sequence[Source] = ()
    traffic_problems: Sequence[Problem] = ()
    undivided: SplitError | None = None
    near: Sequence[int] | None = None

    @cached_property
    def everything(self) -> Sequence[Example]:
        """The usable rows of both files."""
        return [*self.examples, *self.tests]

    @cached_property
    def families(self) -> Sequence[int]:
        """Number of the family of near duplicates of each row of `everything`."""
        return families_of(self.everything) if self.near is None else self.near
