"""Raw rows: what stands where, before anyone asks what it means."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.data._examples import Source
from luthier.errors import Problem

INPUTS = ("prompt", "input", "question", "instruction", "text", "utterance")
OUTPUTS = ("completion", "output", "response", "answer", "answers", "label", "target")
SYSTEMS = ("system", "system_prompt")
ROW_KEYS = (*INPUTS, *OUTPUTS, *SYSTEMS, "messages", "conversations", "chosen", "rejected", "context")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file with its keys as they stand there."""

    source: Source
    value: dict[str, Any]


@dataclass
class Rows:
    """The rows of a file, and what could not be read as a row; together every row there is."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, line: int, value: Any) -> None:
        """Take a value as a row, which must be an object."""
        if isinstance(value, dict):
            # the same name is held once, not once a row
            self.rows.append(Row(Source(sys.intern(str(path)), line), value))
        else:
            self.problem(path, line, f"a row must be an object like {{…}}, not {_kind(value)}", "bad-json")

    def problem(self, path: Path, line: int, what: str, code: str) -> None:
        """Note that a row cannot be used, and the stable kind of the reason."""
        self.problems.append(Problem(what, str(path), line, code))

    def extend(self, other: Rows) -> None:
        """Take the rows of another file."""
        self.rows += other.rows
        self.problems += other.problems


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
