"""Postal addresses by how streets are called and numbered. Patterns, which miss and err."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from luthier.audit.personal._match import UPPER, WORD, Match, lowered, places

_ENGLISH = (
    "Street St Road Rd Avenue Ave Lane Ln Drive Dr Boulevard Blvd Court Ct Place Pl Square Sq Terrace Way Close"
    " Crescent Parkway Pkwy Highway Hwy Circle Cir Trail Grove Gardens Row Mews Hill Walk Quay"
).split()
_GERMANIC = (
    "straße strasse str. weg platz allee gasse damm ufer straat laan plein gracht kade dijk gatan vägen gränd veien"
    " vegen gata vej gade katu kuja tie steeg singel hof baan"
).split()
_FRENCH = "rue avenue av. boulevard bd place chemin impasse allée quai cours route passage".split()
_LATIN = (
    "Calle C/ Avenida Avda Av. Plaza Paseo Via Viale Piazza Corso Largo Rua Travessa"
    " Praça R. ul. al. pl. os. Ulica ulica plac aleja Carrer Strada Pasaje Camino Glorieta Ronda Rambla Vicolo Borgo"
    " Contrada Alameda Bulevardul Soseaua Șoseaua Aleea Calea Intrarea"
).split()


def _any(words: list[str]) -> str:
    return "(?:" + "|".join(re.escape(word) for word in words) + ")"


_CAPITALS = rf"[{UPPER}][\w'’.-]*"
_NO_STREET = (
    "(?:January|February|March|April|May|June|July|August|September|October|November|December|Volume|Vol|Chapter|Section"
    "|Part|Page|Figure|Table|Act|Article|Episode|Season|Version|Number|No)\\b"
)
_POSTCODE = r"(?:\d{5}(?:-\d{3,4})?|\d{2}-\d{3}|\d{3} \d{2}|\d{4} ?[A-Z]{2}|(?!(?:1[5-9]|20)\d\d)\d{4}(?= [A-Z]))"
_TOWN = rf"{WORD}(?:[ -]{WORD}){{0,2}}"
# where the form is looked for: wherever a sign stands in the text; at a sign; if a sign stands before a
# number; if a hint, a pattern that begins with a digit and so fails fast, is there
_STREETS: tuple[tuple[Literal["anywhere", "at", "number", "hint"], list[str], re.Pattern[str]], ...] = (
    # 12 Long Acre Road, 5 N. 3rd St
    (
        "anywhere",
        [f" {word.lower()}" for word in _ENGLISH],
        re.compile(
            rf"(?<![\w.,/-])\d{{1,5}}[A-Za-z]?\s(?:[NSEW]\.?\s)?(?:(?:{_CAPITALS}|\d{{1,3}}(?:st|nd|rd|th))\s){{1,4}}"
            rf"{_any(_ENGLISH)}\b\.?"
        ),
    ),
    # Hauptstraße 12a, Kerkstraat 5, Alte Weg 3
    (
        "number",
        [f"{word} " for word in _GERMANIC],
        re.compile(
            rf"(?<!\w)(?:{_CAPITALS}[ -]){{0,2}}[{UPPER}][\w-]{{0,40}}?(?i:{_any(_GERMANIC)})\s"
            r"\d{1,4}(?:\s?[a-zA-Z])?(?!\w)"
        ),
    ),
    # 12 bis, rue de la Paix
    (
        "anywhere",
        [f" {word} " for word in _FRENCH],
        re.compile(
            rf"(?<![\w.,/-])\d{{1,4}}(?:\s?(?:bis|ter))?,?\s(?i:{_any(_FRENCH)})"
            rf"\s(?:(?:de|du|des|d['’]|la|le|les|l['’])\s?){{0,3}}[{UPPER}][\w'’-]+(?:[ -][{UPPER}][\w'’-]+){{0,3}}"
        ),
    ),
    # Calle Mayor 5, Via Roma 12, Rua Augusta, 100, ul. Długa 4
    (
        "at",
        [word.lower() for word in _LATIN],
        re.compile(
            rf"(?<!\w){_any(_LATIN)}\.?\s(?:(?:de|del|della|dei|da|do|das|dos|la|el)\s){{0,2}}{_CAPITALS}"
            rf"(?:\s(?:(?:de|da|do|del)\s)?{_CAPITALS}){{0,3}},?\s(?:n[º°.]?\s?)?\d{{1,5}}[A-Za-z]?(?!\w)"
        ),
    ),
    # Am Markt 3, 24103 Kiel; Březová 43/2, 152 74 Sedlčany; Jillhof 9, 5101 MS De Groeve: a number, and a postcode
    (
        "hint",
        [rf"\d[a-zA-Z]?, (?:{_TOWN},? )?(?:[A-Z]{{1,2}}-)?{_POSTCODE}"],
        re.compile(
            rf"(?<!\w)(?!{_NO_STREET}){_CAPITALS}(?:[ -](?!{_NO_STREET}){_CAPITALS}){{0,3}},? (?:[Nn]r?[º°.]? ?)?"
            rf"\d{{1,4}}[a-zA-Z]?(?:[/-]\d{{1,4}})?, (?:{_TOWN},? )?(?:[A-Z]{{1,2}}-)?{_POSTCODE}(?![\d,])"
        ),
    ),
    # Flat 3, 12 Clarke Path, Little Haywood, ST18 0AB; 27 Galvan Nook, Floydburgh, SA 2684
    (
        "anywhere",
        [", "],
        re.compile(
            rf"(?<![\w.,/-])\d{{1,4}}[A-Za-z]?,? {_CAPITALS}(?: {_CAPITALS}){{0,3}}, (?:{_TOWN},? ){{1,3}}"
            r"(?:[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),? \d{4}|\d{6})(?!\w)"
        ),
    ),
    # I live at 8 The Paddocks
    (
        "at",
        ["live at ", "address", "reside at ", "ship ", "send ", "deliver", "moved to "],
        re.compile(
            r"(?i:(?<!\w)(?:live\sat|address\s?(?:is|:)|reside\sat|ship\s(?:it\s)?to|send\s(?:it\s)?to"
            r"|deliver(?:ed)?\s(?:it\s)?to|moved\sto))"
            rf"\s(?P<street>\d{{1,5}}[A-Za-z]?,?\s{_CAPITALS}(?:\s{_CAPITALS}){{0,3}})"
        ),
    ),
    ("anywhere", [" box "], re.compile(r"\bP\.?\s?O\.?\s?Box\s\d{1,6}")),
)
# what may follow a street: flat, town, region, postcode
_AFTER = re.compile(
    rf"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|#)\.? ?[\w-]{{1,5}})?"
    rf"(?:,?[ \n](?:\d{{4,5}}(?:-\d{{3,4}})? )?{_TOWN}(?=,? [A-Z]{{0,2}}\d|,? [A-Z]{{2}} \d|[.,;\n]|$))?"
    r"(?:,? [A-Z]{2} \d{5}(?:-\d{4})?|,? [A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|,? \d{4,5}(?:-\d{3})?(?: [A-Z]{2})?(?!\d))?"
)
_YEAR = re.compile(r"(?:19|20)\d\d,? ")  # more often a year and a person than a house and a street
_COURT = re.compile(r"\b(?:Supreme|District|High|County|Crown|Appeals?|Federal|Circuit|Superior|Magistrates)\sCourt")


def addresses(text: str) -> Iterator[Match]:
    """Postal addresses: a street with its number, as written in a dozen languages of Europe, and post office boxes."""
    for found in _streets(text):
        start = found.start("street") if "street" in found.re.groupindex else found.start()
        after = _AFTER.match(text, found.end())
        end = found.end() if after is None else after.end()
        if end == found.end() and _YEAR.match(text, start):
            continue
        if not _COURT.search(text, start, end):
            yield Match("address", start, end, "postal address", " ".join(text[start:end].lower().split()))


def _streets(text: str) -> Iterator[re.Match[str]]:
    lower = lowered(text)
    for where, signs, street in _STREETS:
        if where == "at":
            yield from filter(None, (street.match(text, place) for place in places(lower, signs)))
        elif where == "hint":
            if any(re.search(hint, text) for hint in signs):
                yield from street.finditer(text)
        elif any(_holds(lower, sign, where == "number") for sign in signs):
            yield from street.finditer(text)


def _holds(text: str, sign: str, before_number: bool) -> bool:
    if not before_number:
        return sign in text
    return any(text[place + len(sign) : place + len(sign) + 1].isdigit() for place in places(text, [sign]))
