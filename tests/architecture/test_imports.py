"""Who imports whom, and that the command line starts quickly."""

from __future__ import annotations

import importlib
import os
import pkgutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import luthier

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(module.name for module in pkgutil.iter_modules(luthier.__path__, "luthier.") if module.ispkg)
HEAVY = {
    "accelerate", "alembic", "datasets", "fastapi", "lancedb", "llguidance", "matplotlib", "nltk", "openai", "pandas",
    "peft", "pyarrow", "rich", "sacrebleu", "scipy", "sentence_transformers", "sklearn", "sqlalchemy", "torch",
    "transformers", "uvicorn",
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
    path = luthier.__path__[0] + "/" + name.removeprefix("luthier.")
    assert not [module.name for module in pkgutil.iter_modules([path]) if not module.name.startswith("_")]
