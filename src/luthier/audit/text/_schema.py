"""Whether a wanted output is JSON that its schema allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.data import BadValue, parse_json
from luthier.errors import Problem, SpecError


def output_check(schema_file: Path | None) -> Callable[[str], str | None]:
    """A function that says why a text is not the JSON object that is wanted, or None where it is.

    Raises:
        SpecError: the schema file is not a JSON Schema, or refers to another file.
    """
    explain = _no_schema if schema_file is None else _validator(schema_file)

    def check(text: str) -> str | None:
        try:
            value = parse_json(text)
        except BadValue as error:
            return str(error)
        return explain(value)

    return check


def _no_schema(value: Any) -> str | None:
    return None if isinstance(value, dict) else f"not a JSON object but {type(value).__name__}"


def _validator(file: Path) -> Callable[[Any], str | None]:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    schema = _load(file)
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise _bad(file, error.message) from error
    validator = kind(schema, registry=Registry())  # an empty registry: nothing is fetched from the network

    def explain(value: Any) -> str | None:
        try:
            error = next(iter(validator.iter_errors(value)), None)
        except Unresolvable as missing:
            raise _bad(file, f"it refers to {missing.ref!r}, which does not stand in the file") from missing
        if error is None:
            return None
        return f"breaks the schema at {error.json_path}: {error.message[:200]}"

    return explain


def _load(file: Path) -> Any:
    try:
        schema = parse_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise _bad(file, str(error)) from error
    if not isinstance(schema, dict | bool):
        raise _bad(file, "a schema is a JSON object")
    return schema


def _bad(file: Path, why: str) -> SpecError:
    fix = "correct the schema, or leave score.schema out"
    return SpecError(f"{file} is not a JSON Schema that can be used", fix=fix, problems=[Problem(why, file)])
