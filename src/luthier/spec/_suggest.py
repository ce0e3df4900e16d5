"""Guess what a misspelt word was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean `x`?"` for the nearest choice (Ratcliff/Obershelp ratio >= 0.6), or an empty string."""
    by_lower = {choice.casefold().replace("-", "_"): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold().replace("-", "_"), list(by_lower), n=1)
    return f"; did you mean `{by_lower[near[0]]}`?" if near else ""
