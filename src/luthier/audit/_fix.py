"""A corrected copy of the examples beside the original, with a log of every change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.audit.personal import mask_rows, veiled
from luthier.audit.text import mender, texts, wrong_output
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
    repaired, preference pairs without a difference. Repaired: wrong decoding, hidden characters, HTML entities, white
    space around outputs, JSON in a code fence, labels in another case. Conflicting outputs stay, because which one is
    right is not for a program to say. Every other key of a row stays. The original is never touched.

    Personal data and secrets stay unless `mask`: an address in a row may be what the task is about. With it, those
    that are known by their form become placeholders, the same value the same one in inputs and outputs, so that a row
    that takes a datum from its input stays right. The log shows no such value in clear, in either case.

    Raises:
        DataError: the file as a whole cannot be read, or nothing would be left.
        StoreError, DiskFullError: the copy cannot be written.
    """
    reading = scan_examples(task.examples, group=task.split.group, time=task.split.time, keep_rest=True)
    # nobody has looked for personal data in what else a row holds
    rest = {} if mask else {e.source: more for e, more in zip(reading.examples, reading.rest, strict=True)}
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
        group = task.split.group or _new_key("group", rest.values())
    file = task.examples.with_name(f"{task.examples.stem}.fixed.jsonl")
    log_file = task.examples.with_name(f"{task.examples.stem}.fixed.log.jsonl")
    log.sort(key=lambda entry: (entry["file"], entry["line"] or 0))
    write_text_atomic(log_file, _json_lines([_hidden(entry) for entry in log]))
    write_text_atomic(file, _json_lines([rest.get(e.source, {}) | _as_row(e, group, task.split.time) for e in kept]))
    did = Counter(entry["action"] for entry in log)
    changed = len({(entry["file"], entry["line"]) for entry in log if entry["action"] == "changed"})
    return Fixed(file, log_file, len(kept), changed, did["dropped"], group, masked=did["masked"], unmasked=did["left"])


def _hidden(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry without personal data in clear."""
    return {key: veiled(value) if key in ("reason", "before", "after") else value for key, value in entry.items()}


def _new_key(name: str, rows: Iterable[dict[str, Any]]) -> str:
    """The name, or one like it that no row has yet."""
    taken = {key for row in rows for key in row}
    while name in taken:
        name = f"{name}_"
    return name


def _kept(task: Task, examples: Sequence[Example], log: list[dict[str, Any]]) -> list[Example]:
    wrong, repair, mend = wrong_output(task), _repair(task), mender(examples)
    kept: dict[str, Example] = {}
    for example in examples:
        place = {"file": example.source.file, "line": example.source.line}
        row, mended = mend(example)
        if mended:
            log += [{"action": "changed", **place, "reason": mended, **change} for change in _changes(example, row)]
        if why := wrong(row.output):
            repaired = repair(row.output)
            if repaired is None or wrong(repaired):
                log.append({"action": "dropped", **place, "reason": why, "before": row.output})
                continue
            log.append({"action": "changed", **place, "reason": why, "before": row.output, "after": repaired})
            row = replace(row, output=repaired)
        if row.rejected is not None and row.rejected.strip() == row.output.strip():
            log.append({"action": "dropped", **place, "reason": "chosen and rejected are the same"})
        elif row.id in kept:
            log.append({"action": "dropped", **place, "reason": f"a copy of {kept[row.id].source}"})
        else:
            kept[row.id] = row
    return list(kept.values())


def _changes(before: Example, after: Example) -> Iterable[dict[str, str]]:
    """Each text that differs, before and after."""
    for old, new in zip(texts(before), texts(after), strict=True):
        if old != new:
            yield {"before": old, "after": new}


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
