"""Findings on templates: many rows that are one sentence with its names and numbers replaced."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from luthier.audit._finding import Dataset, Finding, Severity, finding, sample
from luthier.data import normalise

LEAST_ROWS = 50  # of a set; in fewer, a template is no more than a habit
ALIKE = 0.5  # of the words of a text equal those of a template at the same place (He et al. 2017)
PER_BUCKET = 100  # templates of one length and first word; further texts stand for themselves
LARGEST = 50  # templates that others may be cases of
LONGEST = 40  # words that are compared
FIXED = 3  # words of a template that are the same in all its rows
LARGE = 0.01  # of the rows: a template worth naming
MANY, MOST = 0.2, 0.5  # of the rows in templates worth naming: a note, harm

# A digit counts near a word's beginning, looked for from there or after another mark: looked for from every letter, a
# text without spaces (Chinese, base64, JSON) took the square of its length. Words that long stand in one text only.
_MASKED = re.compile(r"(?<!\{)\{++[^{}]*\}+|<[^<>\s]+>|\"[^\"]+\"|(?:(?<!\S)|(?<=[}>\"]))[^\s\d]{0,100}+\d\S*")
_HOLE = "…"


def check_templates(data: Dataset) -> Iterable[Finding]:
    """Whether much of the inputs comes from few templates."""
    rows = list({e.id: e for e in data.examples}.values())
    if len(rows) < LEAST_ROWS:
        return
    templates = _templates([e.input_text for e in rows])
    large = {name: some for name, some in templates.items() if len(some) >= max(5, LARGE * len(rows))}
    members = sorted(number for some in large.values() for number in some)
    share = len(members) / len(rows)
    if share < MANY:
        return
    severity: Severity = "harms" if share >= MOST else "note"
    order = sorted(large, key=lambda name: (-len(large[name]), name))
    shown = "; ".join(f"“{name}” ({len(large[name]):,})" for name in order[:3])
    reason = f"{share:.0%} of the rows come from {_count(len(large))}: {shown}"
    fix = "collect inputs in people's own words, or keep fewer rows of each template"
    samples = [sample(rows[large[name][0]], remark=name) for name in order[:5]]
    yield finding("template", severity, [rows[number] for number in members], reason, fix, samples=samples)


def _count(templates: int) -> str:
    return "one template" if templates == 1 else f"{templates} templates"


def _templates(texts: Sequence[str]) -> dict[str, list[int]]:
    """Numbers of the texts of each template: online clustering by equal words at equal places (Drain, He et al. 2017).

    Numbers, quotations, placeholders and runs of words that stand in one text only are holes from the start, so that
    names of several words do not make other templates.
    """
    one: dict[str, str] = {}  # each word is held once: a million rows have tens of millions of words
    tokens = [
        tuple(one.setdefault(token, token) for token in _MASKED.sub(_HOLE, normalise(text)).split()[:LONGEST])
        for text in texts
    ]
    times = Counter(token for some in tokens for token in set(some))
    buckets: dict[tuple[int, str], list[tuple[list[str], list[int]]]] = defaultdict(list)
    for number, some in enumerate(tokens):
        shape = _shape(some, times)
        bucket = buckets[len(shape), shape[0] if shape else ""]
        for template, members in bucket:
            if _alike(shape, template) >= ALIKE:
                template[:] = [a if a == b else _HOLE for a, b in zip(template, shape, strict=True)]
                members.append(number)
                break
        else:
            if len(bucket) < PER_BUCKET:
                bucket.append((list(shape), [number]))
    found: dict[str, list[int]] = defaultdict(list)
    for bucket in buckets.values():
        for template, members in bucket:
            if sum(token != _HOLE for token in template) >= FIXED and _HOLE in template:
                found[" ".join(_merged(template))] += members
    return _joined(found)


def _joined(found: dict[str, list[int]]) -> dict[str, list[int]]:
    """Templates, with those that are a larger one with something of up to three words in its holes taken into it."""
    order = sorted(found, key=lambda name: (-len(found[name]), name))
    joined: dict[str, list[int]] = {}
    for place, name in enumerate(order):
        if place >= LARGEST:
            break
        if name not in found:
            continue
        joined[name] = found.pop(name)
        pattern = re.compile(re.escape(name).replace(_HOLE, r"\S+(?: \S+){0,2}"))
        for other in [other for other in found if pattern.fullmatch(other)]:
            joined[name] = joined[name] + found.pop(other)
    return joined | found


def _shape(tokens: Sequence[str], times: Counter[str]) -> list[str]:
    return _merged([_HOLE if times[token] == 1 else token for token in tokens])


def _merged(tokens: Iterable[str]) -> list[str]:
    merged: list[str] = []
    for token in tokens:
        if token != _HOLE or merged[-1:] != [_HOLE]:
            merged.append(token)
    return merged


def _alike(shape: Sequence[str], template: Sequence[str]) -> float:
    return sum(a == b != _HOLE for a, b in zip(shape, template, strict=True)) / len(shape)
