"""Keep transformers and the hub client off the terminal for the length of a block, with their own switches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, and no log line below an error, from transformers and huggingface_hub; restored afterwards.

    The switches belong to the whole process, so the block should be short: one load, one batch.
    """
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
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub.logging.set_verbosity(hub_verbosity)
        if had_bars:
            logging.enable_progress_bar()
