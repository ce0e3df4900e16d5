"""Findings on answers that stand in their own input, where those of other rows do not."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from luthier.audit._finding import Dataset, Finding, Severity, finding, sample
from luthier.data import BadValue, Example, normalise, parse_json
from luthier.spec import JsonScore, LabelScore

USUAL, USUAL_TEXT = (
    0.2,
    0.02,
)  # of the rows: from here on, that an answer or a free text stands in the input is the task
LEAST_USUAL = 5  # rows
USUAL_MARKED = 0.5  # of the rows: marked, more than half of them are meant so
LEAST_LETTERS = 12  # of a text of one word that does not stand in an input by chance
FREE_TEXT = ("chrf", "rouge", "python", "judge")
LABEL_ROWS = 5  # on the average: values that come back so often are labels

_NAMED = r"\b(?:label|answer|category|intent|class|output|target|tag|topic)"
_MARK = rf"(?:[:=#>|\]\u2192\u2014]\s*|\s-\s|{_NAMED}(?: is)?\s*)"
_WORDED = rf"{_NAMED}\s*(?:is|[:=])\s*"


def check_answers(data: Dataset) -> Iterable[Finding]:
    """Rows whose input gives the answer away, as when a label is left at its end."""
    places = _given_away(data)
    if places:
        rows = [place.row for place in places]
        reason = (
            f"the wanted output stands in the input of {len(rows):,} of {len(data.everything):,} rows, as if it were"
            " left there by mistake"
        )
        samples = [sample(place.row, remark=f"{place.value!r} stands in the input") for place in places[:5]]
        fix = "take the answer out of these inputs, or remove the rows"
        severity: Severity = "harms" if any(place.marked for place in places) else "note"
        yield finding("answer-in-input", severity, rows, reason, fix, samples=samples)


@dataclass(frozen=True)
class _Place:
    """A row with its answer, or a value of it, in the input; `marked` as nobody would say it."""

    row: Example
    value: str
    marked: bool


def _given_away(data: Dataset) -> list[_Place]:
    rows = data.everything
    free = data.task.score.kind in FREE_TEXT
    found: dict[int, _Place] = {}
    inputs = [normalise(row.input_text) for row in rows]
    for values in _answers(data, rows):
        labels = isinstance(data.task.score, LabelScore) or len(set(values.values())) * LABEL_ROWS <= len(values)
        standing = [at for at, value in values.items() if _stands(_spoken(value), inputs[at])]
        usual = len(standing) > max((USUAL_TEXT if free else USUAL) * len(rows), LEAST_USUAL)
        marked = [at for at in standing if _is_marked(values[at], rows[at].input_text, inputs[at], labels, free)]
        if not labels and len(marked) > USUAL_MARKED * len(rows):
            continue
        found |= {at: _Place(rows[at], values[at], True) for at in marked if at not in found}
        if not labels and not usual:
            others = [at for at in standing if at not in found and _is_said_whole(_spoken(values[at]), inputs[at])]
            found |= {at: _Place(rows[at], values[at], False) for at in others}
    return [found[at] for at in sorted(found)]


def _answers(data: Dataset, rows: Sequence[Example]) -> Iterator[dict[int, str]]:
    """Values that could stand in the input, by row: the whole output, and each field of a JSON record."""
    yield {at: row.output.strip() for at, row in enumerate(rows) if row.output.strip()}
    if isinstance(data.task.score, JsonScore):
        fields: dict[str, dict[int, str]] = defaultdict(dict)
        for at, row in enumerate(rows):
            try:
                record = parse_json(row.output)
            except BadValue:
                continue
            for name, value in record.items() if isinstance(record, dict) else ():
                if isinstance(value, str) and len(value) >= 3:
                    fields[name][at] = value
        yield from fields.values()


def _is_marked(value: str, text: str, normal: str, label: bool, free: bool) -> bool:
    """Whether a value stands in a text as nobody would say it: as a name for machines, or marked at an end."""
    if _is_coded(value) and (label or (not free and len(value) >= LEAST_LETTERS)) and value in text:
        return True
    pattern = _named if free and not label else _at_an_end
    return pattern(_spoken(value)).search(_spoken(normal)) is not None


def _is_said_whole(spoken: str, normal: str) -> bool:
    """Whether a text of several words, or a long one, stands in the input, and not as one of a choice."""
    chosen = f" or {spoken}" in normal or f"{spoken} or " in normal
    return not chosen and (len(spoken.split()) > 1 or len(spoken) >= LEAST_LETTERS)


def _is_coded(value: str) -> bool:
    """`card_arrival`, `PlayMusic`: no word of a language."""
    return "_" in value or re.search(r"[a-z][A-Z]", value) is not None or value.startswith(("{", "["))


@cache
def _at_an_end(value: str) -> re.Pattern[str]:
    """After a mark or as a sentence of its own at the end; before a mark at the beginning; in brackets at either."""
    value = re.escape(value)
    several = " " in value or len(value) >= LEAST_LETTERS
    begun = rf"[(\[{{<#]\s*{value}\s*[\])}}>:|]|{value}\s*(?:\||\u2192|->|=>|::)"
    if several:
        begun += rf"|{value}\s*(?::|-\s|\u2014)"
    return re.compile(
        rf"(?:{_MARK}|{_WORDED}|[.?!]\s+|[(\[{{<#]\s*){value}\s*[\])}}>]?[.]?$|^(?:{begun})|^{_WORDED}{value}\b"
    )


@cache
def _named(value: str) -> re.Pattern[str]:
    """At the end after a word or an arrow that announces an answer; free texts end in many other ways."""
    return re.compile(rf"(?:{_WORDED}|->|=>|[|\u2192]|[\[{{<])\s*{re.escape(value)}\s*[\])}}>]?[.]?$")


def _spoken(value: str) -> str:
    return normalise(value.replace("_", " "))


def _stands(value: str, text: str) -> bool:
    spoken = text.replace("_", " ")
    at = spoken.find(value) if value else -1
    while at >= 0:
        end = at + len(value)
        if not (at and spoken[at - 1].isalnum()) and not (end < len(spoken) and spoken[end].isalnum()):
            return True
        at = spoken.find(value, at + 1)
    return False
