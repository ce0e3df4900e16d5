"""Findings on personal data and secrets: what the model would learn to say, and what would be kept with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from luthier.audit._finding import Dataset, Finding, Sample, Severity, finding
from luthier.audit.personal import Kind, Match, excerpt, scan_row, texts_of
from luthier.data import Example, Source

SAMPLES = 5

_CODES: dict[Kind, tuple[str, str]] = {  # the code of the finding, and its words
    "secret": ("secret", "keys, tokens or passwords of services"),
    "password": ("password", "what follows a word such as `password` or `api key` and looks like one"),
    "card": ("payment-card", "payment card numbers (issuer, length and Luhn checksum are right)"),
    "iban": ("bank-account", "bank accounts (country, length and checksum of the IBAN are right)"),
    "national-id": ("national-id", "national numbers of persons (their checksum or rules are right)"),
    "email": ("email", "e-mail addresses"),
    "phone": ("phone", "telephone numbers"),
    "birth-date": ("birth-date", "dates that are said to be a date of birth"),
    "address": ("postal-address", "what looks like postal addresses"),
    "name": ("person-name", "what looks like names of persons"),
    "network": ("network-address", "IP or MAC addresses"),
}
_EXAMPLE = ("example-data", "values that documentation reserves for examples and tests")
_MASKED = "take them out, or write a copy with placeholders in their place: luthier check --fix --mask"
_BY_HAND = "look at the rows: patterns find these and err; where they are real people, take them out by hand"
_FIXES = {
    "secret": f"revoke them first: they stand in a file that people pass on; then {_MASKED}",
    "password": f"change those that are real; then {_MASKED}",
    "birth-date": _BY_HAND,
    "postal-address": _BY_HAND,
    "person-name": _BY_HAND,
    "network-address": "nothing, unless they point to a person's machine",
    "example-data": "nothing; in an output, the model may learn to say them in place of real ones",
}


@dataclass
class _Tally:
    """What is kept about one code while rows go by: its rows, and no value."""

    words: str
    rows: list[Source] = field(default_factory=list)
    said: int = 0  # rows with one in an output
    unheard: int = 0  # rows with one in an output whose input does not hold it
    forms: Counter[str] = field(default_factory=Counter)
    different: set[int] = field(default_factory=set)
    samples: list[Sample] = field(default_factory=list)


def check_personal(data: Dataset) -> Iterable[Finding]:
    """Secrets, card and account numbers, national numbers, and what else says who somebody is; masked where shown."""
    tallies: dict[str, _Tally] = {}
    for example in data.everything:
        _count(example, tallies)
    for code, words in [*_CODES.values(), _EXAMPLE]:
        if code in tallies:
            yield _told(code, words, tallies[code])


def _count(example: Example, tallies: dict[str, _Tally]) -> None:
    texts = texts_of(example)
    found = scan_row(texts)
    if not any(found):
        return
    inputs = len(example.messages)
    heard = {m.value for matches in found[:inputs] for m in matches}
    by_code: dict[str, list[tuple[int, Match]]] = {}
    for place, match in _outputs_first(found, inputs):
        code, words = _EXAMPLE if match.documented else _CODES[match.kind]
        tallies.setdefault(code, _Tally(words))
        by_code.setdefault(code, []).append((place, match))
    for code, matches in by_code.items():
        tally, (place, first) = tallies[code], matches[0]
        tally.rows.append(example.source)
        tally.said += place >= inputs
        tally.unheard += any(p >= inputs and m.value not in heard for p, m in matches)
        tally.forms.update({m.value: m.what for _, m in matches}.values())
        tally.different.update(hash(m.value) for _, m in matches)
        if len(tally.samples) < SAMPLES:
            remark = f"{first.what} in the {'output' if place >= inputs else 'input'}"
            tally.samples.append(Sample(example.source, excerpt(texts[place], found[place], first), remark))


def _outputs_first(found: list[list[Match]], inputs: int) -> Iterator[tuple[int, Match]]:
    for place in (*range(inputs, len(found)), *range(inputs)):
        for match in found[place]:
            yield place, match


def _told(code: str, words: str, tally: _Tally) -> Finding:
    forms = ", ".join(f"{what} {n:,}" for what, n in tally.forms.most_common(6)) if len(tally.forms) > 1 else ""
    reason = f"rows hold {words}: {len(tally.different):,} different" + (f" ({forms})" if forms else "")
    if tally.said:
        reason += f"; {tally.said:,} rows teach to say them"
        if tally.unheard:
            reason += f", {tally.unheard:,} of these without having read them in the input"
    else:
        reason += "; all in inputs"
    return finding(code, _severity(code, tally), tally.rows, reason, _FIXES.get(code, _MASKED), samples=tally.samples)


def _severity(code: str, tally: _Tally) -> Severity:
    if code == "secret":
        return "blocks"
    if code in ("password", "payment-card", "bank-account", "national-id"):
        return "harms"
    return "harms" if code in ("email", "phone") and tally.said else "note"
