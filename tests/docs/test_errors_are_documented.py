"""docs/errors.md has one heading per error code, no more and no fewer."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from luthier.errors import LuthierError

ROOT = Path(__file__).parents[2]


def _classes(root: type[LuthierError]) -> list[type[LuthierError]]:
    here = [child for child in root.__subclasses__() if child.__module__ == "luthier.errors"]
    return [root] + [found for child in here for found in _classes(child)]


def test_every_code_has_a_heading_and_every_heading_a_code() -> None:
    headings = re.findall(r"^## `([a-z-]+)`$", (ROOT / "docs/errors.md").read_text(), flags=re.MULTILINE)
    codes = [error.code for error in _classes(LuthierError) if error is not LuthierError]
    assert sorted(headings) == sorted(codes)


def test_codes_are_not_shared() -> None:
    codes = [error.code for error in _classes(LuthierError)]
    assert len(codes) == len(set(codes))


def test_the_exit_code_of_each_error_is_the_documented_one() -> None:
    sections = re.split(r"^## `", (ROOT / "docs/errors.md").read_text(), flags=re.MULTILINE)[1:]
    documented = {part.split("`")[0]: int(re.search(r"Exit code (\d)", part).group(1)) for part in sections}  # type: ignore[union-attr]
    assert documented == {e.code: e.exit_code for e in _classes(LuthierError) if e is not LuthierError}


def test_errors_of_the_product_are_defined_in_one_module() -> None:
    names = {error.__name__ for error in _classes(LuthierError)}
    strays = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "src").rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in names for b in node.bases)
    ]
    assert not strays
