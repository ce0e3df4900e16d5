"""Findings on the keys of JSON outputs: which objects have, in which order, with values of which type."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from luthier.audit._finding import Dataset, Finding, finding, sample
from luthier.audit.labels import one_slip
from luthier.audit.text._minority import LEAST_ROWS, few
from luthier.data import BadValue, Example, parse_json

FEW = 0.1  # what more rows do is no slip
SHOWN = 5

Object = tuple[Example, dict[str, Any]]


def check_keys(data: Dataset) -> Iterable[Finding]:
    """Keys that a few objects lack, spell otherwise, have in another order, or give a value of another type."""
    objects = list(_objects(data.examples))
    if len(objects) < LEAST_ROWS or len(objects) * 2 < len(data.examples):
        return
    counts = Counter(key for _, value in objects for key in value)
    yield from _keys_missing(objects, counts)
    yield from _keys_apart(objects, counts)
    yield from _order(objects)
    yield from _types(objects, counts)


def _objects(rows: Iterable[Example]) -> Iterator[Object]:
    for row in rows:
        if row.output.lstrip().startswith("{"):
            try:
                value = parse_json(row.output)
            except BadValue:
                continue
            yield row, value


def _found(rows: Sequence[Example], what: str, fix: str) -> Finding:
    samples = [sample(e, e.output) for e in rows[:SHOWN]]
    return finding("output-format", "harms", rows, f"JSON outputs {what}", fix, samples=samples)


def _keys_missing(objects: Sequence[Object], counts: Counter[str]) -> Iterator[Finding]:
    for key in counts:
        rows = [row for row, value in objects if key not in value]
        if few(rows, len(objects), FEW):
            yield _found(rows, f"without the key `{key}`, which the others have", f"add `{key}`, or null where none is")


def _keys_apart(objects: Sequence[Object], counts: Counter[str]) -> Iterator[Finding]:
    """Keys that are another key, misspelt: a slip away, and never in an object that has the other."""
    together: dict[str, set[str]] = defaultdict(set)
    for _, value in objects:
        for key in value:
            together[key].update(value)
    for key, count in counts.items():
        for other, more in counts.items():
            alike = one_slip(_bare(key), _bare(other)) or (_bare(key) == _bare(other) and key != other)
            if alike and count <= FEW * more and other not in together[key]:
                rows = [row for row, value in objects if key in value]
                yield _found(rows, f"with the key `{key}`, where the others have `{other}`", f"call it `{other}`")


def _bare(key: str) -> str:
    return "".join(filter(str.isalnum, key)).casefold()


def _order(objects: Sequence[Object]) -> Iterator[Finding]:
    """Keys before others that they follow in nine tenths of the objects with both."""
    before: Counter[tuple[str, str]] = Counter()
    orders = Counter(tuple(value) for _, value in objects)
    for keys, count in orders.items():
        before.update({pair: count for pair in _pairs(keys)})
    wrong = {
        (a, b)
        for (a, b), count in before.items()
        if count + before[b, a] >= LEAST_ROWS and count <= FEW * (count + before[b, a])
    }
    odd = {keys for keys in orders if any(pair in wrong for pair in _pairs(keys))}
    rows = [row for row, value in objects if tuple(value) in odd]
    if few(rows, len(objects), FEW):
        yield _found(rows, "with their keys in another order than the others", "give all the same order of keys")


def _pairs(keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    keys = keys[:30]
    return ((a, b) for i, a in enumerate(keys) for b in keys[i + 1 :])


def _types(objects: Sequence[Object], counts: Counter[str]) -> Iterator[Finding]:
    for key in counts:
        kinds = [(row, _kind(value[key])) for row, value in objects if value.get(key) is not None]
        usual = Counter(kind for _, kind in kinds).most_common(1)
        rows = [row for row, kind in kinds if usual and kind != usual[0][0]]
        if few(rows, len(kinds), FEW):
            yield _found(rows, f"whose `{key}` is no {usual[0][0]}, as in the others", f"write `{key}` in one type")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "object"
