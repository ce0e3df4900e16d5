"""Names of persons and dates of birth by the words around them. Patterns, which miss and err."""

from __future__ import annotations

import re
from collections.abc import Iterator

from luthier.audit.personal._match import UPPER, WORD, Match, lowered, places

_NAME_WORD = rf"(?:(?:Mc|Mac|O['’]|D['’]|Al-|El-)?{WORD}(?:-{WORD})?)"
_PARTICLE = r"(?:(?:van|von|de|der|den|da|di|del|della|la|le|dos|bin|ibn|al|ten|zu)[ ]){0,2}"
_MORE = rf"(?:[ ](?:[{UPPER}]\.[ ]?)?{_PARTICLE}{_NAME_WORD})"
_FULL_NAME, _ANY_NAME = rf"{_NAME_WORD}{_MORE}{{1,3}}", rf"{_NAME_WORD}{_MORE}{{0,3}}"

# How a name is led in: the case (some ask for two words), how it begins, the form, and what must follow the name.
_FULL = ("said", "titled", "field")
_SAYS = (
    (
        "self",
        "my name;my full name;name on;mein name;ich hei;je m;me llamo;mi chiamo;mijn naam;meu nome;nazywam",
        r"my(?:\sfull)?\sname\s?(?:is|'s|’s|:)|name\son\s(?:the\s)?(?:card|account)\s(?:is|:)|mein\sname\sist"
        r"|ich\s(?:heiße|heisse)|je\sm['’]appelle|me\sllamo|mi\schiamo|mijn\snaam\sis|meu\snome\sé|nazywam\ssię",
        r"",
    ),
    (
        "said",
        "this is;i am;i'm;i’m;ich bin",
        r"this\s(?-i:is)|i\sam|i['’]m|ich\sbin",
        r"[,.;!]|\s(?:and|from|at|calling|writing|born|living|here)\b|\s*$",
    ),
    (
        "signed",
        "regards;sincerely;cheers;wishes;yours truly;thank;grüße;cordialement;saludos",
        r"(?:regards|sincerely|cheers|wishes|yours\struly|thank\syou|thanks|grüße|grüßen|cordialement|saludos)[,.!]?"
        r"\s*(?:\n|,)",
        r"\s*(?:[\n,.]|$)",
    ),
    (
        "titled",
        "mr;mrs;ms;miss;mx;dr;prof;herr;frau;mme;mlle;monsieur;madame;señor;sra;sig;dhr;mevr",
        r"(?:mr|mrs|ms|miss|mx|dr|prof|herr|herrn|frau|mme|mlle|monsieur|madame|señor|señora|sra|sig|dhr|mevr)\.?",
        r"",
    ),
    (
        "called",
        "dear;hi ;hello;liebe;cher;chère;estimad",
        r"dear|hi|hello|liebe|lieber|cher|chère|estimado|estimada",
        r"\s*[,:!\n]",
    ),
    (
        "field",
        "full;first;last;family;given;customer;client;patient;employee;contact;holder;beneficiary;recipient;passenger"
        ";guest;surname;signed;account;cardholder;attn;spoke;ask for;on behalf;registered;in the name;belongs",
        r"(?:(?:full|first|last|family|given|customer|client|patient|employee|contact|holder|beneficiary|recipient"
        r"|passenger|guest)[\s_]?name|surname|signed(?:\sby)?|customer|client|patient|account\s?holder|cardholder"
        r"|beneficiary|recipient|passenger|guest|attn)[\"']?(?:\s?[:=]|\s(?:is|was))|signed\sby|spoke\s(?:to|with)"
        r"|ask\sfor|on\sbehalf\sof|registered\s(?:to|under)|in\sthe\sname\sof|belongs\sto",
        r"",
    ),
)
_NAMES = tuple(
    (
        signs.split(";"),
        re.compile(rf"(?<!\w)(?:{before})" + (r"\s?[\"']?" if how == "field" else r"\s+"), re.IGNORECASE),
        re.compile((_FULL_NAME if how in _FULL else _ANY_NAME) + (rf"(?={then})" if then else "")),
    )
    for how, signs, before, then in _SAYS
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
    lower = lowered(text)
    for signs, before, name in _NAMES:
        for place in places(lower, signs):
            said = before.match(text, place)
            found = None if said is None else name.match(text, said.end())
            if found is not None and found.group().split()[0] not in _NO_NAME:
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
