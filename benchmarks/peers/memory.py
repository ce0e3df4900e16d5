"""The peak memory of a side, read by itself."""

from __future__ import annotations

from pathlib import Path


def peak() -> int:
    """Bytes that this process held at most, since its program began.

    `ru_maxrss` would not do: it begins with what the process held that started this one.
    """
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not say what a process held at most")
