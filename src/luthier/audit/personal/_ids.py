"""National numbers of persons: their shapes, and the checksums of the library `python-stdnum`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from luthier.audit.personal._match import Match, cue

if TYPE_CHECKING:
    from stdnum.util import NumberValidationModule


class Form(NamedTuple):
    """A kind of number: its country, its name, the stdnum module that checks it, how it is written.

    In a shape 9 stands for a digit and A for a letter. `alone` shapes are told from other numbers without a word beside
    them: fewer than about 1 in 100 other numbers of that shape pass the check. `named` shapes need such a word.
    """

    country: str
    name: str
    module: str
    alone: str
    named: str = ""


FORMS = (
    Form("us", "SSN", "us.ssn", "999-99-9999", "999999999|999 99 9999"),
    Form("us", "ITIN", "us.itin", "", "999-99-9999|999999999"),
    Form("gb", "National Insurance number", "", "AA999999A|AA 99 99 99 A|AA 999999 A|AA-99-99-99-A|AA99 99 99A"),
    Form("gb", "temporary National Insurance number", "gb", "", "AA999999A|AA 99 99 99 A|AA 999999 A"),
    Form("gb", "NHS number", "gb.nhs", "", "9999999999|999 999 9999|999-999-9999"),
    Form("ca", "SIN", "ca.sin", "", "999-999-999|999 999 999|999999999"),
    Form("de", "Steuer-ID", "de.idnr", "99 999 999 999", "99999999999|99999 999999|999 999 999 99"),
    Form("fr", "NIR", "fr.nir", "999999999999999|9 99 99 99 999 999 99|9 99 99 9A 999 999 99|9999999999999 99"),
    Form("es", "DNI", "es.dni", "99999999A|99999999-A|99.999.999-A|99999999 A|99.999.999A|99.999.999 A"),
    Form("es", "NIE", "es.nie", "A9999999A|A-9999999-A|A 9999999 A|A9999999-A|A-9999999A|A9.999.999-A"),
    Form("it", "codice fiscale", "it.codicefiscale", "AAAAAA99A99A999A|AAA AAA 99A99 A999A|AAA AAA 99A99 A999 A"),
    Form("nl", "BSN", "nl.bsn", "", "999999999|9999.99.999|999 999 999|9999 99 999|999-999-999|99999999"),
    Form(
        "be", "rijksregisternummer", "be.nn", "99.99.99-999.99|99999999999|999999-999-99|99.99.99.999.99|999999 999 99"
    ),
    Form("pl", "PESEL", "pl.pesel", "99999999999"),
    Form("pt", "NIF", "pt.nif", "", "999999999|999 999 999|999.999.999"),
    Form("pt", "cartão de cidadão", "pt.cc", "99999999 9 AA9|999999999AA9|99999999 9AA9"),
    Form("se", "personnummer", "se.personnummer", "999999-9999|99999999-9999|999999+9999|999999999999", "9999999999"),
    Form("no", "fødselsnummer", "no.fodselsnummer", "99999999999|999999 99999"),
    Form("dk", "CPR number", "dk.cpr", "", "999999-9999|9999999999|999999 9999"),
    Form("fi", "henkilötunnus", "fi.hetu", "999999-999A|999999A999A|999999-9999|999999+999A|999999A9999|999999+9999"),
    Form("br", "CPF", "br.cpf", "999.999.999-99|999999999-99", "99999999999|999 999 999 99"),
    Form("in", "Aadhaar", "in_.aadhaar", "", "9999 9999 9999|999999999999|9999-9999-9999"),
    Form("in", "PAN", "in_.pan", "AAAAA9999A"),
    Form("au", "TFN", "au.tfn", "", "999999999|999 999 999|99999999"),
    Form("nz", "IRD number", "nz.ird", "", "99999999|999999999|99-999-999|999-999-999"),
    Form("at", "Sozialversicherungsnummer", "at.vnr", "9999 999999", "9999999999|9999-999999"),
    Form("ch", "AHV number", "ch.ssn", "999.9999.9999.99|9999999999999|999 9999 9999 99"),
    Form("cz", "rodné číslo", "cz.rc", "999999/9999", "9999999999"),
    Form("tr", "kimlik no", "tr.tckimlik", "", "99999999999|999 999 999 99"),
    Form("ro", "CNP", "ro.cnp", "9999999999999"),
    Form("bg", "EGN", "bg.egn", "", "9999999999"),
    Form("hr", "OIB", "hr.oib", "", "99999999999"),
    Form("gr", "AMKA", "gr.amka", "99999999999", "999999 99999"),
    Form("ee", "isikukood", "ee.ik", "99999999999"),
    Form("lt", "asmens kodas", "lt.asmens", "99999999999"),
    Form("ie", "PPS number", "ie.pps", "9999999AA", "9999999A|9999999 A|9999999 AA"),
    Form("is", "kennitala", "is_.kennitala", "999999-9999", "9999999999"),
    Form("il", "identity number", "il.idnr", "", "999999999|99999999-9"),
    Form("za", "identity number", "za.idnr", "9999999999999|999999 9999 999|999999 9999 99 9"),
    Form("cn", "resident identity number", "cn.ric", "999999999999999999|99999999999999999A"),
    Form("kr", "resident registration number", "kr.rrn", "999999-9999999", "9999999999999"),
    Form("mx", "CURP", "mx.curp", "AAAA999999AAAAAA99|AAAA999999AAAAAAA9"),
    Form("cl", "RUT", "cl.rut", "99.999.999-9|99.999.999-A|9.999.999-9|9.999.999-A", "99999999-9|99999999-A|9999999-9"),
    Form("ar", "CUIT", "ar.cuit", "99-99999999-9", "99999999999"),
    Form("ar", "DNI", "ar.dni", "", "99.999.999|99999999"),
    Form("my", "NRIC", "my.nric", "999999-99-9999", "999999999999"),
    Form("id", "NIK", "id.nik", "", "9999999999999999"),
    Form("th", "identity number", "th.pin", "9-9999-99999-99-9|9 9999 99999 99 9", "9999999999999"),
    Form("si", "EMŠO", "si.emso", "9999999999999"),
    Form("ru", "INN", "ru.inn", "", "999999999999"),
    Form("sg", "NRIC", "sg", "A9999999A"),
    Form("jp", "My Number", "jp.in_", "", "999999999999|9999 9999 9999|9999-9999-9999"),
)


def _by_shape() -> Mapping[str, tuple[tuple[Form, bool], ...]]:
    shapes: dict[str, list[tuple[Form, bool]]] = {}
    for form in FORMS:
        for shape in filter(None, form.alone.split("|")):
            shapes.setdefault(shape, []).append((form, True))
        for shape in filter(None, form.named.split("|")):
            shapes.setdefault(shape, []).append((form, False))
    return {shape: tuple(forms) for shape, forms in shapes.items()}


_SHAPES = _by_shape()
_SHORTEST, _LONGEST = min(map(len, _SHAPES)), max(map(len, _SHAPES))
_MOST_PARTS = max(len(re.findall("[9A]+", shape)) for shape in _SHAPES)
# parts of letters and digits, one sign between them; a part without a digit is one to four capitals
_CHAIN = re.compile(
    r"(?<![\w+])(?:[A-Z]{1,3}[ .-]){0,2}[A-Za-z]{0,6}\d[\dA-Za-z]*"
    r"(?:[ .\-/+][A-Za-z]{0,5}\d[\dA-Za-z]*){0,12}(?:[ .-][A-Z]{1,2}\d?(?!\w))?"
)
_PART = re.compile(r"[A-Za-z0-9]+")
_SHAPE = str.maketrans(
    {c: "9" for c in "0123456789"} | {c: "A" for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"}
)
_NINO = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]")


def national_ids(text: str) -> Iterator[Match]:
    """National numbers whose checksum is right, or rules where there is none (SSN, National Insurance number)."""
    for chain in _CHAIN.finditer(text):
        if chain.end() - chain.start() < 8:
            continue
        yield from _in_chain(text, [part.span() for part in _PART.finditer(text, chain.start(), chain.end())])


def _in_chain(text: str, parts: list[tuple[int, int]]) -> Iterator[Match]:
    """Runs of parts that have the shape of a number; a sign other than a blank binds a part to the next."""
    first = 0
    while first < len(parts):
        start, used = parts[first][0], 0
        if first == 0 or text[start - 1] == " ":
            for last in range(min(first + _MOST_PARTS, len(parts)) - 1, first - 1, -1):
                end = parts[last][1]
                if not _SHORTEST <= end - start <= _LONGEST or _bound(text, end):
                    continue
                match = _identify(text, start, end)
                if match is not None:
                    yield match
                    used = last - first
                    break
        first += 1 + used


def _bound(text: str, end: int) -> bool:
    after = text[end : end + 2]
    return after[:1].isalnum() or (after[:1] in ".,-/+_:" and after[1:].isalnum())


def _identify(text: str, start: int, end: int) -> Match | None:
    written = text[start:end]
    forms = _SHAPES.get(written.translate(_SHAPE))
    if forms is None or (start > 0 and text[start - 1] in "#.,/-"):
        return None
    compact = "".join(c for c in written if c.isalnum() or c == "+").upper()
    said = cue(text, start, end)
    if not said and text[start - 1 : start] == "(" and text[max(start - 2, 0) : start - 1].isalnum():
        return None  # the argument of a call
    country = any(word.startswith("id:") for word in said)  # the word names a country's number, not any
    for form, alone in forms:
        named = ("id" in said and not country) or f"id:{form.country}" in said
        free = not said or any(s.startswith(("id", "birth")) for s in said)
        if (named or (alone and free)) and _valid(form.module, compact, written.upper()):
            value = compact.replace("+", "")
            return Match("national-id", start, end, f"{form.name} ({form.country.upper()})", value)
    return None


@lru_cache(maxsize=4096)
def _valid(module: str, compact: str, written: str) -> bool:
    if not module:
        return bool(_NINO.fullmatch(compact))
    if module == "gb":
        return compact[:2] in ("ZZ", "TN") and compact[2:8].isdigit()
    if module == "sg":
        return _is_nric(compact)
    if module == "in_.pan" and compact[3:4] != "P":  # the fourth letter tells persons from firms
        return False
    number = written if module in ("fi.hetu", "se.personnummer", "is_.kennitala") else compact
    return bool(_checker(module).is_valid(number))


@cache
def _checker(module: str) -> NumberValidationModule:
    from stdnum.util import get_cc_module

    country, _, name = module.partition(".")
    checker = get_cc_module(country.removesuffix("_"), name)
    assert checker is not None  # the names in FORMS are those of the library; a test asks for each
    return checker


def _is_nric(number: str) -> bool:
    """Singapore: a letter for the century and the status, seven digits, a check letter (not in stdnum)."""
    if number[0] not in "STFG" or not number[1:8].isdigit():
        return False
    total = sum(int(d) * w for d, w in zip(number[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    total += 4 * (number[0] in "TG")
    return number[8] == ("JZIHGFEDCBA" if number[0] in "ST" else "XWUTRQPNMLK")[total % 11]
