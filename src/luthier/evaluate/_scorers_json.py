"""Scoring JSON: does it parse, is it valid, which fields are right?"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from luthier.errors import ScorerError
from luthier.evaluate._records import Scored
from luthier.models import Constraint

_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\Z", re.DOTALL | re.IGNORECASE)
_TOLERANCE = 1e-6

Leaf = tuple[tuple[str | int, ...], Any]


class JsonScorer:
    """Field-level F1 of a JSON answer, or 1 only when every field is right; 0 when it is invalid.

    Invalid is what does not parse or breaks the schema. A field is the path to a value that is no object or list. Texts
    are compared without case and outer white space, numbers with a relative tolerance of 1e-6. `details` hold valid,
    exact, precision and recall.
    """

    def __init__(self, schema: Any = None, measure: Literal["f1", "exact"] = "f1") -> None:
        self.name = f"json {measure}"
        self.binary = measure == "exact"
        self._schema = schema
        self._validator = None if schema is None else _validator(schema)

    @classmethod
    def from_file(cls, path: Path | None, measure: Literal["f1", "exact"]) -> JsonScorer:
        """With the JSON Schema (Draft 2020-12) in a file, or without one.

        Raises:
            ScorerError: the file cannot be read or holds no usable schema.
        """
        if path is None:
            return cls(None, measure)
        try:
            schema = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _no_schema(f"{path} cannot be read as JSON: {error}") from error
        try:
            return cls(schema, measure)
        except ScorerError as error:
            raise _no_schema(f"{path}: {error.what}") from error

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        found, right = self._read(answer), self._read(wanted)
        if isinstance(found, _Invalid) or isinstance(right, _Invalid):
            valid = float(not isinstance(found, _Invalid))
            return Scored(0.0, {"valid": valid, "exact": 0.0, "precision": 0.0, "recall": 0.0})
        given, needed = dict(_leaves(found)), dict(_leaves(right))
        same = sum(path in given and _same(given[path], value) for path, value in needed.items())
        exact = float(same == len(needed) == len(given))
        f1 = 2 * same / (len(given) + len(needed))
        details = {"valid": 1.0, "exact": exact, "precision": same / len(given), "recall": same / len(needed)}
        return Scored(exact if self.binary else f1, details)

    def constraint(self) -> Constraint | None:
        """The schema, with its properties in the order in which the file has them: decoding follows that order."""
        if self._schema is None:
            return None
        return Constraint(json_schema=json.dumps(self._schema, ensure_ascii=False, separators=(",", ":")))

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether it parses and keeps to the schema."""
        read = self._read(wanted)
        return read.why if isinstance(read, _Invalid) else None

    def form_of(self, text: str) -> str | None:
        """The value of an answer as canonical JSON without case; None where it is not valid."""
        value = self._read(text)
        return None if isinstance(value, _Invalid) else json.dumps(value, sort_keys=True, ensure_ascii=False).casefold()

    def _read(self, text: str) -> Any:
        """The value of a JSON text, in one code fence or none; `_Invalid` where it is not valid."""
        text = text.strip()
        fenced = _FENCE.match(text)
        try:
            value = json.loads(
                fenced.group(1) if fenced else text, parse_constant=_no_constant, object_pairs_hook=_no_twins
            )
            errors = [] if self._validator is None else sorted(self._validator.iter_errors(value), key=_at)
        except RecursionError:
            return _Invalid("it is nested too deeply")
        except ValueError as error:
            return _Invalid(f"it is not JSON: {error}")
        return _Invalid(f"it breaks the schema at {errors[0].json_path}: {errors[0].message}") if errors else value


def _at(error: Any) -> list[str]:
    """Where in the value an error is: the order in which errors are named."""
    return [str(part) for part in error.absolute_path]


class _Invalid:
    def __init__(self, why: str) -> None:
        self.why = why


def _validator(schema: Any) -> Any:
    """A Draft 2020-12 validator that fetches nothing from the network."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    if not isinstance(schema, dict):
        raise _no_schema(f"a JSON Schema is an object, not {json.dumps(schema)[:60]}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise _no_schema(f"it is no JSON Schema (Draft 2020-12): {error.message} at {error.json_path}") from error
    resource = DRAFT202012.create_resource(schema)
    registry: Any = Registry().with_resource(resource.id() or "", resource)
    resolver = registry.resolver(resource.id() or "")
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            raise _no_schema(f"its $ref {reference!r} leads nowhere inside the file") from error
    return Draft202012Validator(schema, registry=registry)


def _references(schema: Any) -> Iterator[str]:
    """Every `$ref` in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _leaves(value: Any) -> Iterator[Leaf]:
    """(path, value) of everything that is no object or list; an empty one counts as a value."""
    left: list[Leaf] = [((), value)]
    while left:
        path, part = left.pop()
        if isinstance(part, dict) and part:
            left += [((*path, key), inner) for key, inner in part.items()]
        elif isinstance(part, list) and part:
            left += [((*path, index), inner) for index, inner in enumerate(part)]
        else:
            yield path, part


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return a.strip().casefold() == b.strip().casefold()
    numbers = (int, float)
    if isinstance(a, numbers) and isinstance(b, numbers) and not isinstance(a, bool) and not isinstance(b, bool):
        try:
            return a == b or math.isclose(a, b, rel_tol=_TOLERANCE)
        except OverflowError:  # an integer that is no float
            return False
    return type(a) is type(b) and bool(a == b)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twin = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"the key {twin!r} stands twice in one object")
    return value


def _no_schema(what: str) -> ScorerError:
    return ScorerError(
        what,
        why="score: {kind: json, schema: ...} needs a JSON Schema (Draft 2020-12) in a file",
        fix="correct the schema, or leave score.schema out to compare fields only",
    )
