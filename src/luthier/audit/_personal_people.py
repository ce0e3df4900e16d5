"""By the words around them: names of persons, postal addresses and dates of birth. Patterns, which miss and err."""

from __future__ import annotations

import re
from collections.abc import Iterator

from luthier.audit._personal_match import Match

_EXTENDED = [chr(code) for code in range(0x100, 0x250)]  # letters of the Latin blocks beyond Western Europe
UPPER = "A-ZÀ-ÖØ-Þ" + "".join(filter(str.isupper, _EXTENDED))
_LOWER = "a-zß-öø-ÿ" + "".join(filter(str.islower, _EXTENDED))
_WORD = rf"[{UPPER}][{_LOWER}]+"
_NAME_WORD = rf"(?:(?:Mc|Mac|O['’]|D['’]|Al-|El-)?{_WORD}(?:-{_WORD})?)"
_PARTICLE = r"(?:(?:van|von|de|der|den|da|di|del|della|la|le|dos|bin|ibn|al|ten|zu)[ ]){0,2}"
_MORE = rf"(?:[ ](?:[{UPPER}]\.[ ]?)?{_PARTICLE}{_NAME_WORD})"
_FULL_NAME, _ANY_NAME = rf"{_NAME_WORD}{_MORE}{{1,3}}", rf"{_NAME_WORD}{_MORE}{{0,3}}"

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
_STREETS = (  # what a text must hold, in lower case, and the form
    # 12 Long Acre Road, 5 N. 3rd St
    (
        [f" {word.lower()}" for word in _ENGLISH],
        re.compile(
            rf"(?<![\w.,/-])\d{{1,5}}[A-Za-z]?\s(?:[NSEW]\.?\s)?(?:(?:{_CAPITALS}|\d{{1,3}}(?:st|nd|rd|th))\s){{1,4}}"
            rf"{_any(_ENGLISH)}\b\.?"
        ),
    ),
    # Hauptstraße 12a, Kerkstraat 5, Alte Weg 3
    (
        [f"{word} " for word in _GERMANIC],
        re.compile(
            rf"(?<!\w)(?:{_CAPITALS}[ -]){{0,2}}[{UPPER}][\w-]{{0,40}}?(?i:{_any(_GERMANIC)})\s\d{{1,4}}(?:\s?[a-zA-Z])?(?!\w)"
        ),
    ),
    # 12 bis, rue de la Paix
    (
        [f" {word} " for word in _FRENCH],
        re.compile(
            rf"(?<![\w.,/-])\d{{1,4}}(?:\s?(?:bis|ter))?,?\s(?i:{_any(_FRENCH)})"
            rf"\s(?:(?:de|du|des|d['’]|la|le|les|l['’])\s?){{0,3}}[{UPPER}][\w'’-]+(?:[ -][{UPPER}][\w'’-]+){{0,3}}"
        ),
    ),
    # Calle Mayor 5, Via Roma 12, Rua Augusta, 100, ul. Długa 4
    (
        [word.lower() for word in _LATIN],
        re.compile(
            rf"(?<!\w){_any(_LATIN)}\.?\s(?:(?:de|del|della|dei|da|do|das|dos|la|el)\s){{0,2}}{_CAPITALS}"
            rf"(?:\s(?:(?:de|da|do|del)\s)?{_CAPITALS}){{0,3}},?\s(?:n[º°.]?\s?)?\d{{1,5}}[A-Za-z]?(?!\w)"
        ),
    ),
    # Am Markt 3, 24103 Kiel; Březová 43/2, 152 74 Sedlčany; Jillhof 9, 5101 MS De Groeve: a number, and a postcode
    (
        [", "],
        re.compile(
            rf"(?<!\w)(?!{_NO_STREET}){_CAPITALS}(?:[ -](?!{_NO_STREET}){_CAPITALS}){{0,3}},? (?:[Nn]r?[º°.]? ?)?"
            rf"\d{{1,4}}[a-zA-Z]?(?:[/-]\d{{1,4}})?, (?:{_WORD}(?:[ -]{_WORD}){{0,2}},? )?(?:[A-Z]{{1,2}}-)?{_POSTCODE}(?![\d,])"
        ),
    ),
    # Flat 3, 12 Clarke Path, Little Haywood, ST18 0AB; 27 Galvan Nook, Floydburgh, SA 2684
    (
        [", "],
        re.compile(
            rf"(?<![\w.,/-])\d{{1,4}}[A-Za-z]?,? {_CAPITALS}(?: {_CAPITALS}){{0,3}}, (?:{_CAPITALS}(?: {_CAPITALS}){{0,2}},? ){{1,3}}"
            r"(?:[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),? \d{4}|\d{6})(?!\w)"
        ),
    ),
    # I live at 8 The Paddocks
    (
        [" live at ", "address", "reside at ", "ship ", "send ", "deliver", "moved to "],
        re.compile(
            r"(?i:\b(?:live\sat|address\s?(?:is|:)|reside\sat|ship\s(?:it\s)?to|send\s(?:it\s)?to|deliver(?:ed)?\s(?:it\s)?to"
            rf"|moved\sto))\s(?P<street>\d{{1,5}}[A-Za-z]?,?\s{_CAPITALS}(?:\s{_CAPITALS}){{0,3}})"
        ),
    ),
    ([" box "], re.compile(r"\bP\.?\s?O\.?\s?Box\s\d{1,6}")),
)
# what may follow a street: flat, town, region, postcode
_AFTER = re.compile(
    rf"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|#)\.? ?[\w-]{{1,5}})?"
    rf"(?:,?[ \n](?:\d{{4,5}}(?:-\d{{3,4}})? )?{_WORD}(?:[ -]{_WORD}){{0,2}}(?=,? [A-Z]{{0,2}}\d|,? [A-Z]{{2}} \d|[.,;\n]|$))?"
    r"(?:,? [A-Z]{2} \d{5}(?:-\d{4})?|,? [A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|,? \d{4,5}(?:-\d{3})?(?: [A-Z]{2})?(?!\d))?"
)
_COURT = re.compile(r"\b(?:Supreme|District|High|County|Crown|Appeals?|Federal|Circuit|Superior|Magistrates)\sCourt")


def addresses(text: str) -> Iterator[Match]:
    """Postal addresses: a street with its number, as written in eleven languages of Europe, and post office boxes."""
    lower = text.lower()
    for signs, street in _STREETS:
        for found in street.finditer(text) if any(sign in lower for sign in signs) else ():
            start = found.start("street") if "street" in street.groupindex else found.start()
            after = _AFTER.match(text, found.end())
            end = found.end() if after is None else after.end()
            if not _COURT.search(text, start, end):
                yield Match("address", start, end, "postal address", " ".join(text[start:end].lower().split()))


_SAYS = (  # before a name, and how many words it must have to be taken for one
    (r"my(?:\sfull)?\sname\s?(?:is|'s|’s|:)|name\son\s(?:the\s)?(?:card|account)\s(?:is|:)", "any"),
    (
        r"mein\sname\sist|ich\s(?:heiße|heisse)|je\sm['’]appelle|me\sllamo|mi\schiamo|mijn\snaam\sis|meu\snome\sé"
        r"|nazywam\ssię",
        "any",
    ),
    (r"this\s(?-i:is)|i\sam|i['’]m|ich\sbin", "said"),
    (
        r"(?:regards|sincerely|cheers|wishes|yours\struly|thank\syou|thanks|grüße|grüßen|cordialement|saludos)[,.!]?"
        r"\s*(?:\n|,)",
        "signed",
    ),
    (
        r"(?:mr|mrs|ms|miss|mx|dr|prof|herr|herrn|frau|mme|mlle|monsieur|madame|señor|señora|sra|sig|dhr|mevr)\.?",
        "full",
    ),
    (r"dear|hi|hello|liebe|lieber|cher|chère|estimado|estimada", "called"),
    (
        r"(?:(?:full|first|last|family|given|customer|client|patient|employee|contact|holder|beneficiary|recipient"
        r"|passenger|guest)[\s_]?name|surname|signed(?:\sby)?|customer|client|patient|account\s?holder|cardholder"
        r"|beneficiary|recipient|passenger|guest|attn)[\"']?(?:\s?[:=]|\s(?:is|was))|signed\sby|spoke\s(?:to|with)|ask\sfor"
        r"|on\sbehalf\sof|registered\s(?:to|under)|in\sthe\sname\sof|belongs\sto",
        "field",
    ),
)
_AFTER_FIELD = r"\s?[\"']?"
_NAMES = tuple(
    (
        re.compile(rf"(?<!\w)(?:{before}){_AFTER_FIELD if how == 'field' else chr(92) + 's+'}", re.IGNORECASE),
        re.compile(_ANY_NAME if how in ("any", "signed", "called") else _FULL_NAME),
        how,
    )
    for before, how in _SAYS
)
_THEN = {
    "said": re.compile(r"[,.;!]|\s(?:and|from|at|calling|writing|born|living|here)\b|\s*$"),
    "signed": re.compile(r"\s*(?:[\n,.]|$)"),
    "called": re.compile(r"\s*[,:!\n]"),
}
NAME_SIGNS = (
    *"name heiß heisse appelle llamo chiamo naam nome nazywam regards sincerely cheers wishes yours thank".split(),
    *"grüße cordialement saludos miss herr frau mme mlle monsieur madame señor dhr mevr dear hello".split(),
    *"liebe cher chère estimad customer patient holder beneficiary recipient passenger guest attn signed spoke behalf".split(),
    *"registered belongs prof mr ms mx dr sra sig".split(),
    *("this is", "i am", "i'm", "i’m", "ich bin", "ask for", "hi "),
)
_NO_NAME = frozenset(
    "Sir Madam Customer Customers Team All Support Hiring Manager Colleague Colleagues Friend Friends Santa Everyone"
    " There World User Users Not The This That Your Our My Very So Just Also Here Sorry Happy Looking Unable Bank"
    " Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June July August"
    " September October November December English French German Spanish American British Indian Thanks Thank Please"
    " Service Services Agent Client Guest Lord God Jesus Data Name First Last Siri Alexa Google Kitty Diary Reader Sirs"
    " Damen Herren Zusammen Tous If What How Why When Is Are Can Could Do Does Have Has".split()
)


def names(text: str) -> Iterator[Match]:
    """Names of persons where words around them say so: "my name is", a title, a salutation, a signature, a field."""
    for before, name, how in _NAMES:
        for said in before.finditer(text):
            found = name.match(text, said.end())
            if found is None or found.group().split()[0] in _NO_NAME:
                continue
            if how not in _THEN or _THEN[how].match(text, found.end()):
                yield Match("name", found.start(), found.end(), "name of a person", found.group().lower())


_MONTHS = (
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez|janv|févr|avr|juin|juil|août|ene|abr|ago|dic"
    r"|gen|mag|giu|lug|set|ott)[a-zéûäç]*\.?"
)
_DAY = (
    rf"(?:\d{{1,2}}(?:st|nd|rd|th)?\.?\s(?:of\s|de\s)?{_MONTHS},?\s(?:de\s)?(?:19|20)\d\d"
    rf"|{_MONTHS}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s(?:19|20)\d\d"
    r"|(?:19|20)\d\d[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)?\d\d)"
)
BIRTH_SIGNS = (*"dob d.o.b birth born geb naissance née né nac nascita nascimento urodz".split(), "ich bin")
_BIRTHS = re.compile(
    r"(?:\bd\.?o\.?b\.?|date[\s_]of[\s_]birth|birth[\s_]?dates?|birthday|\bi\s(?:was|am)\sborn|patient\swas\sborn"
    r"|geburtsdatum|\bgeb\.|ich bin(?: am)?|date de naissance|\bje suis née?|fecha de nacimiento|nací|data di nascita"
    r"|geboortedatum|data de nascimento|data urodzenia|geboren|born(?=\W{1,3}(?:on\s)?\d{1,4}[-/.]\d))"
    rf"\W{{0,4}}(?:is|was|on|ist|est|es|am|le|el|:)?\W{{0,4}}(?:on\s|the\s)?(?P<day>{_DAY})",
    re.IGNORECASE,
)


def birth_dates(text: str) -> Iterator[Match]:
    """Dates that are said to be somebody's date of birth."""
    for found in _BIRTHS.finditer(text):
        yield Match("birth-date", found.start("day"), found.end("day"), "date of birth", found["day"].lower())
