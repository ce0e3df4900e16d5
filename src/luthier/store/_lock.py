"""One writer per folder. The operating system frees the lock when its process dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from luthier.errors import BusyError, StoreError
from luthier.store._files import read_json, write_json, writing


class WriterLock:
    """The lock of a `.luthier` folder; a thread that holds it may take it again."""

    def __init__(self, folder: Path) -> None:
        # No soft fallback: a lock that only exists as a file would outlive a killed process.
        self._lock = FileLock(folder / "writer.lock", blocking=False, fallback_to_soft=False)
        self._note = folder / "writer.json"

    @contextmanager
    def hold(self, doing: str) -> Iterator[bool]:
        """Holds the lock for the block; gives whether it is newly held (False: this thread had it already).

        Raises:
            BusyError: another process or thread holds it; pid and what it does are named.
            StoreError: the lock file cannot be made.
        """
        newly = not self._lock.is_locked
        with writing(Path(self._lock.lock_file)):
            try:
                self._lock.acquire()
            except Timeout:
                raise self._busy() from None
        try:
            if newly:
                since = datetime.now(UTC).isoformat(timespec="seconds")
                write_json(self._note, {"pid": os.getpid(), "doing": doing or _command_line(), "since": since})
            yield newly
        finally:
            if newly:
                self._note.unlink(missing_ok=True)
            self._lock.release()

    def _busy(self) -> BusyError:
        folder = self._note.parent
        try:
            note = read_json(self._note)
            who = f"process {note['pid']} ({note['doing']}, since {note['since']})"
            fix = f"wait until it is done, or end it: kill {note['pid']}"
        except (StoreError, KeyError, TypeError):  # it has only just begun, or is just ending
            who, fix = "another process", "wait until it is done and try again"
        return BusyError(f"{who} is working in {folder}", why="two writers at once would mix what they record", fix=fix)


def _command_line() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
