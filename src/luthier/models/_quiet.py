"""Keep transformers and what it works with off the terminal for the length of a block, with their own switches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from typing import Any

# The switches belong to the whole process. Blocks may overlap in several threads, so the first one in notes what was
# set, and the last one out sets it again.
_lock = threading.Lock()
_restore: list[Callable[[], None]] = []
_inside = [0]


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar and no log line below an error of transformers, its hub or bitsandbytes; restored afterwards."""
    with _lock:
        _inside[0] += 1
        if _inside[0] == 1:
            _restore.append(_silence())
    try:
        yield
    finally:
        with _lock:
            _inside[0] -= 1
            if _inside[0] == 0:
                _restore.pop()()


def _silence() -> Callable[[], None]:
    """Turns the switches; gives what turns them back."""
    import huggingface_hub.utils
    import transformers.utils.logging

    # Neither module is typed.
    hub: Any = huggingface_hub.utils
    logging: Any = transformers.utils.logging
    bits = getLogger("bitsandbytes")  # imported by PEFT; it tells of every kernel that it does not find
    verbosity, hub_verbosity, bits_level = logging.get_verbosity(), hub.logging.get_verbosity(), bits.level
    had_bars = logging.is_progress_bar_enabled() and not hub.are_progress_bars_disabled()
    logging.set_verbosity_error()
    hub.logging.set_verbosity_error()
    bits.setLevel(ERROR)
    if had_bars:
        logging.disable_progress_bar()

    def restore() -> None:
        logging.set_verbosity(verbosity)
        hub.logging.set_verbosity(hub_verbosity)
        bits.setLevel(bits_level)
        if had_bars:
            logging.enable_progress_bar()

    return restore
