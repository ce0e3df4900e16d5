"""Personal data and secrets out of sight: what may be shown of a value, and of a text that holds some."""

from __future__ import annotations

from collections.abc import Iterable

from luthier.audit.personal._match import Match
from luthier.audit.personal._scan import scan


def veil(match: Match, written: str) -> str:
    """What is shown of a value, so that a row can be recognised and nobody can use it: at most 4 characters of it."""
    if match.documented:
        return written
    if match.kind == "email":
        name, _, host = match.value.rpartition("@")
        return f"{name[:1]}…@…{host[host.rfind('.') :]}"
    if match.kind == "name":
        return " ".join(f"{word[:1]}." for word in written.split())
    if match.kind in ("password", "birth-date", "address"):
        return f"{written[:1]}…"
    if match.kind == "secret":
        return f"{written[:4]}…" if len(written) >= 16 else "…"
    return f"{written[:2]}…{written[-2:]}" if len(written) > 8 else f"{written[:1]}…"


def veiled(text: str, matches: Iterable[Match] | None = None) -> str:
    """The text with all that is found in it veiled."""
    shown, position = [], 0
    for match in scan(text) if matches is None else matches:
        shown += [text[position : match.start], veil(match, text[match.start : match.end])]
        position = match.end
    return "".join([*shown, text[position:]])


def excerpt(text: str, matches: Iterable[Match], at: Match, beside: int = 60) -> str:
    """The surroundings of a match, veiled. The edges keep clear of other matches."""
    near = [m for m in matches if at.start - beside < m.end and m.start < at.end + beside]
    first, last = min(m.start for m in near), max(m.end for m in near)
    first, last = min(first, max(0, at.start - beside)), max(last, min(len(text), at.end + beside))
    moved = [Match(m.kind, m.start - first, m.end - first, m.what, m.value, m.documented) for m in near]
    return ("…" if first else "") + veiled(text[first:last], moved) + ("…" if last < len(text) else "")
