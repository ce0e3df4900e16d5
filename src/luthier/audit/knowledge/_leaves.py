"""The values of an answer: of JSON those of its keys, of anything else the whole of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from luthier.data import BadValue, parse_json


def leaves_of(output: str) -> list[tuple[str, str]]:
    """The values that a JSON answer holds, each with the key it stands under; any other answer is one value."""
    parsed = _parsed(output) if output.lstrip()[:1] in ("{", "[") else None
    return [("", output)] if parsed is None else list(_leaves("", parsed))


def _leaves(key: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(str(name), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(key, inner)
    elif isinstance(value, str):
        yield key, value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, json.dumps(value)


def _parsed(output: str) -> object | None:
    try:
        parsed: object = parse_json(output)
    except BadValue:
        return None
    return parsed


def spans_of(output: str, leaves: Sequence[str]) -> list[tuple[int, int]]:
    """Where values stand in an answer, in order; one that is escaped there is looked for as JSON writes it."""
    found: list[tuple[int, int]] = []
    at = 0
    for leaf in leaves:
        ways = (leaf, json.dumps(leaf, ensure_ascii=False)[1:-1], json.dumps(leaf)[1:-1])
        places = [(output.find(text, at), len(text)) for text in ways]
        place, length = min((some for some in places if some[0] >= 0), default=(at, 0))
        found.append((place, place + length))
        at = place + length
    return found


def is_json(output: str) -> bool:
    """Whether an answer is a JSON object or array."""
    return output.lstrip()[:1] in ("{", "[") and _parsed(output) is not None
