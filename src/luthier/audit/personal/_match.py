"""What is found in a text that should not be learned: a span, its kind, and words nearby that say what a number is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Kind = Literal[
    "secret",
    "password",
    "card",
    "iban",
    "national-id",
    "email",
    "phone",
    "birth-date",
    "address",
    "name",
    "network",
]


@dataclass(frozen=True, slots=True)
class Match:
    """A span of a text. `value` is the same for the same datum however it is written; `what` names its form.

    `documented`: a value that documentation reserves for examples, or one inside a placeholder: nobody's datum.
    """

    kind: Kind
    start: int
    end: int
    what: str
    value: str = field(repr=False)
    documented: bool = False


_EXTENDED = [chr(code) for code in range(0x100, 0x250)]  # letters of the Latin blocks beyond Western Europe
UPPER = "A-ZÀ-ÖØ-Þ" + "".join(filter(str.isupper, _EXTENDED))
LOWER = "a-zß-öø-ÿ" + "".join(filter(str.islower, _EXTENDED))
WORD = rf"[{UPPER}][{LOWER}]+"


# Words that say what a number beside them is: a kind, `id` for any national number, `id:` and the forms of one
# country, or `other` for numbers that are nobody's.
_WORDS: Mapping[str, str] = {
    "phone": "phone|telephone|tel|mobile|mobile number|cell|cellphone|call|call me|called|dial|ring|text me|sms"
    "|whatsapp|signal|fax|contact number|callback|reach me|reach us|telefon|telefonnummer|handy|handynummer"
    "|mobilnummer|rufnummer|anrufen|téléphone|portable|appelez|appeler|teléfono|móvil|celular|llámame|llamar"
    "|telefono|cellulare|chiamami|telefoon|telefoonnummer|mobiel|bel me|telefone|telemóvel|ligue|telefonu|komórka"
    "|zadzwoń|puhelin|ring mig|mobilnr|msisdn|hotline",
    "card": "card|card number|credit card|debit card|visa|mastercard|amex|american express|discover|maestro|jcb"
    "|diners|unionpay|kreditkarte|kartennummer|karte|carte|carte bancaire|tarjeta|carta|creditcard|cartão|karty|pan"
    "|cvv|cvc|expiry|expires|exp",
    "account": "iban|account|account number|konto|kontonummer|compte|cuenta|conto|rekening|rekeningnummer|conta",
    "birth": "dob|date of birth|birth date|birthdate|birthday|born|geburtsdatum|geboren",
    "id": "national id|national identity|identity number|identity card|identity document|identification number"
    "|identity no|id card|personal id|personal identity|personal identification|personal number|tax id"
    "|tax number|tax identification|taxpayer|tin|citizen id|citizen number|insurance number"
    "|social security number|passport|ausweis|ausweisnummer|personalausweis|government id",
    "id:us": "ssn|social security|itin|social security no|social",
    "id:gb": "nino|national insurance|ni number|nhs|nhs number|nhs no",
    "id:ca": "sin|social insurance",
    "id:de": "steuer-id|steueridentifikationsnummer|steuernummer|steuer-identifikationsnummer|idnr|tax id",
    "id:fr": "nir|numéro de sécurité sociale|sécurité sociale|insee|numero de securite sociale|carte vitale",
    "id:es": "dni|nie|nif",
    "id:it": "codice fiscale|cod. fiscale",
    "id:nl": "bsn|burgerservicenummer|sofinummer",
    "id:be": "rijksregisternummer|rijksregister|numéro national|registre national|nrn|insz|niss",
    "id:pl": "pesel",
    "id:pt": "nif|contribuinte|cartão de cidadão",
    "id:se": "personnummer|samordningsnummer",
    "id:no": "fødselsnummer|fodselsnummer|personnummer",
    "id:dk": "cpr|cpr-nummer|personnummer",
    "id:fi": "hetu|henkilötunnus",
    "id:br": "cpf|cadastro de pessoas físicas",
    "id:in": "aadhaar|aadhar|uidai|pan card|pan number",
    "id:au": "tfn|tax file number|tax file",
    "id:nz": "ird",
    "id:at": "social insurance|sozialversicherungsnummer|svnr|sv-nummer",
    "id:ch": "ahv|ahv-nummer|ahvn13|avs|avs-nummer",
    "id:cz": "rodné číslo|rodne cislo|rodné čislo",
    "id:tr": "tc kimlik|tckn|kimlik",
    "id:ro": "cnp|cod numeric personal",
    "id:bg": "egn|егн",
    "id:hr": "oib",
    "id:gr": "amka|αμκα",
    "id:ee": "isikukood",
    "id:lt": "asmens kodas",
    "id:ie": "pps|ppsn|pps number",
    "id:is": "kennitala",
    "id:il": "teudat zehut",
    "id:za": "south african id|sa id",
    "id:cn": "身份证|resident identity",
    "id:kr": "rrn|주민등록번호|resident registration",
    "id:mx": "curp|rfc",
    "id:cl": "rut|run",
    "id:ar": "dni|cuit|cuil",
    "id:my": "nric|mykad",
    "id:id": "nik|ktp",
    "id:sg": "nric|fin number|singpass",
    "id:th": "thai id",
    "id:si": "emšo|emso|jmbg",
    "id:ru": "inn|инн",
    "id:jp": "mynumber|individual number|マイナンバー",
    "other": "order|order number|order no|order id|invoice|tracking|tracking number|shipment|parcel|ticket|case"
    "|case number|reference|reference number|ref|transaction|transaction id|booking|confirmation|sku|isbn|ean|gtin|upc"
    "|barcode|serial|serial number|part|part number|item|product|version|build|release|timestamp|epoch|unix time|commit"
    "|hash|checksum|md5|sha1|sha256|coordinates|latitude|longitude|lat|lon|lng|imei|iccid|model|model number|batch|lot"
    "|port|page|room|flight|bestellnummer|bestellung|rechnung|rechnungsnummer|sendungsnummer|commande|facture|pedido"
    "|factura|ordine|fattura|uuid|guid|revision|log|session|process|pid|error|issn|doi|meter|claim|policy",
}

_LEFT, _RIGHT = 48, 40  # characters beside a number in which such a word is looked for

_MEANING: dict[str, frozenset[str]] = {}
for _kind, _list in _WORDS.items():
    for _word in _list.split("|"):
        _key = re.sub(r"[\s_\-.]+", "", _word.lower())
        _MEANING[_key] = _MEANING.get(_key, frozenset()) | {_kind}

_CUE = re.compile(
    # whole words, also as parts of snake_case and camelCase keys
    r"(?:(?<![^\W\d_])|(?-i:(?<=[a-z])(?=[A-Z])))(?P<word>"
    + "|".join(
        re.sub(r"[\s\-]+", r"[\\s_\\-]*", re.escape(word).replace("\\ ", " ").replace("\\-", "-"))
        for word in sorted({w for words in _WORDS.values() for w in words.split("|")}, key=lambda w: (-len(w), w))
    )
    + r")s?(?-i:(?![a-zà-ÿ]))(?:[\s_\-]*(?:card|number|no|nr|code)(?![^\W\d_]))*",
    re.IGNORECASE,
)


_LINK = re.compile(
    r"\W{0,3}(?:is|are|was|as|=|ist|est|es|é|è|jest|är)?\s?(?:my|our|his|her|their|the|your|a|mein|mon)?\s?"
)
_BREAK = re.compile(r"[.!?;]\s|\n|\",")  # between sentences, and between the fields of a record
_BESIDE = 12  # characters: a word before the number that is this near is not given up for one after it


def cue(text: str, start: int, end: int, *, same_sentence: bool = False) -> frozenset[str]:
    """What the nearest telling word beside a number says it is; empty if there is none.

    That is the last one before it, unless the number "is my" something else and that one is far or in another sentence.
    An order or a version in another sentence says nothing about the number.
    """
    before = list(_CUE.finditer(text, max(0, start - _LEFT), start))
    after = _CUE.search(text, end, min(len(text), end + _RIGHT))
    linked = after is not None and _LINK.fullmatch(text, end, after.start()) is not None
    if before:
        last = before[-1]
        meaning, apart = _meaning(last), _BREAK.search(text, last.end(), start) is not None
        far = apart or start - last.end() > _BESIDE
        if not (linked and far) and not (apart and (same_sentence or "other" in meaning)):
            return meaning
    if after is None or (same_sentence and _BREAK.search(text, end, after.start())):
        return frozenset()
    return _meaning(after)


def _meaning(found: re.Match[str]) -> frozenset[str]:
    key = re.sub(r"[\s_\-.]+", "", found["word"].lower())
    return _MEANING.get(key) or _MEANING.get(key.removesuffix("s"), frozenset())


@lru_cache(maxsize=8)
def lowered(text: str) -> str:
    """The text in lower case, character by character, so that places in it are places in the text."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def places(text: str, words: Iterable[str]) -> Iterator[int]:
    """Where one of the words begins in a text, also inside of words. Much faster than a pattern of alternatives."""
    for word in words:
        place = text.find(word)
        while place >= 0:
            yield place
            place = text.find(word, place + 1)


def digits(text: str) -> str:
    """The decimal digits of a text."""
    return "".join(c for c in text if c in "0123456789")
