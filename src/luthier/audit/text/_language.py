"""Findings on language: rows in another language than the rest, and answers in another than their questions."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from luthier.audit._finding import Dataset, Finding, Sample, finding, sample
from luthier.audit.text._minority import LEAST_ROWS
from luthier.data import Example

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

READ = 200  # characters
LEAST_LETTERS = 20
LEAST_WORDS = 4
RULE = 0.8  # share of the rows from which their language is the rule
SURE = 0.5  # probability of the language found
EXCLUDED = 0.005  # probability of the expected language, below which a row is not in it
ASKED = 5_000  # rows that say which language is the rule
KEPT = 6  # likeliest languages of a text that are looked at
TOLD = 0.2  # of the rows must be long and plain enough to be told
SHOWN = 5

_NO_WORDS = re.compile(r"https?://\S+|\S*[@/\\{}<>=_]\S*|[\d\W_]+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")  # written without spaces, or in syllables
# languages that a sentence does not tell from their neighbours; each stands for those after it
_KIN = (
    ("en", "pcm"), ("zh", "wuu", "yue"), ("no", "nb", "nn", "da"), ("hr", "bs", "sr", "sh"), ("id", "ms"),
    ("es", "ext", "an", "ast"), ("ar", "ary", "arz"),
)  # fmt: skip

# a row may ask for one: `Translate into French`
_NAMES = {
    "ar": "arabic", "cs": "czech", "da": "danish", "de": "german|deutsch", "el": "greek",
    "en": "english|englisch|anglais",
    "es": "spanish|español|espagnol|spanisch",
    "fi": "finnish", "fr": "french|français|französisch|francés",
    "he": "hebrew", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "it": "italian|italien",
    "ja": "japanese", "ko": "korean", "la": "latin", "nl": "dutch", "no": "norwegian", "pl": "polish",
    "pt": "portuguese|portug", "ro": "romanian", "ru": "russian", "sv": "swedish", "th": "thai", "tr": "turkish",
    "uk": "ukrainian", "vi": "vietnamese", "zh": "chinese|mandarin",
}  # fmt: skip


_PARTS: tuple[tuple[str, Callable[[Example], str]], ...] = (
    ("input", lambda e: e.input_text),
    ("output", lambda e: e.output),
)


class Languages:
    """Probabilities of the likeliest languages of one text; None for a text that is too short, or no running text."""

    def __init__(self) -> None:
        self._identifier = _identifier()

    def __call__(self, text: str) -> dict[str, float] | None:
        head = text[:READ]
        words = _words(_without_names(head), LEAST_LETTERS) or _words(head, 2 * LEAST_LETTERS)
        if words is None:
            return None
        return {language: p for language, p in self._identifier.rank(words)[:KEPT] if p >= EXCLUDED}


def _words(text: str, least: int) -> str | None:
    """The running words of a text; None where they have less than `least` letters or are fewer than four."""
    words = _NO_WORDS.sub(" ", text).strip()
    if 4 * len(_WIDE.findall(words)) >= least:
        return words
    return words if sum(map(str.isalpha, words)) >= least and len(words.split()) >= LEAST_WORDS else None


def _without_names(text: str) -> str:
    """A text without words that have a capital and begin no sentence: names are no evidence of a language."""
    if text.isupper():
        return text
    words = text.split()
    begins = [True, *(word[-1] in ".!?:" for word in words)]
    return " ".join(word for word, first in zip(words, begins, strict=False) if first or not word[0].isupper())


@cache
def _identifier() -> LanguageIdentifier:
    """py3langid's model (Lui and Baldwin 2012, retrained), which ships with it; read once, in about 2 s."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def check_language(data: Dataset) -> Iterable[Finding]:
    """Inputs and outputs that are not in the language of the rest; where there is none, outputs unlike their inputs."""
    rows = data.examples
    if len(rows) < LEAST_ROWS:
        return
    some = random.Random(0).sample(rows, min(len(rows), ASKED))
    languages = Languages()
    for part, text in _PARTS:
        rule = _rule([text(row) for row in some], languages)
        if rule is not None:
            yield from _strangers(rows, part, text, rule, languages)
    yield from _unlike_their_inputs(rows, some, languages)


def _rule(texts: Sequence[str], languages: Languages) -> str | None:
    """The language of nearly all of some texts that can be told; None where there is none, or they are no text."""
    if not _running(texts):
        return None
    known = Counter(_best(p) for text in texts if (p := languages(text)) is not None)
    if not known or known.total() < max(LEAST_ROWS / 2, TOLD * len(texts)):
        return None
    rule, count = known.most_common(1)[0]
    return rule if count >= RULE * known.total() else None


def _running(texts: Sequence[str]) -> bool:
    """Whether texts are, for the most part, neither data nor labels: JSON says nothing of a language."""
    return sum(t.lstrip()[:1] in "{[" for t in texts) * 2 < len(texts) and len(set(texts)) * 2 > len(texts)


def _best(probabilities: dict[str, float]) -> str:
    """The likeliest language; the first of its kin stands for all of them."""
    language = max(probabilities, key=probabilities.__getitem__)
    return next((kin[0] for kin in _KIN if language in kin), language)


def _probability(probabilities: dict[str, float], language: str) -> float:
    kin: tuple[str, ...] = next((kin for kin in _KIN if language in kin), (language,))
    return sum(probabilities.get(each, 0.0) for each in kin)


def _elsewhere(probabilities: dict[str, float], expected: str) -> str | None:
    """The language of a text that is not in the expected one; None where that is not plain."""
    language = _best(probabilities)
    if _probability(probabilities, language) < SURE or _probability(probabilities, expected) > EXCLUDED:
        return None
    return language


def _strangers(
    rows: Iterable[Example], part: str, text: Callable[[Example], str], rule: str, languages: Languages
) -> Iterator[Finding]:
    found = [
        (row, language)
        for row in rows
        if (told := languages(text(row))) is not None and (language := _elsewhere(told, rule))
        if part == "input" or not _asked_for(row, language)
    ]
    if found:
        yield _finding(found, f"{part}s that are not in `{rule}`, the language of the others", text)


def _asked_for(row: Example, language: str) -> bool:
    """Whether an input names the language of its output, or holds half of its words."""
    given = row.input_text.casefold()
    if re.search(_NAMES.get(language, "translat"), given):
        return True
    held = set(re.findall(r"\w+", given))
    words = re.findall(r"\w+", row.output.casefold())
    return sum(word in held for word in words) * 2 > len(words)


def _unlike_their_inputs(rows: Iterable[Example], some: Sequence[Example], languages: Languages) -> Iterator[Finding]:
    """Where several languages are asked in and answered in: outputs that are not in the language of their input."""
    if not all(_running([text(row) for row in some]) for _, text in _PARTS):
        return
    asked = Counter(pair[0] for row in some if (pair := _pair(row, languages)) is not None)
    if asked.total() < LEAST_ROWS or asked.most_common(1)[0][1] >= RULE * asked.total():
        return
    pairs, found = 0, []
    for row in rows:
        pair = _pair(row, languages)
        pairs += pair is not None
        language = None if pair is None else _elsewhere(pair[1], pair[0])
        if language is not None and not _asked_for(row, language):
            found.append((row, language))
    if 0 < len(found) <= (1 - RULE) * pairs:
        what = "outputs that are not in the language of their input, as the others are"
        yield _finding(found, what, lambda e: e.output)


def _pair(row: Example, languages: Languages) -> tuple[str, dict[str, float]] | None:
    """The language of an input and what its output reads like; None where one of them cannot be told."""
    given, answer = languages(row.input_text), languages(row.output)
    if given is None or answer is None or _probability(given, _best(given)) < SURE:
        return None
    return _best(given), answer


def _finding(found: Sequence[tuple[Example, str]], what: str, text: Callable[[Example], str]) -> Finding:
    counts = ", ".join(f"{language} ({n})" for language, n in Counter(language for _, language in found).most_common(6))
    samples: list[Sample] = [sample(row, text(row), f"reads like `{language}`") for row, language in found[:SHOWN]]
    fix = "look at them: remove or translate those that are not meant"
    return finding("language", "harms", [row for row, _ in found], f"{what}: {counts}", fix, samples=samples)
