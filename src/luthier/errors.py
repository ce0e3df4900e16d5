"""Every error a user can meet: one root, a stable code each, and always *what, where, why, what to type*.

The exit codes are the command line's: 1 a gate or check failed, 2 the request is wrong, 3 the evidence is not enough.
`docs/errors.md` has a heading per code; a test keeps the two in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong at one place.

    `line` counts from 1; None where a file has no lines or the place is unknown. `code` is the stable kind of what is
    wrong with a row of data (docs/findings.md); empty elsewhere.
    """

    what: str
    file: Path | str | None = None
    line: int | None = None
    code: str = ""

    def __str__(self) -> str:
        if self.file is None:
            return self.what
        place = str(self.file) if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.what}"


class LuthierError(Exception):
    """Root of all errors raised on purpose.

    Args:
        what: what is wrong, in one sentence that names the value at fault.
        why: why that cannot be accepted; may be empty when it is obvious.
        fix: what to type or change; never empty in code that raises to a user.
        problems: the single places, all of them at once (file and line where known).
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, why: str = "", fix: str = "", problems: Sequence[Problem] = ()) -> None:
        self.what, self.why, self.fix, self.problems = what, why, fix, tuple(problems)
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  {problem}" for problem in self.problems]
        if self.why:
            lines.append(f"why: {self.why}")
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON for `--json`."""
        return {
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "problems": [
                {"what": p.what, "file": None if p.file is None else str(p.file), "line": p.line} for p in self.problems
            ],
        }


class SpecError(LuthierError):
    """`luthier.yaml` cannot be read or does not describe a task."""

    code = "spec"


class PathError(LuthierError):
    """A path in a task is missing, unreadable, or leaves the task's folder."""

    code = "path"


class DataError(LuthierError):
    """Examples cannot be read, or what they say cannot be used."""

    code = "data"


class SplitError(LuthierError):
    """The examples cannot be split into train, development and test, or the frozen split no longer fits."""

    code = "split"


class StoreError(LuthierError):
    """The `.luthier` folder cannot be read or written, or was written by a newer version."""

    code = "store"


class DiskFullError(StoreError):
    """No room is left on the disk; what was there before is untouched."""

    code = "disk-full"


class BusyError(LuthierError):
    """Another luthier process works in this folder."""

    code = "busy"


class ModelError(LuthierError):
    """A model cannot be found, loaded or asked."""

    code = "model"


class TooLongError(ModelError):
    """A prompt with room for its answer does not fit the model's context."""

    code = "too-long"


class EndpointError(ModelError):
    """A hosted model refused, failed or answered garbage after all retries."""

    code = "endpoint"


class BudgetError(ModelError):
    """What a hosted model may cost does not allow another request."""

    code = "budget"
    exit_code = 1


class RetrievalError(LuthierError):
    """Documents cannot be read, chunked, indexed or searched."""

    code = "retrieval"


class TrainingError(LuthierError):
    """Training cannot start or had to stop."""

    code = "training"


class TeachesNothingError(TrainingError):
    """Rows would teach nothing or the wrong thing: no label token, no end of turn, an answer cut off."""

    code = "teaches-nothing"


class ScorerError(LuthierError):
    """A scorer is unknown, wrongly configured, raised, or gave something that is no score."""

    code = "scorer"


class WarrantError(LuthierError):
    """`tune` was asked for without a warrant."""

    code = "no-warrant"
    exit_code = 1


class GateError(LuthierError):
    """A check or a release gate failed."""

    code = "gate"
    exit_code = 1


class EvidenceError(LuthierError):
    """The evidence is not enough for what was asked."""

    code = "evidence"
    exit_code = 3


class ReleaseError(LuthierError):
    """A release cannot be found, made, verified or exported."""

    code = "release"


class ReportError(LuthierError):
    """The verdict or the evidence cannot be written in the format that was asked for."""

    code = "report"
