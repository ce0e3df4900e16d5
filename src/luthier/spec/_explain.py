"""Validation errors in the user's own spelling: their keys, their values, what was probably meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from luthier.spec._suggest import did_you_mean
from luthier.spec._task import Score, Task
from luthier.spec._yaml import Parsed, Place

_Model = type[BaseModel]


def _fields(model: _Model) -> dict[str, Any]:
    """The fields of a model by the name that stands in the file, with their types."""
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def scorers() -> dict[str, _Model]:
    """Every scorer's settings by its kind."""
    union = get_args(Score)[0]
    return {get_args(cls.model_fields["kind"].annotation)[0]: cls for cls in get_args(union)}


def _models() -> dict[str, _Model]:
    """The parts of a task that are mappings, by key; `score` is not among them, as its kind decides."""
    return {key: kind for key, kind in _fields(Task).items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def explain(error: ValidationError, parsed: Parsed) -> None:
    """Note every validation error at its line, unless something is already known to be wrong at that place."""
    known = {place for place, _ in parsed.problems}
    for details in error.errors(include_url=False):
        place, model = _walk(details["loc"])
        if place not in known:
            parsed.problem(place, _what(details, place, model))


def _walk(loc: Sequence[int | str]) -> tuple[Place, _Model]:
    """The place in the file, without the scorer's kind that pydantic puts into it, and the model around it."""
    if loc and loc[0] == "score":
        kind = loc[1] if len(loc) > 1 else ""
        return ("score", *loc[2:]), scorers().get(str(kind), Task)
    if len(loc) > 1 and loc[0] in _models():
        return tuple(loc), _models()[str(loc[0])]
    return tuple(loc), Task


def dotted(place: Place) -> str:
    """A place as people write it: `score.schema`, `general[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return f"`{text.lstrip('.')}`"


def _what(details: ErrorDetails, place: Place, model: _Model) -> str:
    name, kind, value = dotted(place), details["type"], details["input"]
    context = cast(Mapping[str, Any], details.get("ctx", {}))
    if kind == "missing":
        return f"{name} is missing{_example(name)}"
    if kind == "extra_forbidden":
        return f"{name} is not a key of {_owner(place)}{_meant(place, model)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _scorer_kind(value)
    if kind == "literal_error":
        choices = _literal_choices(model, place) or [context.get("expected", "")]
        return f"{name}: {_shown(value)} is not one of {', '.join(choices)}{did_you_mean(str(value), choices)}"
    if kind == "string_type" and isinstance(value, int | float):
        return f"{name} must be text, and {value} is a number: write it in quotes"
    if kind == "tuple_type":
        return f"{name} must be a list, not {_shown(value)}: write `[a, b]`, or a line `- a` for each"
    if kind == "string_too_short":
        return f"{name} is empty{_example(name)}"
    if kind == "too_short":
        return f"{name} is empty: leave it out, or name something"
    if kind == "path_type":
        return f"{name} must be a path, not {_shown(value)}"
    if kind in ("model_type", "model_attributes_type"):
        return _not_a_mapping(name, value)
    if kind == "string_pattern_mismatch":
        return f"{name}: {_shown(value)} must begin with a letter or digit and hold only letters, digits, `.`, `_`, `-`"
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if kind == "value_error":
        return message if not place else f"{name}: {message}"
    return f"{name} {message}, not {_shown(value)}" if message.startswith("must be") else f"{name}: {message}"


def _not_a_mapping(name: str, value: Any) -> str:
    part = _models().get(name.strip("`"))
    like = "kind: exact" if part is None else f"{next(iter(_fields(part)))}: …"
    return f"{name} must be a mapping like {{{like}}}, not {_shown(value)}"


def _owner(place: Place) -> str:
    return "a task" if len(place) == 1 else f"`{'.'.join(str(part) for part in place[:-1])}`"


def _meant(place: Place, model: _Model) -> str:
    """A near key of the same mapping; else the same key where it does belong; else the keys there are."""
    key, keys = str(place[-1]), list(_fields(model))
    if near := did_you_mean(key, keys):
        return near
    homes = [f"{home}.{key}" for home, part in _models().items() if key in _fields(part)]
    if key in _fields(Task) and model is not Task:
        homes = [key]
    if homes:
        return f"; did you mean {' or '.join(f'`{home}`' for home in homes)}?"
    return f"; its keys are {', '.join(keys)}"


def _scorer_kind(value: Any) -> str:
    kinds = list(scorers())
    listing = f"the kinds are {', '.join(kinds)}"
    if not isinstance(value, Mapping):
        return f"{_not_a_mapping('`score`', value)}; {listing}"
    if "kind" not in value:
        return f"`score.kind` is missing; {listing}"
    kind = str(value["kind"])
    return f"`score.kind`: there is no scorer `{kind}`{did_you_mean(kind, kinds) or '; ' + listing}"


def _literal_choices(model: _Model, place: Place) -> list[str]:
    """The words that a key accepts, looked for in its type however deep (a tuple of literals, or None)."""
    annotation = _fields(model).get(next((str(p) for p in reversed(place) if isinstance(p, str)), ""))
    found: list[str] = []
    stack = [annotation]
    while stack:
        part = stack.pop()
        if isinstance(part, str):
            found.insert(0, part)
        stack.extend(get_args(part))
    return found


def _shown(value: Any) -> str:
    text = "nothing" if value is None else f"`{value}`"
    return text if len(text) <= 60 else text[:57] + "…`"


def _example(name: str) -> str:
    hints = {
        "`task`": "task: a-short-name",
        "`goal`": "goal: what the answers should be like, in a sentence",
        "`examples`": "examples: examples.jsonl",
        "`score`": "score: {kind: exact}",
        "`base`": "base: smollm2-135m",
    }
    return f"; write `{hints[name]}`" if name in hints else ""


def boolean_keys() -> set[str]:
    """Keys that may be true or false; everywhere else a bare yes, no, on or off is a mistake for text."""
    models: list[_Model] = [Task, *_models().values(), *scorers().values()]
    return {key for model in models for key, kind in _fields(model).items() if kind is bool}
