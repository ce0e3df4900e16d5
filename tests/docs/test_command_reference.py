"""docs/commands.md is the command line: an option cannot be added, renamed or lost unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_reference_is_up_to_date() -> None:
    code = "import command_reference as r; assert r.page() == r.PAGE.read_text(), 'out of date'"
    run = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=False)
    fix = "python tests/docs/command_reference.py, and mention the change in CHANGELOG.md"
    assert run.returncode == 0, f"{run.stderr}\nfix: {fix}"
