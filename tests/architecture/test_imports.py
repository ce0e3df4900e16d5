"""Who imports whom, and that the command line starts quickly."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import statistics
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "luthier"
PACKAGES = sorted(  # also those inside another, but not the private ones
    ".".join(("luthier", *path.parent.relative_to(SOURCE).parts))
    for path in SOURCE.glob("*/**/__init__.py")
    if "._" not in ".".join(path.parent.relative_to(SOURCE).parts)
)
HEAVY = {
    "accelerate", "alembic", "datasets", "fastapi", "gepa", "lancedb", "llguidance", "matplotlib", "nltk", "openai",
    "pandas", "peft", "pyarrow", "rich", "sacrebleu", "scipy", "sentence_transformers", "sklearn", "sqlalchemy",
    "torch", "transformers", "uvicorn",
}  # fmt: skip
HELP = "import sys; from luthier.cli import main; main(['--help'], standalone_mode=False)"


def test_layers_hold() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("code", ["import luthier", "import luthier.api", "import luthier.cli", HELP])
def test_nothing_heavy_is_loaded(code: str) -> None:
    report = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert not HEAVY & set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("code", ["import luthier", HELP])
def test_start_takes_less_than_three_tenths_of_a_second(code: str) -> None:
    """Median processor time of five starts, after one that fills the byte-code cache."""
    assert statistics.median([_processor_seconds(code) for _ in range(6)][1:]) < 0.3


def _processor_seconds(code: str) -> float:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "luthier.cli"])
def test_exports_are_curated(name: str) -> None:
    """Each package says what it offers; all of it exists, nothing is listed twice, and no name is private."""
    exported = importlib.import_module(name).__all__
    module = importlib.import_module(name)
    assert exported
    assert len(exported) == len(set(exported))
    assert not [export for export in exported if export.startswith("_")]
    assert not [export for export in exported if not hasattr(module, export)]


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "luthier.cli"])
def test_modules_inside_a_package_are_private(name: str) -> None:
    """What a package offers is reached through the package. Only the verbs' files are looked up by name."""
    path = SOURCE.parent.joinpath(*name.split("."))
    found = [module.name for module in pkgutil.iter_modules([str(path)]) if not module.ispkg]
    assert not [module for module in found if not module.startswith("_")]


def test_nobody_reaches_into_a_package() -> None:
    """A package is imported as a whole, but for its own modules; one inside another only by that other's."""
    found = [
        f"{path.relative_to(SOURCE)}: {module}"
        for path in sorted(SOURCE.rglob("*.py"))
        for module in _imported_by(path)
        if not _may_import(path.parent.relative_to(SOURCE).parts, module)
    ]
    assert found == []


def _may_import(place: tuple[str, ...], module: str) -> bool:
    """Whether a module in a folder may import a module of the package: what lies no more than one step beside it."""
    parts = tuple(module.split(".")[1:])
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(place, parts, strict=False)))
    return len(parts) - shared <= 1


def _imported_by(path: Path) -> list[str]:
    """What a file imports of the package; what it imports for types alone does not count."""
    tree = ast.parse(path.read_text())
    types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for node in types for inner in ast.walk(node)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in skipped]
    return [str(node.module) for node in nodes if str(node.module).startswith("luthier.")]


@pytest.mark.parametrize(
    ("place", "module", "allowed"),
    [
        (("decide",), "luthier.audit", True),
        (("decide",), "luthier.audit.knowledge", False),
        (("audit",), "luthier.audit._finding", True),
        (("audit",), "luthier.audit.knowledge", True),
        (("audit",), "luthier.audit.knowledge._words", False),
        (("audit", "text"), "luthier.audit.labels", True),
        (("audit", "text"), "luthier.audit.labels._noise", False),
        ((), "luthier.audit._finding", False),
    ],
)
def test_the_check_for_reaching_in_can_fail(place: tuple[str, ...], module: str, allowed: bool) -> None:
    assert _may_import(place, module) == allowed
