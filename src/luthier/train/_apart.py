"""One function called in several processes at once, on parts of what it takes.

The processes are new interpreters, not copies of this one: threads of torch and of the tokenizers do not survive a
copy, and those that multiprocessing starts run the user's own script again where it has no `__main__` guard.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from luthier.errors import TrainingError

CODE = """
import json, sys
from importlib import import_module
asked, out = sys.stdin.read(), sys.stdout
sys.stdout = sys.stderr  # nothing but the result goes there
print(json.dumps(getattr(import_module({module!r}), {name!r})(json.loads(asked))), file=out)
"""


def call_apart(module: str, name: str, parts: Sequence[Any]) -> list[Any]:
    """What a module's function gives for each of the parts, in a process each; both sides must be JSON.

    Raises:
        TrainingError: a process did not give its result. On any other exception the processes are ended.
    """
    processes: list[subprocess.Popen[str]] = []
    with ThreadPoolExecutor(len(parts)) as threads:
        try:
            for _ in parts:
                processes.append(_start(CODE.format(module=module, name=name)))
            texts = (json.dumps(part) for part in parts)
            told = list(threads.map(lambda process, text: process.communicate(text), processes, texts))
        finally:
            for process in processes:
                process.kill()
    for process, (_, errors) in zip(processes, told, strict=True):
        if process.returncode != 0:
            raise TrainingError(
                f"a process that renders rows has ended (code {process.returncode})",
                why=(errors.strip().splitlines() or ["it left no message; was it ended from outside?"])[-1],
                fix="run the same command again; with OMP_NUM_THREADS=1 before it, one process renders all rows",
            )
    return [json.loads(out) for out, _ in told]


def processors() -> int:
    """How many processes may work at once: the threads that torch would use (physical cores, OMP_NUM_THREADS)."""
    import torch

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(torch.get_num_threads(), allowed)


def _start(code: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    environment["TOKENIZERS_PARALLELISM"] = "false"
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, encoding="utf-8", stdin=pipe, stdout=pipe, stderr=pipe
    )
