"""Typed placeholders in place of personal data and secrets: the same value, the same placeholder, in the whole copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from luthier.audit.personal._match import Kind, Match
from luthier.audit.personal._scan import scan, scan_row, texts_of
from luthier.audit.personal._veil import veil
from luthier.data import BadValue, Example, Message, parse_json

# kinds that are known by their form: a wrong one is rare. Names and addresses are not: they are reported only.
TYPES: dict[Kind, str] = {
    "secret": "SECRET",
    "password": "PASSWORD",
    "card": "CARD",
    "iban": "IBAN",
    "national-id": "NATIONAL_ID",
    "email": "EMAIL",
    "phone": "PHONE",
}
_TAKEN = re.compile(rf"<({'|'.join(TYPES.values())})_(\d{{1,9}})>")

Entry = dict[str, Any]


def mask_rows(rows: Sequence[Example], wrong: Callable[[str], str | None], log: list[Entry]) -> list[Example]:
    """The rows with placeholders such as `<EMAIL_1>`; every replacement is logged with the value veiled.

    A row whose output the scorer (`wrong`) would then reject, or whose JSON would then be none, stays as it is; this is
    logged too.
    """
    placeholders = _Placeholders(rows)
    return [_masked(row, placeholders, wrong, log) for row in rows]


class _Placeholders:
    """Numbers values as they are first met, above all numbers that stand in the rows already."""

    def __init__(self, rows: Iterable[Example]) -> None:
        self._names: dict[tuple[Kind, str], str] = {}
        self._last = dict.fromkeys(TYPES.values(), 0)
        for row in rows:
            for text in texts_of(row):
                if "<" in text:
                    for found in _TAKEN.finditer(text):
                        self._last[found[1]] = max(self._last[found[1]], int(found[2]))

    def __len__(self) -> int:
        return len(self._names)

    def forget(self, number: int) -> None:
        """Keep the first `number` of them."""
        while len(self._names) > number:
            (kind, _), _ = self._names.popitem()
            self._last[TYPES[kind]] -= 1

    def of(self, match: Match) -> str:
        key = match.kind, match.value
        if key not in self._names:
            kind = TYPES[match.kind]
            self._last[kind] += 1
            self._names[key] = f"<{kind}_{self._last[kind]}>"
        return self._names[key]


def _masked(row: Example, placeholders: _Placeholders, wrong: Callable[[str], str | None], log: list[Entry]) -> Example:
    texts = texts_of(row)
    place = {"file": row.source.file, "line": row.source.line}
    group = row.group or ""
    grouped = [m for m in scan(group) if _is_masked(m)] if group else []
    found = [[m for m in matches if _is_masked(m)] for matches in scan_row(texts)]
    if not any(found) and not grouped:
        return row
    known = len(placeholders)
    changed = [_replaced(text, matches, placeholders) for text, matches in zip(texts, found, strict=True)]
    if why := _broken(row, texts, changed, wrong):
        placeholders.forget(known)
        log.append({"action": "left", **place, "reason": f"with placeholders, {why}"})
        return row
    inputs = len(row.messages)
    for number, (text, matches) in enumerate(zip(texts, found, strict=True)):
        where = "input" if number < inputs else "output" if number == inputs else "rejected"
        log += [
            {"action": "masked", **place, "where": where, "what": m.what, "before": veil(m, text[m.start : m.end])}
            | {"after": placeholders.of(m)}
            for m in matches
        ]
    return replace(
        row,
        messages=tuple(Message(m.role, text) for m, text in zip(row.messages, changed, strict=False)),
        output=changed[inputs],
        rejected=None if row.rejected is None else changed[-1],
        group=_replaced(group, grouped, placeholders) if grouped else row.group,
    )


def _is_masked(match: Match) -> bool:
    return match.kind in TYPES and not match.documented


def _replaced(text: str, matches: Sequence[Match], placeholders: _Placeholders) -> str:
    parts, position = [], 0
    for match in matches:
        parts += [text[position : match.start], placeholders.of(match)]
        position = match.end
    return "".join([*parts, text[position:]])


def _broken(
    row: Example, before: Sequence[str], after: Sequence[str], wrong: Callable[[str], str | None]
) -> str | None:
    """Why a row cannot be masked: a text that was JSON would be none, or the scorer would reject the output."""
    for old, new in zip(before, after, strict=True):
        if old != new and old.lstrip()[:1] in ("{", "[") and _is_json(old) and not _is_json(new):
            return "JSON would be none any more"
    output = after[len(row.messages)]
    if output != row.output and (why := wrong(output)) and wrong(row.output) is None:
        return f"the scorer would reject the output: {why}"
    return None


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except BadValue:
        return False
    return True
