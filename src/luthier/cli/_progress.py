"""Progress on the terminal: one bar a stage, with time left; plain lines where the output is no terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

SAY_EVERY = 30.0  # seconds between lines where there is no terminal to draw on


class Bars:
    """A progress callback. Draws bars with rich on a terminal; else a line now and then, and when a stage ends.

    Everything goes to standard error, so that standard output holds the result only.
    """

    def __init__(self, quiet: bool) -> None:
        self._terminal = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._stage = ""
        self._began = self._said = 0.0
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, stage: str, done: int, total: int, remark: str) -> None:
        """Show that `done` of `total` (0: unknown) of a stage is done."""
        if self._quiet:
            return
        if stage != self._stage:
            self._begin(stage, total)
        if self._terminal:
            self._bar.update(self._task, completed=done, total=total or None, remark=remark)
        elif time.monotonic() - self._said >= SAY_EVERY:
            self._say(f"{done} of {total}" if total else str(done), remark)
        if total and done >= total:
            self._end(done, remark)

    def _begin(self, stage: str, total: int) -> None:
        self._close()
        self._stage, self._began, self._said = stage, time.monotonic(), time.monotonic()
        if not self._terminal:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}", style="dim", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(stage, total=total or None, remark="")

    def _end(self, done: int, remark: str) -> None:
        seconds = time.monotonic() - self._began
        self._close()
        self._say(f"{done} ({seconds:.0f} s)", remark)
        self._stage = ""

    def _say(self, how_far: str, remark: str) -> None:
        self._said = time.monotonic()
        print(f"  {self._stage}: {how_far} {remark}".rstrip(), file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
