"""A corrected copy of the examples beside the original, with a log of every change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.audit._form import wrong_output
from luthier.audit._personal_mask import mask_rows
from luthier.audit._personal_veil import veiled
from luthier.data import Example, scan_examples
from luthier.errors import DataError
from luthier.spec import JsonScore, LabelScore, Task
from luthier.store import write_text_atomic


@dataclass(frozen=True)
class Fixed:
    """What `write_fixed` did: the files it wrote, and how many rows it kept, changed and left out.

    `masked` values were replaced by placeholders; `unmasked` rows were left as they are, because they would break.

    `group` is the key that names each row's group in the copy, to be set as `split.group`; None where no row has one.
    """

    file: Path
    log: Path
    kept: int
    changed: int
    dropped: int
    group: str | None
    masked: int = 0
    unmasked: int = 0


def write_fixed(task: Task, *, mask: bool = False) -> Fixed:
    """Write `<name>.fixed.jsonl` (chat messages) beside `task.examples`, and `<name>.fixed.log.jsonl` of every change.

    Left out: rows that cannot be read, copies of other rows, outputs that the scorer would reject and that cannot be
    repaired, preference pairs without a difference. Repaired: JSON in a code fence, labels in another case. Conflicting
    outputs stay, because which one is right is not for a program to say. The original is never touched.

    Personal data and secrets stay unless `mask`: an address in a row may be what the task is about. With it, those
    that are known by their form become placeholders, the same value the same one in inputs and outputs, so that a row
    that takes a datum from its input stays right. The log shows no such value in clear, in either case.

    Raises:
        DataError: the file as a whole cannot be read, or nothing would be left.
        StoreError, DiskFullError: the copy cannot be written.
    """
    reading = scan_examples(task.examples, group=task.split.group, time=task.split.time)
    log: list[dict[str, Any]] = [
        {"action": "dropped", "file": str(p.file), "line": p.line, "reason": p.what} for p in reading.problems
    ]
    kept = _kept(task, reading.examples, log)
    if not kept:
        raise DataError(
            f"no row of {task.examples} can be kept", fix="correct the rows by hand: luthier check lists them"
        )
    if mask:
        kept = mask_rows(kept, wrong_output(task), log)
    group = None
    if any(e.group is not None for e in kept):
        group = task.split.group or "group"
    file = task.examples.with_name(f"{task.examples.stem}.fixed.jsonl")
    log_file = task.examples.with_name(f"{task.examples.stem}.fixed.log.jsonl")
    log.sort(key=lambda entry: (entry["file"], entry["line"] or 0))
    write_text_atomic(log_file, _json_lines([_hidden(entry) for entry in log]))
    write_text_atomic(file, _json_lines([_as_row(e, group, task.split.time) for e in kept]))
    did = Counter(entry["action"] for entry in log)
    return Fixed(
        file, log_file, len(kept), did["changed"], did["dropped"], group, masked=did["masked"], unmasked=did["left"]
    )


def _hidden(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry without personal data in clear."""
    return {key: veiled(value) if key in ("reason", "before", "after") else value for key, value in entry.items()}


def _kept(task: Task, examples: Sequence[Example], log: list[dict[str, Any]]) -> list[Example]:
    wrong, repair = wrong_output(task), _repair(task)
    kept: dict[str, Example] = {}
    for example in examples:
        row = example
        place = {"file": example.source.file, "line": example.source.line}
        if why := wrong(example.output):
            repaired = repair(example.output)
            if repaired is None or wrong(repaired):
                log.append({"action": "dropped", **place, "reason": why, "before": example.output})
                continue
            row = replace(example, output=repaired)
            log.append({"action": "changed", **place, "reason": why, "before": example.output, "after": repaired})
        if row.rejected is not None and row.rejected.strip() == row.output.strip():
            log.append({"action": "dropped", **place, "reason": "chosen and rejected are the same"})
        elif row.id in kept:
            log.append({"action": "dropped", **place, "reason": f"a copy of {kept[row.id].source}"})
        else:
            kept[row.id] = row
    return list(kept.values())


def _repair(task: Task) -> Callable[[str], str | None]:
    """A function that gives what a rejected output was meant to be, or None where that is not plain."""
    score = task.score
    if isinstance(score, JsonScore):
        return _without_fence
    if isinstance(score, LabelScore) and score.labels is not None:
        by_lower: dict[str, list[str]] = {}
        for label in score.labels:
            by_lower.setdefault(_loose(label), []).append(label)

        def nearest(text: str) -> str | None:
            found = by_lower.get(_loose(text), [])
            return found[0] if len(found) == 1 else None

        return nearest
    return lambda text: None


def _without_fence(text: str) -> str | None:
    """The inside of ```json … ```."""
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[-1].strip() != "```" or lines[0].strip().lower() not in ("```", "```json"):
        return None
    return "\n".join(lines[1:-1]).strip()


def _loose(label: str) -> str:
    return " ".join(label.replace("_", " ").replace("-", " ").casefold().strip(" .\"'").split())


def _as_row(example: Example, group: str | None, time: str | None) -> dict[str, Any]:
    start: list[dict[str, str]] = [m.as_dict() for m in example.messages]
    answer = {"role": "assistant", "content": example.output}
    row: dict[str, Any] = {"messages": [*start, answer]}
    if example.rejected is not None:
        row = {"prompt": start, "chosen": [answer], "rejected": [{"role": "assistant", "content": example.rejected}]}
    if group is not None:
        row[group] = example.group
    if time is not None and example.time is not None:
        row[time] = example.time.isoformat()
    return row


def _json_lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
