"""docs/findings.md has one heading per code, no more and no fewer, and every code is found somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from luthier.audit import EFFECTS

ROOT = Path(__file__).parents[2]


def _used() -> set[str]:
    """Texts in the sources of the audit that could be codes, outside the catalogue."""
    texts = set()
    for path in (ROOT / "src/luthier").rglob("*.py"):
        if path.name != "_catalogue.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.add(node.value)
                elif isinstance(node, ast.JoinedStr):  # f"{part}-length"
                    parts = [v.value if isinstance(v, ast.Constant) else "" for v in node.values]
                    texts.update(f"{side}{''.join(map(str, parts))}" for side in ("input", "output"))
    return texts


def test_every_code_has_a_heading_and_every_heading_a_code() -> None:
    headings = re.findall(r"^### `([a-z-]+)`$", (ROOT / "docs/findings.md").read_text(), flags=re.MULTILINE)
    assert sorted(headings) == sorted(EFFECTS)


def test_no_code_is_left_over() -> None:
    assert not set(EFFECTS) - _used()
