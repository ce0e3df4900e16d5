"""YAML text to plain values with the line of every key; nothing in it can run code or grow without bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from luthier.errors import Problem, SpecError

Place = tuple[str | int, ...]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_NODES = 10_000  # after aliases are expanded: bounds "billion laughs"

_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}
_MAPPING, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"


@dataclass
class Parsed:
    """The value of a YAML file, the line of every place in it, and what is wrong with the parts."""

    file: Path
    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[tuple[Place, Problem]] = field(default_factory=list)
    nodes: int = 0

    def line(self, place: Sequence[str | int]) -> int | None:
        """The line of a place, or of the nearest place around it that stands in the file."""
        at = tuple(place)
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at)

    def problem(self, place: Sequence[str | int], what: str, line: int | None = None) -> None:
        """Note that something is wrong at a place."""
        self.problems.append((tuple(place), Problem(what, self.file, line or self.line(place))))


def parse_yaml(file: Path) -> Parsed:
    """Read one YAML mapping.

    Raises:
        SpecError: not readable, not UTF-8, not YAML, no mapping, nested too deep or too large.
    """
    text = _read(file)
    try:
        _refuse_deep(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, file) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"the character U+{int(error.character):04X} is not allowed in YAML"
        raise _not_yaml(file, [Problem(what, file, line)], "remove the character") from error
    if not isinstance(node, yaml.MappingNode):
        what = f"{file} is empty" if node is None else f"{file} is not a list of `key: value` lines"
        raise SpecError(what, fix="write at least task, goal, examples, score and base; `luthier init` starts one")
    parsed = Parsed(file)
    parsed.value = _convert(node, (), parsed)
    return parsed


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            why = f"a task has at most {MAX_BYTES // 1024} KiB"
            fix = "put long instructions into a file: instructions: prompt.md"
            raise SpecError(f"{file} is too large", why=why, fix=fix)
        data = file.read_bytes()
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror}", fix="check the path and its permissions") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(f"byte 0x{data[error.start]:02x} is not UTF-8", file, line)
        raise _not_yaml(file, [problem], "save the file as UTF-8") from error


def _not_yaml(file: Path, problems: Sequence[Problem], fix: str) -> SpecError:
    return SpecError(f"{file} cannot be read as YAML", fix=fix, problems=problems)


def _syntax_error(error: yaml.MarkedYAMLError, file: Path) -> SpecError:
    mark = error.problem_mark or error.context_mark
    what = ", ".join(part for part in (error.context, error.problem) if part)
    fix = "correct the line; values with `: ` or ` #` in them need quotes"
    if "'\\t'" in what:
        what, fix = "a tab cannot indent in YAML", "indent with spaces"
    return _not_yaml(file, [Problem(what, file, None if mark is None else mark.line + 1)], fix)


def _refuse_deep(text: str, file: Path) -> None:
    """Before composing, which recurses."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = None if event.start_mark is None else event.start_mark.line + 1
            problem = Problem(f"nested deeper than {MAX_DEPTH} levels", file, line)
            raise _not_yaml(file, [problem], "a task needs three levels at most")


def _convert(node: yaml.Node, place: Place, parsed: Parsed) -> Any:
    parsed.nodes += 1
    line = node.start_mark.line + 1
    if parsed.nodes > MAX_NODES or len(place) > MAX_DEPTH:
        problem = Problem("its aliases (*name) grow without bound", parsed.file, line)
        raise _not_yaml(parsed.file, [problem], "write the values out instead of using aliases")
    parsed.lines.setdefault(place, line)
    if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
        return _mapping(node, place, parsed)
    if isinstance(node, yaml.SequenceNode) and node.tag == _SEQUENCE:
        return [_convert(child, (*place, index), parsed) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
        return _scalar(node, place, parsed)
    parsed.problem(place, f"the tag `{node.tag.replace('tag:yaml.org,2002:', '!!')}` is not accepted", line)
    return None


def _mapping(node: yaml.MappingNode, place: Place, parsed: Parsed) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or not isinstance(key, str):
            parsed.problem(place, "a key must be a word", line)
            continue
        here = (*place, key)
        if key in value:
            first = parsed.lines[here]
            parsed.problem(here, f"`{key}` is written twice, first on line {first}; keep one", line)
            continue
        parsed.lines[here] = line
        value[key] = _convert(child, here, parsed)
    return value


def _scalar(node: yaml.ScalarNode, place: Place, parsed: Parsed) -> Any:
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, yaml.YAMLError):  # a date that is none, a number with thousands of digits
        parsed.problem(
            place, f"`{node.value[:40]}` is not a valid {node.tag.rsplit(':', 1)[1]} (text belongs in quotes)"
        )
        return None
