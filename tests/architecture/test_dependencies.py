"""What the package imports is what pyproject.toml declares, and the demo's versions are pinned."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Looked for, and asked for by name where they are missing.
OPTIONAL = {"bitsandbytes", "gepa", "liger_kernel", "mlflow", "tensorboard", "trackio", "vllm", "wandb", "wordllama"}
NAMES = {  # modules whose distribution has another name
    "Stemmer": "pystemmer",
    "bs4": "beautifulsoup4",
    "markdown_it": "markdown-it-py",
    "markupsafe": "jinja2",  # this, the next three and tokenizers are part of the interface of another
    "pydantic_core": "pydantic",
    "referencing": "jsonschema",
    "starlette": "fastapi",
    "tokenizers": "transformers",
    "sklearn": "scikit-learn",
    "stdnum": "python-stdnum",
    "yaml": "pyyaml",
}
INDIRECT = {"accelerate", "gguf"}  # transformers wants them to place models and to read GGUF files


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _named(requirements: list[str]) -> set[str]:
    return {_normal(re.split(r"[<>=!\[; ]", text, maxsplit=1)[0]) for text in requirements}


@cache
def _imported() -> set[str]:
    """Distributions that src/ imports anywhere, also inside functions."""
    modules = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(str(node.module).split(".")[0])
    foreign = modules - set(sys.stdlib_module_names) - {"luthier"} - OPTIONAL
    return {NAMES.get(module, _normal(module)) for module in foreign}


def test_every_import_is_declared() -> None:
    assert _imported() - _named(PROJECT["dependencies"]) == set()


def test_every_declared_dependency_is_used() -> None:
    assert _named(PROJECT["dependencies"]) - _imported() == INDIRECT


def test_every_dependency_has_an_upper_bound() -> None:
    assert [text for text in PROJECT["dependencies"] if "<" not in text] == []


def test_constraints_pin_every_dependency_and_no_place_to_load_from() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    wanted = _named(PROJECT["dependencies"]) | _named(PROJECT["optional-dependencies"]["test"])
    assert wanted - _named(lines) == set()
