"""Pieces of a text that can carry a fact: numbers, dates, codes, names and other content words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["number", "code", "name", "word"]

# Han, kana and Thai run on without spaces; pairs of characters stand for their words.
_RUN_ON = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_DATE_FORM = r"\d{1,4}[./-]\d{1,2}[./-]\d{2,4}(?!\d)"
_LETTERS = rf"[^\W_{_RUN_ON}]+"
# A hyphen, slash or plus between two numbers is arithmetic or a range, so these are two pieces.
_PIECE = re.compile(rf"[{_RUN_ON}]{{1,2}}|{_DATE_FORM}|{_LETTERS}(?:(?:['’.,:@]|(?<!\d)-|-(?!\d)){_LETTERS})*")
_LATER_WORD = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")
_PART = re.compile(r"[^\W_]+")
_RUN = re.compile(r"\d+|[^\W\d_]+")
_ENDS_SENTENCE = re.compile(r"(?:^|[.!?:;\n\"“(\[{>*#-])\s*[\"'“‘(\[{*#-]*\s*$")
_AMOUNT = re.compile(r"(\d+(?:[.,]\d+)*)(st|nd|rd|th|k|m|bn|s|%|x)?$")
_SCALES = {"k": 1e3, "m": 1e6, "bn": 1e9}

_NUMBER_WORDS = {
    word: float(value)
    for value, words in enumerate(
        (
            "zero",
            "one first once single",
            "two second twice pair double both",
            "three third thrice triple",
            "four fourth quarter quadruple",
            "five fifth",
            "six sixth",
            "seven seventh",
            "eight eighth",
            "nine ninth",
            "ten tenth",
            "eleven eleventh",
            "twelve twelfth dozen",
            "thirteen thirteenth",
            "fourteen fourteenth",
            "fifteen fifteenth",
            "sixteen sixteenth",
            "seventeen seventeenth",
            "eighteen eighteenth",
            "nineteen nineteenth",
            "twenty twentieth",
        )
    )
    for word in words.split()
} | {"thirty": 30.0, "forty": 40.0, "fifty": 50.0, "sixty": 60.0, "seventy": 70.0, "eighty": 80.0, "ninety": 90.0}
_NUMBER_WORDS |= {"half": 0.5, "hundred": 100.0, "thousand": 1e3, "million": 1e6, "billion": 1e9}

_VAGUE = frozenset("zero one first once single second twice pair double both half quarter".split())

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sep sept",
            "october oct",
            "november nov",
            "december dec",
        ),
        start=1,
    )
    for name in names.split()
}
WEEKDAYS = frozenset("monday tuesday wednesday thursday friday saturday sunday".split())

# The words that hold sentences together, by language: they state nothing, and they tell languages apart.
FUNCTION_WORDS = {
    "en": """a about above after again all also although am an and another any are as at be because been before being
        below between but by can cannot could did do does doing done down during each either else etc ever every few
        for from further get gets got had has have having he her here hers herself him himself his how however i if in
        into is it its itself just least less let like made make makes many may me might more most much must my myself
        neither no nor not now of off often on only onto or other others our ours out over own per please quite rather
        really same shall she should since so some something such than that the their theirs them themselves then there
        therefore these they this those though through thus to too under until up upon us used using very via was we
        well were what when where whether which while who whom whose why will with within without would yes yet you
        your yours yourself it's i'm don't doesn't isn't can't i'd i'll you're we're that's there's let's""",
    "de": """der die das und ist nicht ein eine einen einem einer zu mit auf für von den dem des sich auch als es ich
        wir sie ihr er wird werden sind war bei nach aus oder aber wie kann haben hat""",
    "fr": """le la les et est une des du dans pour que qui ne pas sur avec ce cette il elle nous vous je se sont au aux
        par plus ou mais comme être avoir son sa ses leur""",
    "es": """el los las y es una unos del en para que por con no se su sus lo como más pero al este esta son fue ha han
        muy también yo nos usted está""",
    "it": """il lo gli è di che e non per con una sono del della dei delle nel alla ma come più anche si ha questo
        questa io noi sua suo""",
    "pt": """o os as é não um uma do da dos das em para com por que se mais mas como ao à foi são eu nós seu sua você
        está também""",
    "nl": """de het een en van is niet dat op te zijn voor met die aan er om ook als bij maar naar uit wordt werd ik wij
        hij zij deze""",
    "sv": "och att det som en är på av för med den till inte har de ett om jag vi var från kan ska",
    "pl": "i w nie na się z do to że jest o jak po co dla przez ale od za tak są był być",
    "tr": "ve bir bu için ile de da ne çok daha var olarak gibi ben sen biz değil olan",
    "ru": "что это как для они был быть или если только при также есть чтобы уже можно который",
}
FUNCTION_WORDS = {language: " ".join(words.split()) for language, words in FUNCTION_WORDS.items()}
_BY_LANGUAGE = {language: frozenset(words.split()) for language, words in FUNCTION_WORDS.items()}
_LEAST_MARKS = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """A content word of a text: its characters [start, end), what it is compared by, and what kind it is."""

    text: str
    key: str
    start: int
    end: int
    kind: Kind

    @property
    def counted_as(self) -> str:
        """What it is counted by among answers: a code without its signs ("E-18" is "E18"), any other by its key."""
        return "".join(runs(self.key)) if self.kind == "code" else self.key

    @property
    def run_on(self) -> bool:
        """Whether it is a pair of characters of a script without spaces."""
        return self.text[0] >= "\u0e00"


def pieces(text: str) -> list[Piece]:
    """The content pieces of a text, in order; function words and single letters are none."""
    return list(_pieces(text))


def _pieces(text: str) -> Iterator[Piece]:
    capitals = _capitals_name(text)
    for match in _PIECE.finditer(text):
        word = match.group()
        key = plain(word)
        if len(key) < 2 and not key.isdigit() and word[0] < "\u0e00":
            continue
        if key in _BY_LANGUAGE["en"]:
            continue
        yield Piece(word, key, match.start(), match.end(), _kind(word, key, text, match.start(), capitals))


def words_of(text: str) -> list[str]:
    """All words of a text, function words too, in the form they are compared by."""
    return [plain(word) for word in _PIECE.findall(text)]


def _capitals_name(text: str) -> bool:
    """Whether capitals mark names here: not in titles and shouted text, where all words have them, nor in German."""
    if any(word.istitle() for word in _LATER_WORD.findall(text) if word.lower() in _BY_LANGUAGE["en"]):
        return False
    return not text.isupper() and language_of(text) != "de"


def _kind(word: str, key: str, text: str, start: int, capitals: bool) -> Kind:
    if any(c.isdigit() for c in key):
        return "number" if key[0].isdigit() and (value_of(key) is not None or set(key) <= _DATE) else "code"
    if key in _NUMBER_WORDS:
        return "word" if key in _VAGUE else "number"
    if (
        capitals
        and word[0].isupper()
        and (word[1:2].isupper() or not _ENDS_SENTENCE.search(text[max(0, start - 12) : start]))
    ):
        return "name"
    return "word"


_DATE = frozenset("0123456789.,:/-")


@lru_cache(maxsize=100_000)
def plain(text: str) -> str:
    """Compatibility forms, case, accents and possessives made one."""
    if text.isascii():
        folded = text.lower()
    else:
        decomposed = unicodedata.normalize("NFKD", text.casefold())
        folded = "".join(c for c in decomposed if not unicodedata.combining(c)).replace("’", "'")
    return folded.removesuffix("'s")


def value_of(key: str) -> float | None:
    """The number that a piece names ("1,000", "third", "80k"); None where it names none."""
    if key in _NUMBER_WORDS:
        return _NUMBER_WORDS[key]
    match = _AMOUNT.match(key)
    if match is None:
        return None
    digits, mark = match.groups()
    value = _digits(digits)
    return None if value is None else value * _SCALES.get(mark or "", 1.0)


def _digits(text: str) -> float | None:
    """The number that digits name: "1,234.5" is "1.234,5"; a lone comma before three digits parts thousands."""
    if text.count(",") + text.count(".") > 1:
        last = max(text.rfind(","), text.rfind("."))
        grouped = text.count(text[last]) > 1
        text = re.sub(r"[.,]", "", text) if grouped else re.sub(r"[.,]", "", text[:last]) + "." + text[last + 1 :]
    elif re.fullmatch(r"\d{1,3},\d{3}", text):
        text = text.replace(",", "")
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def parts(key: str) -> list[str]:
    """The runs of letters and digits of a piece: "well-known" is two words, "2024-03-05" three numbers."""
    return _PART.findall(key)


def runs(key: str) -> tuple[str, ...]:
    """The runs of letters and the runs of digits of a code: "e-18", "e18" and "e 18" have the same."""
    return tuple(_RUN.findall(key))


@lru_cache(maxsize=10_000)
def any_writing(code: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for a code, given as its runs, in either case, with up to two signs or spaces between the runs."""
    return re.compile(r"(?<![^\W_])" + r"[\W_]{0,2}".join(map(re.escape, code)) + r"(?![^\W_])", re.I)


def language_of(text: str) -> str | None:
    """The language whose function words are by far the most in a text; None where that is open."""
    words = words_of(text)
    counts = sorted(((sum(w in marks for w in words), name) for name, marks in _MARKS.items()), reverse=True)
    (most, name), (second, _) = counts[0], counts[1]
    return name if most >= _LEAST_MARKS and most > 2 * second else None


_MARKS = {name: frozenset(plain(word) for word in words) for name, words in _BY_LANGUAGE.items()}
