"""Findings on language: rows in another language than the rest, and answers in another than their questions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from luthier.audit._finding import Dataset, Finding, Sample, finding, sample
from luthier.audit._minority import LEAST_ROWS
from luthier.data import Example

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

READ = 200  # characters
LEAST_LETTERS = 20
LEAST_WORDS = 4
RULE = 0.9  # share of the rows from which their language is the rule
SURE = 0.7  # probability of the language found
EXCLUDED = 0.01  # probability of the expected language, below which a row is not in it
TOLD = 0.2  # of the rows must be long and plain enough to be told
SHOWN = 5

_NO_WORDS = re.compile(r"https?://\S+|\S*[@/\\{}<>=_]\S*|[\d\W_]+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")  # written without spaces, or in syllables
# languages that a few sentences do not tell from their neighbours: nearest large language first
_KIN = ({"en", "pcm"}, {"zh", "wuu", "yue"}, {"no", "nb", "nn", "da"}, {"hr", "bs", "sr", "sh"}, {"id", "ms"})


# a row may ask for one: `Translate into French`
_NAMES = {
    "ar": "arabic", "cs": "czech", "da": "danish", "de": "german|deutsch", "el": "greek", "en": "english|englisch|anglais",
    "es": "spanish|español|espagnol|spanisch", "fi": "finnish", "fr": "french|français|französisch|francés",
    "he": "hebrew", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "it": "italian|italien",
    "ja": "japanese", "ko": "korean", "la": "latin", "nl": "dutch", "no": "norwegian", "pl": "polish",
    "pt": "portuguese|portug", "ro": "romanian", "ru": "russian", "sv": "swedish", "th": "thai", "tr": "turkish",
    "uk": "ukrainian", "vi": "vietnamese", "zh": "chinese|mandarin",
}  # fmt: skip


class Languages:
    """Probabilities of languages for one text; None for a text that is too short, or no running text."""

    def __init__(self) -> None:
        self._identifier = _identifier()

    def __call__(self, text: str) -> dict[str, float] | None:
        words = _NO_WORDS.sub(" ", text[:READ]).strip()
        wide = len(_WIDE.findall(words))
        letters = sum(map(str.isalpha, words))
        if letters < LEAST_LETTERS and 4 * wide < LEAST_LETTERS:
            return None
        if len(words.split()) < LEAST_WORDS and 4 * wide < LEAST_LETTERS:
            return None
        return dict(self._identifier.rank(words))


@cache
def _identifier() -> LanguageIdentifier:
    """py3langid's model (Lui and Baldwin 2012, retrained), which ships with it; read once, in about 2 s."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def check_language(data: Dataset) -> Iterable[Finding]:
    """Inputs and outputs that are not in the language of the rest; where there is none, outputs unlike their inputs."""
    if len(data.examples) < LEAST_ROWS:
        return
    told: dict[str, list[dict[str, float] | None]] = {}
    parts: tuple[tuple[str, Callable[[Example], str]], ...] = (
        ("input", lambda e: e.input_text),
        ("output", lambda e: e.output),
    )
    languages = Languages()
    for part, text in parts:
        texts = [text(e) for e in data.examples]
        told[part] = [languages(t) for t in texts] if _running(texts) else [None] * len(texts)
        yield from _strangers(data.examples, part, text, told[part])
    yield from _unlike_their_inputs(data.examples, told["input"], told["output"])


def _running(texts: Sequence[str]) -> bool:
    """Whether texts are, for the most part, neither data nor labels: JSON says nothing of a language."""
    return sum(t.lstrip()[:1] in "{[" for t in texts) * 2 < len(texts) and len(set(texts)) * 2 > len(texts)


def _best(probabilities: dict[str, float]) -> str:
    """The likeliest language; the first of its kin stands for all of them."""
    language = max(probabilities, key=probabilities.__getitem__)
    return next((min(kin) for kin in _KIN if language in kin), language)


def _probability(probabilities: dict[str, float], language: str) -> float:
    kin: set[str] = next((kin for kin in _KIN if language in kin), {language})
    return sum(probabilities.get(each, 0.0) for each in kin)


def _elsewhere(probabilities: dict[str, float], expected: str) -> str | None:
    """The language of a text that is not in the expected one; None where that is not plain."""
    language = _best(probabilities)
    if _probability(probabilities, language) < SURE or _probability(probabilities, expected) > EXCLUDED:
        return None
    return language


def _strangers(
    rows: Sequence[Example], part: str, text: Callable[[Example], str], told: Sequence[dict[str, float] | None]
) -> Iterator[Finding]:
    known = Counter(_best(p) for p in told if p is not None)
    if not known or known.total() < max(LEAST_ROWS / 2, TOLD * len(rows)):
        return
    rule, count = known.most_common(1)[0]
    if count < RULE * known.total():
        return
    found = [
        (row, language)
        for row, probabilities in zip(rows, told, strict=True)
        if probabilities is not None and (language := _elsewhere(probabilities, rule))
        if part == "input" or not _asked_for(row, language)
    ]
    if found:
        yield _finding(found, f"{part}s that are not in `{rule}`, the language of the others", text)


def _asked_for(row: Example, language: str) -> bool:
    """Whether an input names the language of its output, or holds half of its words."""
    given = row.input_text.casefold()
    if re.search(_NAMES.get(language, "translat"), given):
        return True
    words = re.findall(r"\w+", row.output.casefold())
    return sum(word in given for word in words) * 2 > len(words)


def _unlike_their_inputs(
    rows: Sequence[Example], inputs: Sequence[dict[str, float] | None], outputs: Sequence[dict[str, float] | None]
) -> Iterator[Finding]:
    """Where several languages are asked in and answered in: outputs that are not in the language of their input."""
    pairs = [
        (row, _best(given), answer)
        for row, given, answer in zip(rows, inputs, outputs, strict=True)
        if given is not None and answer is not None and _probability(given, _best(given)) >= SURE
    ]
    asked = Counter(language for _, language, _ in pairs)
    if len(pairs) < LEAST_ROWS or asked.most_common(1)[0][1] >= RULE * len(pairs):
        return
    found = [
        (row, language)
        for row, given, answer in pairs
        if (language := _elsewhere(answer, given)) and not _asked_for(row, language)
    ]
    if 0 < len(found) <= (1 - RULE) * len(pairs):
        yield _finding(
            found, "outputs that are not in the language of their input, as the others are", lambda e: e.output
        )


def _finding(found: Sequence[tuple[Example, str]], what: str, text: Callable[[Example], str]) -> Finding:
    counts = ", ".join(f"{language} ({n})" for language, n in Counter(l for _, l in found).most_common(6))
    samples: list[Sample] = [sample(row, text(row), f"reads like `{language}`") for row, language in found[:SHOWN]]
    fix = "look at them: remove or translate those that are not meant"
    return finding("language", "harms", [row for row, _ in found], f"{what}: {counts}", fix, samples=samples)
