"""How much memory and disk there is: of the machine, of the container that this process is in, of the accelerator."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

import torch

KERNEL = Path("/")  # where proc and sys are


def memory_limit(device: torch.device, kernel: Path = KERNEL) -> int:
    """Bytes that this process may hold in all, with what it holds already: the least of what sets a limit.

    On a processor: what the machine has free, what its control groups (versions 1 and 2) leave, and its own limit of
    addresses. On CUDA: what is free on the device and what torch holds there.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    free = [_machine(kernel), *_groups(kernel)]
    limit = min(free) + resident(kernel)
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return limit if soft == resource.RLIM_INFINITY else min(limit, soft)


def resident(kernel: Path = KERNEL) -> int:
    """Bytes of memory that this process holds now."""
    try:
        pages = int((kernel / "proc/self/statm").read_text("ascii").split()[1])
    except OSError:  # not Linux: the most there ever was, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE")


def free_disk(place: Path) -> int:
    """Bytes free on the disk that holds, or would hold, `place`."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


class Highest:
    """The most memory that this process held since `reset`; None where the system does not say (other than Linux)."""

    def __init__(self, kernel: Path = KERNEL) -> None:
        self._kernel = kernel

    def reset(self) -> None:
        """Begin anew."""
        try:
            (self._kernel / "proc/self/clear_refs").write_text("5", "ascii")
        except OSError:
            self._known = False
        else:
            self._known = True

    def bytes(self) -> int | None:
        """The peak since the last reset."""
        if not self._known:
            return None
        return _field(self._kernel / "proc/self/status", "VmHWM")


def _machine(kernel: Path) -> int:
    free = _field(kernel / "proc/meminfo", "MemAvailable")
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if free is None else free


def _groups(kernel: Path) -> list[int]:
    """What each limited control group above this process leaves; memory of files does not count, it can be dropped."""
    left = []
    for folder, most, used, cached in _group_folders(kernel):
        try:
            limit = (folder / most).read_text("ascii").strip()
            if not limit.isdigit() or int(limit) >= 2**60:  # "max", or version 1's way to say it
                continue
            fields = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
            left.append(max(0, int(limit) - int((folder / used).read_text("ascii")) + int(fields.get(cached, 0))))
        except OSError:  # no such group, or not ours to read
            continue
    return left


def _group_folders(kernel: Path) -> list[tuple[Path, str, str, str]]:
    """Folders of the groups of this process from the inside out, with the names of their limit, use and file pages."""
    try:
        lines = (kernel / "proc/self/cgroup").read_text("ascii").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = kernel / ("sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if not controllers:
            names = ("memory.max", "memory.current", "inactive_file")
        below = root / inside.lstrip("/")
        found += [(folder, *names) for folder in (below, *below.parents) if folder.is_relative_to(root)]
        # In a container the path may be the host's, and the container's own group is what it sees as the root.
    return found


def _field(file: Path, name: str) -> int | None:
    """A field in kB of a file of the kernel, as bytes."""
    try:
        lines = file.read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
