"""Scorers that compare texts."""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from luthier.errors import ScorerError
from luthier.evaluate._records import Scored
from luthier.models import Constraint

_NUMBER = re.compile(
    r"""(?:(?<![\w.)])[-+])?            # a sign, unless it stands between two numbers
        (?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?  # digits, with or without commas for thousands
        (?:\.\d+)?(?:(?<=\d)[eE][-+]?\d+)?""",
    re.VERBOSE,
)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_QUOTES = ('""', "''", "``", "“”", "\u2018\u2019", "«»", "**")


class ExactScorer:
    """1 when the answer equals the wanted output after outer white space is trimmed."""

    binary = True

    def __init__(self, *, ignore_case: bool = False) -> None:
        self.name = "exact"
        self._ignore_case = ignore_case

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        return _hit(self._form(answer) == self._form(wanted))

    def constraint(self) -> Constraint | None:
        """None: any text may be right."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Any text can be compared with."""
        return None

    def _form(self, text: str) -> str:
        return text.strip().casefold() if self._ignore_case else text.strip()


class LabelScorer:
    """1 when the answer is the wanted label, alone or as its first line, with or without quotes or a full stop.

    An answer that merely contains a label is wrong. `details["valid"]` says whether it is any label.
    """

    binary = True

    def __init__(self, labels: Sequence[str]) -> None:
        self.name = "label"
        self.labels = tuple(labels)
        self._forms = {fold_label(label) for label in labels}

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        found = self.label_of(answer)
        right = found is not None and found == self.label_of(wanted)
        return Scored(float(right), {"valid": float(found is not None)})

    def constraint(self) -> Constraint | None:
        """The closed set of labels."""
        return Constraint(choices=self.labels)

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether it is one of the labels."""
        if fold_label(wanted) in self._forms:
            return None
        shown = ", ".join(self.labels[:8]) + (", ..." if len(self.labels) > 8 else "")
        return f"{wanted.strip()!r} is not one of the labels: {shown}"

    def label_of(self, text: str) -> str | None:
        """The folded label that a text is, from the text as it stands to its bare first line; None if it is none."""
        lines = text.strip().splitlines()
        form = lines[0].strip() if lines else ""
        tries = [text, form]
        for _ in range(3):
            form = form.removesuffix(".").strip()
            tries.append(form)
            form = _unquoted(form)
            tries.append(form)
        return next((fold_label(t) for t in tries if fold_label(t) in self._forms), None)


class NumberScorer:
    """1 when the last number of the answer is within a relative tolerance of the last number of the wanted output."""

    binary = True

    def __init__(self, tolerance: float) -> None:
        self.name = "number"
        self._tolerance = tolerance

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        found, right = last_number(answer), last_number(wanted)
        if found is None or right is None:
            return Scored(0.0, {"valid": float(found is not None)})
        close = abs(found - right) <= self._tolerance * (abs(right) if right else 1.0)
        return Scored(float(close), {"valid": 1.0})

    def constraint(self) -> Constraint | None:
        """None: the number may stand at the end of a text."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether it holds a number."""
        return None if last_number(wanted) is not None else f"{_short(wanted)} holds no number"


class ContainsScorer:
    """1 when the wanted output stands in the answer."""

    binary = True

    def __init__(self, *, ignore_case: bool = True) -> None:
        self.name = "contains"
        self._ignore_case = ignore_case

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        if self._ignore_case:
            answer, wanted = answer.casefold(), wanted.casefold()
        return _hit(wanted.strip() in answer)

    def constraint(self) -> Constraint | None:
        """None: any text may hold the wanted output."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether it is not empty."""
        return None if wanted.strip() else "an empty output stands in every answer"


class RegexScorer:
    """1 when a pattern is found in the answer: the wanted output, unless the task gives one for all cases."""

    binary = True

    def __init__(self, pattern: str | None) -> None:
        self.name = "regex"
        self._pattern = None if pattern is None else _compiled(pattern)
        problem = None if pattern is None else self._problem(pattern)
        if problem:
            raise ScorerError(
                f"score.pattern {pattern!r} cannot be used: {problem}",
                fix="correct score.pattern in luthier.yaml; its form is that of Python's re module",
            )

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        pattern = self._pattern if self._pattern is not None else _compiled(wanted)
        if isinstance(pattern, re.error):
            raise ScorerError(
                f"the wanted output {wanted!r} is no pattern: {pattern}",
                fix="correct the example, or give one pattern for all: score: {kind: regex, pattern: ...}",
            )
        return _hit(pattern.search(answer) is not None)

    def constraint(self) -> Constraint | None:
        """None: any text may hold a match."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether it is a pattern that not every answer matches."""
        return None if self._pattern is not None else self._problem(wanted)

    def _problem(self, pattern: str) -> str | None:
        compiled = _compiled(pattern)
        if isinstance(compiled, re.error):
            return f"{_short(pattern)} is no pattern: {compiled}"
        return "it matches an empty answer, so it matches every answer" if compiled.search("") else None


class AnswerScorer:
    """Token F1 or exact match of SQuAD: case, punctuation, articles and white space do not count.

    Source: Rajpurkar et al. 2016.
    """

    def __init__(self, measure: Literal["f1", "exact"]) -> None:
        self.name = f"answer {measure}"
        self.binary = measure == "exact"

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        found, right = squad_tokens(answer), squad_tokens(wanted)
        exact = float(found == right)
        common = sum((Counter(found) & Counter(right)).values())
        f1 = 2 * common / (len(found) + len(right)) if found and right else exact
        return Scored(exact if self.binary else f1, {"exact": exact, "f1": f1})

    def constraint(self) -> Constraint | None:
        """None: any text may be the answer."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether anything is left of it to compare."""
        return None if squad_tokens(wanted) else f"{_short(wanted)} holds no word but articles and punctuation"


class ChrfScorer:
    """chrF2 of the answer against the wanted output, in [0, 1]. Source: Popović 2015; computed by sacrebleu."""

    name = "chrf"
    binary = False

    @cached_property
    def _metric(self) -> Any:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF()

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        return Scored(min(1.0, max(0.0, self._metric.sentence_score(answer, [wanted]).score / 100)))

    def constraint(self) -> Constraint | None:
        """None: any text may be like the wanted one."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether it is not empty."""
        return None if wanted.strip() else "an empty output has no characters to compare"


class RougeScorer:
    """ROUGE F-measure of the answer against the wanted output, without stemming. Source: Lin 2004; by rouge-score."""

    binary = False

    def __init__(self, measure: Literal["rouge1", "rouge2", "rougeL"]) -> None:
        self.name = f"rouge {measure}"
        self._measure = measure

    @cached_property
    def _metric(self) -> Any:
        from rouge_score.rouge_scorer import RougeScorer as Metric

        return Metric([self._measure], use_stemmer=False)

    def score(self, answer: str, wanted: str) -> Scored:
        """See `Scorer.score`."""
        found = self._metric.score(wanted, answer)[self._measure]
        return Scored(float(found.fmeasure), {"precision": float(found.precision), "recall": float(found.recall)})

    def constraint(self) -> Constraint | None:
        """None: any text may be like the wanted one."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Whether ROUGE sees words in it: it knows only those of Latin letters and digits."""
        if re.search(r"[a-z0-9]", wanted.lower()):
            return None
        return f"{_short(wanted)} holds no word that ROUGE sees (Latin letters and digits); score: {{kind: chrf}} does"


def fold_label(text: str) -> str:
    """A label without what does not count: outer white space, case, composed or decomposed accents."""
    return unicodedata.normalize("NFC", " ".join(text.split())).casefold()


def last_number(text: str) -> float | None:
    """The last number in a text, commas as thousands separators; None where there is none that is finite."""
    found = [
        m.group() for m in _NUMBER.finditer(text.replace("\N{MINUS SIGN}", "-")) if any(c.isdigit() for c in m.group())
    ]
    if not found:
        return None
    value = float(found[-1].replace(",", ""))
    return value if math.isfinite(value) else None


def squad_tokens(text: str) -> list[str]:
    """Words of a text after SQuAD's normalisation."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return _ARTICLES.sub(" ", bare).split()


def _hit(right: bool) -> Scored:
    return Scored(float(right))


def _unquoted(text: str) -> str:
    for pair in _QUOTES:
        if len(text) >= 2 and text[0] == pair[0] and text[-1] == pair[1]:
            return text[1:-1].strip()
    return text


def _compiled(pattern: str) -> re.Pattern[str] | re.error:
    try:
        return re.compile(pattern)
    except re.error as error:
        return error


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
