"""One pass over a text, or over all texts of a row, for personal data and secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from luthier.audit.personal._addresses import addresses
from luthier.audit.personal._ids import national_ids
from luthier.audit.personal._match import UPPER, Kind, Match, lowered
from luthier.audit.personal._names import BIRTH_SIGNS, birth_dates, names
from luthier.audit.personal._numbers import cards, ibans, phones
from luthier.audit.personal._secrets import secrets
from luthier.audit.personal._web import emails, networks
from luthier.data import Example

# Any text without one of these holds nothing that is looked for. Substrings are found faster than alternatives.
_SIX_DIGITS = re.compile(r"\d(?:[ \u00a0().\-/A-Za-z]{0,3}\d){5}|[A-Z]{5}\d{4}[A-Z]")
_DIGIT = re.compile(r"\d")
_NETWORK = re.compile(r"\d\.\d{1,3}\.\d|[0-9A-Fa-f:]:[0-9A-Fa-f]{0,4}:|(?:[0-9A-Fa-f]{2}-){5}")
_AT = re.compile(r"[\[({<]\s?at\s?[\])}>]", re.IGNORECASE)
_CAPITAL = re.compile(rf"[\s\"'=:][{UPPER}][\w'’]")

_ADDRESS_OF_WEB = re.compile(r"(?:https?|ftp)://[^\s\"'<>)}\]]+|\bwww\.[^\s\"'<>)}\]]+")
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|<[A-Z][A-Z_]*_\d+>", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)

_NUMBERS: frozenset[Kind] = frozenset({"card", "iban", "national-id", "phone"})


def _steps(text: str) -> Iterator[Callable[[str], Iterator[Match]]]:
    """What to look for in a text, the surest first: where two overlap, the first holds."""
    lower = lowered(text)
    yield secrets
    some = _DIGIT.search(text) is not None
    many = some and _SIX_DIGITS.search(text) is not None
    if many:
        yield ibans
        yield cards
        yield national_ids
    if "@" in text or _AT.search(text):
        yield emails
    if many:
        yield phones
    if some:
        yield addresses
        if any(word in lower for word in BIRTH_SIGNS):
            yield birth_dates
        if _NETWORK.search(text):
            yield networks
    if _CAPITAL.search(text):
        yield names


def scan(text: str) -> list[Match]:
    """Personal data and secrets in a text, in order; none overlap. JSON is read with its keys as the words beside."""
    seen = (
        _ESCAPE.sub(lambda found: " " * len(found.group()), text)
        if "\\" in text and text.lstrip()[:1] in "{["
        else text
    )
    found: list[Match] = []
    for step in _steps(seen):
        for match in step(seen):
            if all(match.end <= other.start or other.end <= match.start for other in found):
                found.append(match)
    if found:
        found = [m for m in found if not _let_be(seen, m)]
        found.sort(key=lambda m: m.start)
    return found


def _let_be(text: str, match: Match) -> bool:
    """Inside a template's placeholder, or a number that is part of a web address."""
    if match.kind != "secret" and _within(_PLACEHOLDER, text, match):
        return True
    return match.kind in _NUMBERS and "/" in text and _within(_ADDRESS_OF_WEB, text, match)


def _within(pattern: re.Pattern[str], text: str, match: Match) -> bool:
    return any(span.start() <= match.start and match.end <= span.end() for span in pattern.finditer(text))


def texts_of(example: Example) -> list[str]:
    """Every text of a row: the messages, the output, and the rejected answer of a pair."""
    texts = [message.content for message in example.messages] + [example.output]
    return texts if example.rejected is None else [*texts, example.rejected]


def scan_row(texts: Sequence[str]) -> list[list[Match]]:
    """Each text's matches; what is found in one text of a row is found in its others too, whatever stands beside."""
    found = [scan(text) for text in texts]
    values = {text[m.start : m.end]: m for text, matches in zip(texts, found, strict=True) for m in matches}
    if not values or len(texts) == 1:
        return found
    for text, matches in zip(texts, found, strict=True):
        for written, known in values.items():
            for start, end in _again(text, written, known):
                if all(end <= m.start or m.end <= start for m in matches):
                    matches.append(Match(known.kind, start, end, known.what, known.value, known.documented))
        matches.sort(key=lambda m: m.start)
    return found


def _again(text: str, written: str, known: Match) -> Iterator[tuple[int, int]]:
    """Where a datum is said again, numbers in another writing too."""
    if written not in text and known.kind not in _NUMBERS:
        return
    pattern = re.escape(written)
    if known.kind in _NUMBERS:
        pattern = r"[\s()./\-]{0,2}".join(re.escape(c) for c in written if c.isalnum())
    for match in re.finditer(rf"(?<![^\W_]){pattern}(?![^\W_])", text):
        yield match.span()
