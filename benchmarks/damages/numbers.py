"""Numbers of persons made from the published rules of their checksums, apart from any library that checks them.

Every maker gives a right number as people write it; `spoiled` changes one digit of the check, so that it is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Maker = Callable[[random.Random], str]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def digits(rng: random.Random, count: int, first: str = "0123456789") -> str:
    return rng.choice(first) + "".join(rng.choices("0123456789", k=count - 1))


def weighted(number: str, weights: Sequence[int]) -> int:
    return sum(int(d) * w for d, w in zip(number, weights, strict=True))


def luhn_digit(body: str) -> str:
    total = 0
    for place, d in enumerate(reversed(body)):
        doubled = int(d) * 2 if place % 2 == 0 else int(d)
        total += doubled // 10 + doubled % 10
    return str(-total % 10)


def birthday(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(1941, 2004), rng.randint(1, 12), rng.randint(1, 28)


def written(rng: random.Random, *forms: str) -> str:
    return rng.choice(forms)


def card(rng: random.Random) -> str:
    kind = rng.choice(["visa", "visa", "master", "master2", "amex", "discover", "jcb", "diners", "union"])
    beginning, length = {
        "visa": ("4" + digits(rng, 5), 16),
        "master": (rng.choice(["51", "52", "53", "54", "55"]) + digits(rng, 4), 16),
        "master2": (str(rng.randint(222_100, 272_099)), 16),
        "amex": (rng.choice(["34", "37"]) + digits(rng, 4), 15),
        "discover": ("6011" + digits(rng, 2), 16),
        "jcb": (str(rng.randint(3528, 3589)) + digits(rng, 2), 16),
        "diners": (rng.choice(["36", "38"]) + digits(rng, 4), 14),
        "union": ("62" + digits(rng, 4), rng.choice([16, 19])),
    }[kind]
    body = beginning + digits(rng, length - 1 - len(beginning))
    number = body + luhn_digit(body)
    sign = rng.choice([" ", "-", "", " "])
    if length == 16:
        return sign.join(number[i : i + 4] for i in range(0, 16, 4))
    if length in (14, 15):
        return sign.join((number[:4], number[4:10], number[10:]))
    return sign.join((number[:4], number[4:8], number[8:12], number[12:16], number[16:]))


def iban(rng: random.Random) -> str:
    country, shape = rng.choice(
        [
            ("DE", "n" * 18),
            ("GB", "aaaa" + "n" * 14),
            ("FR", "n" * 10 + "c" * 11 + "nn"),
            ("ES", "n" * 20),
            ("IT", "a" + "n" * 10 + "c" * 12),
            ("NL", "aaaa" + "n" * 10),
            ("BE", "n" * 12),
            ("CH", "n" * 5 + "c" * 12),
            ("AT", "n" * 16),
            ("PL", "n" * 24),
            ("SE", "n" * 20),
            ("NO", "n" * 11),
            ("IE", "aaaa" + "n" * 14),
            ("PT", "n" * 21),
            ("FI", "n" * 14),
            ("DK", "n" * 14),
            ("TR", "n" * 5 + "0" + "c" * 16),
            ("SA", "nn" + "c" * 18),
            ("MT", "aaaa" + "n" * 5 + "c" * 18),
            ("RO", "aaaa" + "c" * 16),
        ]
    )
    kinds = {"n": "0123456789", "a": LETTERS, "c": "0123456789", "0": "0"}
    account = "".join(rng.choice(kinds[k]) for k in shape)
    value = "".join(str(ord(c) - 55) if c.isalpha() else c for c in account + country + "00")
    number = f"{country}{98 - int(value) % 97:02d}{account}"
    form = rng.choice(["blocks", "blocks", "plain", "lower", "dashes"])
    if form == "plain":
        return number
    if form == "lower":
        return number.lower()
    return (" " if form == "blocks" else "-").join(number[i : i + 4] for i in range(0, len(number), 4))


def us_ssn(rng: random.Random) -> str:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    parts = f"{area:03d}", f"{rng.randint(1, 99):02d}", f"{rng.randint(1, 9999):04d}"
    return written(rng, "-".join(parts), "-".join(parts), " ".join(parts), "".join(parts))


def gb_nino(rng: random.Random) -> str:
    prefix = "BG"
    while prefix in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"):
        prefix = rng.choice("ABCEGHJKLMNOPRSTWXYZ") + rng.choice("ABCEGHJKLMNPRSTWXYZ")
    n, end = digits(rng, 6), rng.choice("ABCD")
    return written(rng, f"{prefix}{n}{end}", f"{prefix} {n[:2]} {n[2:4]} {n[4:]} {end}")


def gb_nhs(rng: random.Random) -> str:
    check = 10
    while check == 10:
        body = digits(rng, 9, "4679")
        check = (11 - weighted(body, range(10, 1, -1)) % 11) % 11
    number = body + str(check)
    return written(rng, number, f"{number[:3]} {number[3:6]} {number[6:]}")


def de_idnr(rng: random.Random) -> str:
    order = rng.sample("0123456789", 9)
    body = [*order, order[rng.randrange(9)]]
    rng.shuffle(body)
    while body[0] == "0":
        rng.shuffle(body)
    product = 10
    for d in body:
        total = (int(d) + product) % 10 or 10
        product = total * 2 % 11
    number = "".join(body) + str((11 - product) % 10)
    return written(rng, number, f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}")


def fr_nir(rng: random.Random) -> str:
    year, month, _ = birthday(rng)
    body = f"{rng.choice('12')}{year % 100:02d}{month:02d}{rng.randint(1, 95):02d}{rng.randint(1, 899):03d}"
    body += f"{rng.randint(1, 999):03d}"
    if body[5:7] == "20":
        body = body[:5] + "21" + body[7:]
    key = f"{97 - int(body) % 97:02d}"
    b = body
    return written(rng, body + key, f"{b[0]} {b[1:3]} {b[3:5]} {b[5:7]} {b[7:10]} {b[10:]} {key}")


def es_dni(rng: random.Random) -> str:
    n = digits(rng, 8, "234567")
    letter = "TRWAGMYFPDXBNJZSQVHLCKE"[int(n) % 23]
    return written(rng, n + letter, f"{n}-{letter}", f"{n[:2]}.{n[2:5]}.{n[5:]}-{letter}")


def es_nie(rng: random.Random) -> str:
    first, n = rng.choice("XYZ"), digits(rng, 7)
    letter = "TRWAGMYFPDXBNJZSQVHLCKE"[int(str("XYZ".index(first)) + n) % 23]
    return written(rng, f"{first}{n}{letter}", f"{first}-{n}-{letter}")


def it_codice(rng: random.Random) -> str:
    year, month, day = birthday(rng)
    consonants = "BCDFGLMNPRSTVZ"
    body = "".join(rng.choices(consonants, k=6)) + f"{year % 100:02d}" + "ABCDEHLMPRST"[month - 1]
    body += f"{day + rng.choice([0, 40]):02d}" + rng.choice("ABCDEFGHILM") + f"{rng.randint(1, 899):03d}"
    odd = dict(
        zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True),
        **dict(
            zip(
                LETTERS,
                (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
                strict=True,
            )
        ),
    )
    total = sum(odd[c] if i % 2 == 0 else (int(c) if c.isdigit() else LETTERS.index(c)) for i, c in enumerate(body))
    return body + LETTERS[total % 26]


def nl_bsn(rng: random.Random) -> str:
    check = 10
    while check == 10:
        body = digits(rng, 8, "12345")
        check = weighted(body, range(9, 1, -1)) % 11
    number = body + str(check)
    return written(rng, number, f"{number[:4]}.{number[4:6]}.{number[6:]}", f"{number[:3]} {number[3:6]} {number[6:]}")


def be_nn(rng: random.Random) -> str:
    year, month, day = birthday(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{rng.randint(1, 997):03d}"
    check = f"{97 - int(('2' if year >= 2000 else '') + body) % 97:02d}"
    return written(rng, body + check, f"{body[:2]}.{body[2:4]}.{body[4:6]}-{body[6:]}.{check}")


def pl_pesel(rng: random.Random) -> str:
    year, month, day = birthday(rng)
    body = f"{year % 100:02d}{month + (20 if year >= 2000 else 0):02d}{day:02d}{digits(rng, 4)}"
    return body + str(-weighted(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10)


def pt_nif(rng: random.Random) -> str:
    body = digits(rng, 8, "12")
    check = 11 - weighted(body, range(9, 1, -1)) % 11
    number = body + str(0 if check > 9 else check)
    return written(rng, number, f"{number[:3]} {number[3:6]} {number[6:]}")


def se_personnummer(rng: random.Random) -> str:
    year, month, day = birthday(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{digits(rng, 3)}"
    number = f"{body[:6]}-{body[6:]}{luhn_digit(body)}"
    return written(rng, number, f"{year // 100}{number}")


def no_fodselsnummer(rng: random.Random) -> str:
    while True:
        year, month, day = birthday(rng)
        serial = rng.randint(0, 499) if year < 2000 else rng.randint(500, 999)
        body = f"{day:02d}{month:02d}{year % 100:02d}{serial:03d}"
        one = -weighted(body, (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11
        two = -weighted(body + str(one), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11 if one < 10 else 10
        if two < 10:
            return written(rng, f"{body}{one}{two}", f"{body[:6]} {body[6:]}{one}{two}")


def fi_hetu(rng: random.Random) -> str:
    year, month, day = birthday(rng)
    date, serial = f"{day:02d}{month:02d}{year % 100:02d}", f"{rng.randint(2, 899):03d}"
    return f"{date}{'A' if year >= 2000 else '-'}{serial}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(date + serial) % 31]}"


def br_cpf(rng: random.Random) -> str:
    body = digits(rng, 9)
    for length in (10, 11):
        rest = weighted(body, range(length, 1, -1)) % 11
        body += str(0 if rest < 2 else 11 - rest)
    return written(rng, f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}", body)


def in_aadhaar(rng: random.Random) -> str:
    def times(a: int, b: int) -> int:  # of the dihedral group of the pentagon (Verhoeff 1969)
        if a < 5:
            return (a + b) % 5 + (5 if b >= 5 else 0)
        return (a - b) % 5 + (0 if b >= 5 else 5)

    swap = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    body = digits(rng, 11, "3456789")
    for check in "0123456789":
        total = 0
        for place, d in enumerate(reversed(body + check)):
            value = int(d)
            for _ in range(place % 8):
                value = swap[value]
            total = times(total, value)
        if total == 0:
            number = body + check
    return written(rng, f"{number[:4]} {number[4:8]} {number[8:]}", number)


def au_tfn(rng: random.Random) -> str:
    while True:
        number = digits(rng, 9, "1234567")
        if weighted(number, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0:
            return written(rng, number, f"{number[:3]} {number[3:6]} {number[6:]}")


def ca_sin(rng: random.Random) -> str:
    body = digits(rng, 8, "124567")
    number = body + luhn_digit(body)
    return written(rng, f"{number[:3]}-{number[3:6]}-{number[6:]}", f"{number[:3]} {number[3:6]} {number[6:]}", number)


def ch_ahv(rng: random.Random) -> str:
    body = "756" + digits(rng, 9)
    n = body + str(-weighted(body, (1, 3) * 6) % 10)
    return written(rng, f"{n[:3]}.{n[3:7]}.{n[7:11]}.{n[11:]}", n)


def cz_rc(rng: random.Random) -> str:
    while True:
        year, month, day = birthday(rng)
        year = max(year, 1955)
        body = f"{year % 100:02d}{month + rng.choice([0, 50]):02d}{day:02d}{digits(rng, 3)}"
        if int(body) % 11 < 10:
            return f"{body[:6]}/{body[6:]}{int(body) % 11}"


def tr_kimlik(rng: random.Random) -> str:
    body = digits(rng, 9, "123456789")
    n = [int(d) for d in body]
    ten = (sum(n[::2]) * 7 - sum(n[1:8:2])) % 10
    return f"{body}{ten}{(sum(n) + ten) % 10}"


def ro_cnp(rng: random.Random) -> str:
    year, month, day = birthday(rng)
    first = rng.choice("56" if year >= 2000 else "12")
    body = f"{first}{year % 100:02d}{month:02d}{day:02d}{rng.randint(1, 46):02d}{rng.randint(1, 999):03d}"
    rest = weighted(body, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return body + str(1 if rest == 10 else rest)


def za_id(rng: random.Random) -> str:
    year, month, day = birthday(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{digits(rng, 4)}{rng.choice('01')}8"
    number = body + luhn_digit(body)
    return written(rng, number, f"{number[:6]} {number[6:10]} {number[10:]}")


def cn_id(rng: random.Random) -> str:
    year, month, day = birthday(rng)
    body = f"{rng.choice(['110101', '310104', '110102', '310101'])}{year}{month:02d}{day:02d}{digits(rng, 3)}"
    total = weighted(body, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))
    return body + "10X98765432"[total % 11]


def ie_pps(rng: random.Random) -> str:
    body = digits(rng, 7)
    return body + "WABCDEFGHIJKLMNOPQRSTUV"[weighted(body, range(8, 1, -1)) % 23]


def cl_rut(rng: random.Random) -> str:
    body = str(rng.randint(5_000_000, 25_000_000))
    total = sum(int(d) * (2 + i % 6) for i, d in enumerate(reversed(body)))
    check = "0K987654321"[total % 11]
    return f"{int(body):,}-{check}".replace(",", ".")


def hr_oib(rng: random.Random) -> str:
    body, product = digits(rng, 10), 10
    for d in body:
        product = ((int(d) + product) % 10 or 10) * 2 % 11
    return body + str((11 - product) % 10)


NATIONAL: dict[str, Maker] = {  # by what people call it
    "social security number": us_ssn,
    "SSN": us_ssn,
    "National Insurance number": gb_nino,
    "NHS number": gb_nhs,
    "Steuer-ID": de_idnr,
    "numéro de sécurité sociale": fr_nir,
    "DNI": es_dni,
    "NIE": es_nie,
    "codice fiscale": it_codice,
    "BSN": nl_bsn,
    "rijksregisternummer": be_nn,
    "PESEL": pl_pesel,
    "NIF": pt_nif,
    "personnummer": se_personnummer,
    "fødselsnummer": no_fodselsnummer,
    "henkilötunnus": fi_hetu,
    "CPF": br_cpf,
    "Aadhaar": in_aadhaar,
    "Aadhaar number": in_aadhaar,
    "tax file number": au_tfn,
    "social insurance number": ca_sin,
    "AHV number": ch_ahv,
    "rodné číslo": cz_rc,
    "TC kimlik": tr_kimlik,
    "CNP": ro_cnp,
    "South African ID number": za_id,
    "resident identity card number": cn_id,
    "PPS number": ie_pps,
    "RUT": cl_rut,
    "OIB": hr_oib,
}


def spoiled(number: str, rng: random.Random) -> str:
    """The number with one digit of its second half changed, so that no checksum of one digit holds any more."""
    places = [i for i, c in enumerate(number) if c.isdigit()][-5:]
    place = rng.choice(places[:-1])
    return number[:place] + str((int(number[place]) + rng.randint(1, 9)) % 10) + number[place + 1 :]
