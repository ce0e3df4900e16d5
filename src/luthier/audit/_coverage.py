"""Do the examples cover what is asked in earnest? Embeddings of training inputs, test inputs and traffic compared.

Where traffic has neighbours, training rows should be among them in proportion (the nearest-neighbour two-sample
statistic of Schilling 1986, looked at locally); whole sets are told apart by a classifier (Lopez-Paz and Oquab 2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luthier.audit._finding import Dataset, Finding, Sample, Severity, finding
from luthier.audit._neighbours import Floats, Group, auc_of, groups_without, telling
from luthier.data import Example, Source

if TYPE_CHECKING:
    from luthier.audit._deep import Instruments

NEEDED = 200  # inputs on each side: below, nothing can be told
MOST_TRAFFIC, MOST_TRAIN, MOST_TEST = 2000, 5000, 1000  # of each, drawn at random: more take time and tell the same
MANY = 0.05  # of the traffic
PATCHY = 0.05  # of the training rows, in groups that hardly any traffic is near
SIGNIFICANT = 0.01
DIFFERENT, VERY_DIFFERENT = 0.60, 0.75  # area under the curve
SHOWN_GROUPS, SHOWN_EACH = 5, 3


@dataclass(frozen=True, eq=False)
class _Side:
    """Texts with their vectors and places."""

    texts: Sequence[str]
    vectors: Floats
    sources: Sequence[Source]

    def __len__(self) -> int:
        return len(self.texts)


def check_traffic(data: Dataset) -> Iterable[Finding]:
    """Rows of the traffic file that cannot be used."""
    if data.traffic_problems:
        rows = [Source(str(problem.file), problem.line or 0) for problem in data.traffic_problems]
        reason = f"rows of the traffic that cannot be used; the first: {data.traffic_problems[0].what}"
        yield finding("unusable-traffic", "harms", rows, reason, "correct or remove these rows")


def check_coverage(data: Dataset, instruments: Instruments) -> Iterable[Finding]:
    """Traffic without training rows near it, training rows without traffic near them, and sets that differ.

    Raises:
        RetrievalError: the embedder cannot be loaded.
    """
    train = data.examples if data.split is None else data.split.train
    tests = () if data.split is None else data.split.test
    asked = ["\n".join(m.content for m in messages if m.role != "system") for messages in data.traffic]
    if data.task.traffic is not None:
        missing = max(0, NEEDED - len(set(asked))), max(0, NEEDED - len({e.input_text for e in train}))
        if any(missing):
            yield _too_few(*missing)
            asked = []
    elif len(tests) < NEEDED:
        return
    enough = len(train) >= NEEDED and len(tests) >= NEEDED
    if not asked and not enough:
        return
    known = _embedded(*_of(train), MOST_TRAIN, instruments, "training inputs")
    traffic = _embedded(asked, list(data.traffic_sources), MOST_TRAFFIC, instruments, "traffic") if asked else None
    if traffic is not None:
        yield from _uncovered(traffic, known)
        yield from _over_represented(known, traffic)
        yield from _differing("traffic-differs", "the traffic", "the training inputs", traffic, known)
    if enough:
        test = _embedded(*_of(tests), MOST_TEST, instruments, "test inputs")
        yield from _differing("test-differs", "the test inputs", "the training inputs", test, known)
        if traffic is not None:
            yield from _differing("test-differs", "the test inputs", "the traffic", test, traffic)


def _too_few(traffic: int, train: int) -> Finding:
    wanted = [f"{n} more {what}" for n, what in ((traffic, "different inputs of traffic"), (train, "rows")) if n]
    reason = f"whether the examples cover the traffic can be told from {NEEDED} of each: {' and '.join(wanted)} needed"
    return finding("few-traffic", "note", (), reason, f"collect {' and '.join(wanted)}", count=traffic or train)


def _of(rows: Sequence[Example]) -> tuple[list[str], list[Source]]:
    return [row.input_text for row in rows], [row.source for row in rows]


def _embedded(texts: Sequence[str], sources: Sequence[Source], most: int, instruments: Instruments, what: str) -> _Side:
    """The different texts, at most so many of them."""
    first = list({text: place for place, text in reversed(list(enumerate(texts)))}.values())[::-1]
    if len(first) > most:
        first = sorted(np.random.default_rng(0).choice(first, most, replace=False).tolist())
    instruments.progress(f"embed {what}", 0, len(first), "")
    vectors = instruments.embedder.embed([texts[place] for place in first])
    instruments.progress(f"embed {what}", len(first), len(first), "")
    return _Side([texts[p] for p in first], np.asarray(vectors, np.float64), [sources[p] for p in first])


def _uncovered(traffic: _Side, known: _Side) -> Iterable[Finding]:
    groups = groups_without(traffic.vectors, known.vectors, traffic.texts)
    rows = [row for group in groups for row in group.rows]
    if not rows:
        return
    share = len(rows) / len(traffic)
    reason = f"{share:.1%} of the traffic has hardly any training example like it: {_named(groups, len(traffic))}"
    severity: Severity = "harms" if share >= MANY else "note"
    fix = "collect examples of these kinds, about as many as their share of the traffic"
    where, samples = [traffic.sources[row] for row in rows], _samples(groups, traffic)
    yield finding("uncovered-traffic", severity, where, reason, fix, samples=samples)


def _over_represented(known: _Side, traffic: _Side) -> Iterable[Finding]:
    groups = groups_without(known.vectors, traffic.vectors, known.texts)
    rows = [row for group in groups for row in group.rows]
    share = len(rows) / len(known)
    if share < PATCHY:
        return
    reason = f"{share:.1%} of the training rows are of kinds that hardly occur in the traffic: "
    reason += _named(groups, len(known))
    fix = "leave out some of them, or say why they matter more than their traffic"
    where, samples = [known.sources[row] for row in rows], _samples(groups, known)
    yield finding("over-represented", "note", where, reason, fix, samples=samples)


def _named(groups: Sequence[Group], total: int) -> str:
    named = [f"“{group.name}” ({len(group.rows) / total:.1%})" for group in groups[:SHOWN_GROUPS]]
    return ", ".join(named) + (f" and {len(groups) - SHOWN_GROUPS} more" if len(groups) > SHOWN_GROUPS else "")


def _samples(groups: Sequence[Group], side: _Side) -> list[Sample]:
    found = []
    for group in groups[:SHOWN_GROUPS]:
        for row in group.rows[:SHOWN_EACH]:
            text = side.texts[row]
            found.append(Sample(side.sources[row], text if len(text) <= 200 else text[:199] + "…", group.name))
    return found


def _differing(code: str, one: str, other: str, first: _Side, second: _Side) -> Iterable[Finding]:
    """A finding where a classifier tells the two apart, more than by chance."""
    auc, p, scores = auc_of(first.vectors, second.vectors)
    if auc < DIFFERENT or p > SIGNIFICANT:
        return
    severity: Severity = "harms" if auc >= VERY_DIFFERENT else "note"
    words = ", ".join(telling(first.texts, second.texts))
    reason = f"{one} can be told from {other} (area under the curve {auc:.2f}, p {p:.3f}); telling words: {words}"
    fix = f"look at the samples, and collect examples until {one} and {other} are alike"
    most = np.argsort(-scores, kind="stable")[:SHOWN_EACH]
    samples = [Sample(first.sources[row], first.texts[row][:200], f"unlike {other}") for row in most]
    yield finding(code, severity, (), reason, fix, count=len(first), samples=samples)
