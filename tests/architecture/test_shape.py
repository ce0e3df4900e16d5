"""The shape of the code: sizes, broad excepts, and things that must not be there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "luthier"
MODULES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}


def _name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@cache
def _trees() -> list[tuple[str, ast.Module]]:
    return [(_name(path), ast.parse(path.read_text())) for path in MODULES]


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {_name(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_functions_are_short() -> None:
    """The 95th percentile is at most 50 lines, and no function is longer than 80."""
    lengths = sorted(
        ((node.end_lineno or 0) - node.lineno + 1, f"{name}:{node.lineno}")
        for name, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[int(0.95 * (len(lengths) - 1))][0] <= 50
    assert lengths[-1][0] <= 80, lengths[-1]


def test_broad_excepts_are_at_most_five() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and any(
            kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))
            for kind in (node.type.elts if isinstance(node.type, ast.Tuple) else [node.type])
        )
    ]
    assert len(found) <= 5, found


def _dangerous(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return bool(FORBIDDEN_IMPORTS & {alias.name.split(".")[0] for alias in node.names})
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "torch" and node.attr in ("load", "save")
    if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
        return not (isinstance(node.value, ast.Constant) and node.value.value is False)
    return False


def test_nothing_is_unpickled_and_no_remote_code_is_trusted() -> None:
    found = [
        f"{name}:{getattr(node, 'lineno', 0)}" for name, tree in _trees() for node in ast.walk(tree) if _dangerous(node)
    ]
    assert not found


@pytest.mark.parametrize(
    "line", ["import pickle", "from dill import loads", "torch.load('x')", "f(trust_remote_code=True)", "torch.save(1)"]
)
def test_the_check_for_dangerous_code_can_fail(line: str) -> None:
    assert any(_dangerous(node) for node in ast.walk(ast.parse(line)))


def test_ignores_say_what_and_why() -> None:
    """`# type: ignore[code]  # reason`, and the same for `# noqa: CODE`."""
    explained = re.compile(r"# type: ignore\[[a-z, -]+\]  # \S|# noqa: [A-Z0-9, ]+  # \S")
    found = [
        f"{_name(path)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"# type: ignore|# noqa", line) and not explained.search(line)
    ]
    assert not found


def test_only_the_command_line_prints() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in _trees()
        if not name.startswith("cli/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not found


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert not [_name(path) for path in MODULES if re.search(r"util|helper|misc|common", path.stem)]
