"""A virtual environment for each peer, made once, with pinned versions."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HOME = Path.home() / ".cache" / "luthier-benchmarks"
PINS: dict[str, tuple[str, ...]] = {
    "trl": ("torch==2.13.0", "trl==1.16.0", "transformers==5.23.0", "peft==0.21.2", "datasets<6"),
    "litgpt": ("torch==2.13.0", "litgpt==0.5.13"),
}


def python_of(peer: str) -> Path:
    """The interpreter that has the peer's packages."""
    folder = HOME / peer
    python, ready = folder / "bin" / "python", folder / "ready"
    pins = "\n".join(PINS[peer])
    if not ready.is_file() or ready.read_text("utf-8") != pins:
        print(f"making an environment for {peer} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS[peer]], check=True)
        ready.write_text(pins, "utf-8")
    return python
