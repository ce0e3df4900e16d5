"""Keep transformers and the hub client off the terminal for the length of a block, with their own switches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# The switches belong to the whole process. Blocks may overlap in several threads, so the first one in notes what was
# set, and the last one out sets it again.
_lock = threading.Lock()
_restore: list[Callable[[], None]] = []
_inside = [0]


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, and no log line below an error, from transformers and huggingface_hub; restored afterwards."""
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
    verbosity, hub_verbosity = logging.get_verbosity(), hub.logging.get_verbosity()
    had_bars = logging.is_progress_bar_enabled() and not hub.are_progress_bars_disabled()
    logging.set_verbosity_error()
    hub.logging.set_verbosity_error()
    if had_bars:
        logging.disable_progress_bar()

    def restore() -> None:
        logging.set_verbosity(verbosity)
        hub.logging.set_verbosity(hub_verbosity)
        if had_bars:
            logging.enable_progress_bar()

    return restore
