"""Characters that a text may hold and that not everything which shows or keeps it can."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def visible(text: str) -> str:
    """A text that a terminal or a page can be given.

    Control characters, changes of direction, halves of characters (lone surrogates) and what is none are spelled out.
    """
    return _UNSEEN.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)
