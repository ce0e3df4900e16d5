"""Rows of a YAML document: a list of rows, or test cases with what they share. Nothing in it runs or grows unbound."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from luthier.data._json import SHARED, BadValue
from luthier.data._rows import Rows
from luthier.errors import DataError, Problem

MAX_YAML = 16 * 1024**2  # bytes: every value becomes an object with its place
MAX_NODES = 1_000_000  # once aliases are written out: bounds "billion laughs"
MAX_DEPTH = 32

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value")}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def read_yaml_document(text: str, path: Path) -> Rows:
    """Rows of a YAML list, or of the list `tests` of a mapping; the mapping's `prompts` and `defaultTest` go with each.

    Plain words are read as YAML 1.2 reads them: `yes`, `012` and `1:30` are texts.

    Raises:
        DataError: not YAML, too deep or too large, or no list of rows in it.
    """
    try:
        _refuse_deep(text, path)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        problem = Problem(what, path, None if mark is None else mark.line + 1)
        fix = "correct this place; texts with `: ` or ` #` in them need quotes"
        raise DataError(f"{path} cannot be read as YAML", fix=fix, problems=[problem]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as YAML: {error}", fix="write the rows as JSON Lines") from error
    return _Document(path).rows(root)


def _refuse_deep(text: str, path: Path) -> None:
    """Before composing, which recurses."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DataError(f"{path} is nested deeper than {MAX_DEPTH} levels", fix="write one row a line (JSON Lines)")


class _Document:
    """A document on its way to rows; counts what its aliases make of it."""

    def __init__(self, path: Path) -> None:
        self.path, self.nodes, self.found = path, 0, Rows()

    def rows(self, root: Any) -> Rows:
        shared: dict[str, Any] = {}
        items = root
        if isinstance(root, yaml.MappingNode):
            members = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
            items = members.get("tests")
            if isinstance(items, yaml.ScalarNode):
                what = f"{self.path} names the file of its tests: {items.value}"
                raise DataError(what, fix="name that file as the examples, or write the tests in place of its name")
            try:
                shared = {key: self.plain(members[key]) for key in SHARED if key in members}
            except BadValue as error:
                raise DataError(f"{self.path}: {error}", fix="correct it") from error
        if not isinstance(items, yaml.SequenceNode):
            raise DataError(f"{self.path} holds no rows", fix="write a list of rows, or test cases as `tests:`")
        for item in items.value:
            line = item.start_mark.line + 1
            try:
                value = self.plain(item)
            except BadValue as error:
                self.found.problem(self.path, line, str(error), "bad-json")
                continue
            self.found.add(self.path, line, shared | value if isinstance(value, dict) else value)
        return self.found

    def plain(self, node: Any, depth: int = 0) -> Any:
        """A node as JSON has it.

        Raises:
            BadValue: a tag, a merge, a key that stands twice, or an alias that stands in what it names.
        """
        if depth > MAX_DEPTH:
            raise BadValue(f"aliases (*name) nest the value deeper than {MAX_DEPTH} levels")
        self.nodes += 1
        if self.nodes > MAX_NODES:
            what = f"{self.path} has more than {MAX_NODES:,} values, once its aliases (*name) are written out"
            raise DataError(what, fix="write one row a line (JSON Lines)")
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self.mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.plain(child, depth + 1) for child in node.value]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN:
            return _scalar(node)
        raise BadValue(f"the tag `{node.tag.replace('tag:yaml.org,2002:', '!!')}` is not read; write the value plainly")

    def mapping(self, node: Any, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise BadValue("a key must be a word, and merged keys (<<) are not read; write the keys out")
            if key.value in value:
                raise BadValue(f"the key `{key.value}` stands twice in one object")
            value[key.value] = self.plain(child, depth + 1)
        return value


def _scalar(node: Any) -> Any:
    """A number, true, false or null where it is written as one, without quotes; a text otherwise."""
    text: str = node.value
    if node.style:  # quoted, or a block; the plain style is None or empty, by the parser
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _INT.fullmatch(text) and len(text) < 300:
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text
