"""Ctrl-C and SIGTERM during training: the step that runs is finished, so that what was done can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, a signal raises `KeyboardInterrupt`: at once, or at the end of a block of `finishing`.

    A second signal does not wait; `orderly` says afterwards that the exception came at the end of a block. Outside the
    main thread signals cannot be caught and nothing is changed.

    Args:
        agree: where several processes train together, whether any of them was asked. All of them then stop after the
            same step; a signal between two blocks waits for the end of the next one.
    """

    def __init__(self, agree: Callable[[bool], bool] | None = None) -> None:
        self._agree = agree
        self._busy = agree is not None
        self._asked = False
        self.orderly = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """A block that a first signal does not cut short."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = self._agree is not None
        if self._agree(self._asked) if self._agree else self._asked:
            self._asked = False
            self.orderly = True
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._busy or self._asked:
            raise KeyboardInterrupt
        self._asked = True
