"""Payment cards, IBANs and telephone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from luthier.audit.personal._match import Match, cue, digits

# ISO 13616 registry: length of an IBAN by country
IBAN_LENGTHS = {
    code[:2]: int(code[2:])
    for code in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20"
        " EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30"
        " KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23"
        " PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26"
        " UA29 VA22 VG24 XK20 YE30"
    ).split()
}
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ -]?\d{2}(?:[ \u00a0.-]?[A-Za-z0-9]){11,30}")
_IBAN_EXAMPLES = {"GB82WEST12345698765432", "DE89370400440532013000", "GB29NWBK60161331926819"}

_CARD = re.compile(
    r"(?<![\w+])(?<!\d[.,:/\-])"
    r"(?:\d{4}([ \u00a0.-])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?"
    r"|\d{4}([ \u00a0.-])\d{6}\2\d{4,5}|\d{12,19})"
    r"(?!\w)(?![.,:/\-]\d)"
)
_CARD_EXAMPLES = {  # published by payment companies for tests
    "4111111111111111 4242424242424242 4012888888881881 4000056655665556 4222222222222 5555555555554444"
    " 5105105105105100 5200828282828210 2223003122003222 378282246310005 371449635398431 378734493671000"
    " 6011111111111117 6011000990139424 3056930009020004 36227206271667 30569309025904 38520000023237"
    " 3530111333300000 3566002020360505 6200000000000005 4000000000000002 4012000033330026 5454545454545454"
}
_CARD_EXAMPLES = {number for numbers in _CARD_EXAMPLES for number in numbers.split()}


def ibans(text: str) -> Iterator[Match]:
    """IBANs with the length of their country and a right ISO 7064 MOD 97-10 checksum."""
    position = 0
    while found := _IBAN.search(text, position):
        position = found.start() + 2
        length = IBAN_LENGTHS.get(text[found.start() : found.start() + 2].upper())
        if length is None:
            continue
        end, taken = found.start(), 0
        while taken < length and end < found.end():
            taken += text[end].isalnum()
            end += 1
        value = "".join(c for c in text[found.start() : end] if c.isalnum()).upper()
        if taken == length and not text[end : end + 1].isalnum() and _mod97(value):
            yield Match("iban", found.start(), end, f"IBAN ({value[:2]})", value, value in _IBAN_EXAMPLES)
            position = end


def _mod97(iban: str) -> bool:
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def cards(text: str) -> Iterator[Match]:
    """Payment card numbers: issuer range, length and Luhn checksum.

    About 2 of 100 random numbers of 16 digits pass these, so an undivided one beside a word such as "order" is let be.
    """
    for found in _CARD.finditer(text):
        number = digits(found.group())
        issuer = _issuer(number)
        if issuer is None or not luhn(number):
            continue
        said = cue(text, found.start(), found.end())
        divided = len(number) != found.end() - found.start()
        rare = issuer in ("Maestro", "other") or len(number) == 13
        if "card" in said or (not rare and (divided or "other" not in said)):
            yield Match("card", found.start(), found.end(), f"{issuer} card", number, _example_card(number))


def _example_card(number: str) -> bool:
    return number in _CARD_EXAMPLES or len(set(number[1:-1])) == 1


def luhn(number: str) -> bool:
    """The checksum of ISO/IEC 7812-1."""
    total = 0
    for place, character in enumerate(reversed(number)):
        value = int(character) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def _issuer(number: str) -> str | None:
    """The network that issues numbers of this beginning and length (ISO/IEC 7812 ranges as the networks publish)."""
    length, first6 = len(number), int(number[:6])
    first2, first3, first4 = first6 // 10_000, first6 // 1_000, first6 // 100
    if number[0] == "4" and length in (13, 16, 19):
        return "Visa"
    if length == 16 and (51 <= first2 <= 55 or 2221 <= first4 <= 2720):
        return "Mastercard"
    if length == 15 and first2 in (34, 37):
        return "American Express"
    if 16 <= length <= 19:
        if first4 == 6011 or 644 <= first3 <= 649 or first2 == 65:
            return "Discover"
        if 3528 <= first4 <= 3589:
            return "JCB"
        if first2 == 62:
            return "UnionPay"
        if length == 16 and 2200 <= first4 <= 2204:
            return "Mir"
    if (300 <= first3 <= 305 or first2 in (36, 38, 39)) and 14 <= length <= 19:
        return "Diners Club"
    if length == 15 and first4 in (1800, 2131):
        return "JCB"
    if first2 in (50, 56, 57, 58, 63, 67, 69) and 12 <= length <= 19:
        return "Maestro"
    if first2 == 35 and length == 16:
        return "other"
    return None


_ABROAD = re.compile(
    r"(?<![\w+])(?<!\d[.,:/\-])(?:\+|00[ -]?(?=[1-9]))[ (]?\d(?:[ \u00a0()./\-]{0,3}\d){6,16}"
    r"(?:[ ,]*(?:x|ext\.?) ?\d{1,6})?(?!\w)"
)
_AMERICAN = re.compile(
    r"(?<![\w+])(?<!\d[.,:/\- ])(?:1[ .-])?(?:\([2-9]\d\d\)[ -]?|[2-9]\d\d([ .-]))[2-9]\d\d(?(1)\1|[ .-])\d{4}"
    r"(?:[ ,]*(?:x|ext\.?) ?\d{1,6})?(?![\w])(?![.,:/\-]\d)"
)
_DOMESTIC = re.compile(
    r"(?<![\w+*\[])(?<!\d[.,:/\- ])(?:\(0\d{1,5}\)|0\d{1,5})[ \u00a0./\-]{1,3}\d(?:[ \u00a0./\-]?\d){4,10}"
    r"(?!\w)(?![.,:/\-]\d)"
)
_ANY = re.compile(r"(?<![\w+.])(?<!\d[.,:/\-])[(\d](?:[ \u00a0()./\-]{0,2}\d){6,14}(?!\w)(?![.,:/\-]\d)")
_DATE = re.compile(r"(?:19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?\b|\d\d?[-./]\d\d?[-./](?:19|20)\d\d\b|0\.\d")
_REGIONS = tuple("GB DE FR IT ES NL BE CH AT IE SE NO FI DK PL CZ PT GR RO AU NZ IN JP KR CN BR MX ZA TR IL UA".split())
# numbers that regulators set aside for fiction and examples
_FICTION = re.compile(
    r"\+1(?:[2-9]\d\d)?55501\d\d|\+1555\d{7}|\+441632960\d{3}|\+44(?:20794|1134960|1144960|1154960|1164960|1174960"
    r"|1214960|1314960|1414960|1514960|1614960)\d*|\+447700900\d{3}|\+61491570\d{3}"
)


def phones(text: str) -> Iterator[Match]:
    """Telephone numbers: international ones, and national ones that look like one or stand beside a word like "call".

    Whether a number can exist is asked of the numbering plans in the library `phonenumbers`.
    """
    for found in _ABROAD.finditer(text):
        yield from _abroad(text, found.start(), found.end())
    for found in _AMERICAN.finditer(text):
        said = cue(text, found.start(), found.end())
        if not said or "phone" in said or ("other" in said and "(" in found.group()):
            yield _phone(text, found.start(), found.end(), "US")
    for found in _DOMESTIC.finditer(text):
        said = cue(text, found.start(), found.end())
        if (not said or "phone" in said) and not _DATE.match(found.group()) and len(digits(found.group())) >= 9:
            region = _valid_in(found.group())
            if region:
                yield _phone(text, found.start(), found.end(), region)
    for found in _ANY.finditer(text):
        number = digits(found.group())
        if _DATE.match(found.group()) or not 7 <= len(number) <= 12 or len(set(number)) < 3:
            continue
        if "phone" not in cue(text, found.start(), found.end(), same_sentence=True):
            continue
        yield _phone(text, found.start(), found.end(), _valid_in(found.group(), ("US", *_REGIONS)))


def _abroad(text: str, start: int, end: int) -> Iterator[Match]:
    """The longest valid number that starts here: what follows a blank may be another number."""
    said = cue(text, start, end)
    if text[start] == "0" and said and "phone" not in said:
        return
    while end > start:
        written = text[start:end]
        if _valid_in(written, (None,)) is not None:
            yield _phone(text, start, end, None)
            return
        blank = max(written.rfind(" "), written.rfind("/"), written.rfind("\u00a0"))
        shorter = len(written[: max(blank, 0)].rstrip(" ./-("))
        if len(digits(written[:shorter])) < 7:
            break
        end = start + shorter
    whole = _ABROAD.match(text, start)
    if whole and "phone" in said and 8 <= len(digits(whole.group())) <= 15:
        yield _phone(text, start, whole.end(), None)


def _phone(text: str, start: int, end: int, region: str | None) -> Match:
    value = _e164(text[start:end], region)
    return Match("phone", start, end, "telephone number", value, bool(_FICTION.fullmatch(value)))


def _e164(written: str, region: str | None) -> str:
    if region is None:
        number = digits(written)
        return "+" + number.removeprefix("00") if written.lstrip()[:1] == "+" or number.startswith("00") else number
    import phonenumbers

    try:
        parsed = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return digits(written)
    return f"+{parsed.country_code}{parsed.national_number}"


@lru_cache(maxsize=4096)
def _valid_in(written: str, regions: tuple[str | None, ...] = _REGIONS) -> str | None:
    """The first of the regions in which the number can have been given out; "" for a number with its country code."""
    import phonenumbers

    if regions == (None,) and not written.startswith("+"):
        written = "+" + written.removeprefix("00").lstrip(" -")
    for region in regions:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(written, region)):
                return region or ""
        except phonenumbers.NumberParseException:
            continue
    return None
