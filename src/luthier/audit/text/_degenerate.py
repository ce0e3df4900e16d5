"""Findings on outputs that stand in for an answer: stubs, placeholders, repetition, the input again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from luthier.audit._finding import Dataset, Finding, finding, sample
from luthier.audit.text._minority import few, share
from luthier.data import Example, normalise

SHOWN = 5
AGAIN = 3  # rows with the same `None`, from which it is no answer
ANSWERS = 0.02  # share of the rows from which the same short output is an answer that is meant
LEAST_COPIED = 20  # characters
REPEATED_WORDS = 12
DISTINCT = 0.3  # share of distinct three-word runs

_STUB = re.compile(
    r"to ?do|tb[ad]|fix ?me|n\.?/a\.?|n\.a\.|nan|xxx+|asdf\w*|qwerty\w*|foo ?bar|lorem ipsum.*|placeholder|"
    r"(?:your |the )?(?:answer|text|output|response) (?:goes )?here|coming soon|"
    r"(?:see|same as) (?:above|below|before|previous)|#(?:n/a|ref!|value!|name\?|null!|error!)|"
    r"no (?:answer|output|response)|\[?(?:deleted|removed|redacted|object object)\]?|"
    r"to be (?:done|determined|added|filled(?: in)?|written)|work in progress|wip",
    re.IGNORECASE,
)
# answers too, where they are few: `How many are protected? None`
_PERHAPS = re.compile(r"none|null|nil|undefined|unknown|error|no data|not (?:available|applicable)", re.IGNORECASE)
_EDGES = " \t\r\n.!?:;-–—_*()[]<>{}\"'`"
_MARKS = frozenset(".?!-–—_…*~ \n")

_FIELD = (
    r"(?:insert|your|customer|client|user|recipient|company|product|first|last|full|agent|order|name|date|address|"
    r"placeholder|phone|e-?mail|city|amount|todo)"
)
_PLACEHOLDERS = {
    "text that fills space": re.compile(r"lorem ipsum|dolor sit amet", re.IGNORECASE),
    "a note to do something": re.compile(r"\b(?:TODO|FIXME|TBD)\b"),
    "a placeholder in double braces": re.compile(r"\{\{\s*[^{}\n]{1,60}\}\}"),
    "a variable of a template": re.compile(r"\$\{[A-Za-z_][\w.]{0,40}\}|%\([a-z_]+\)s|\{%.{1,40}%\}"),
    "a placeholder in brackets": re.compile(
        rf"\[(?:{_FIELD}|(?:enter|add|fill)(?= ))(?:[ _-][\w '/-]{{0,40}})?\](?!\()"
        rf"|<({_FIELD}(?:[ _-][\w '/-]{{0,40}})?)>(?!.*</\1>)",
        re.IGNORECASE | re.DOTALL,
    ),
    "a gap": re.compile(r"(?<![\w./{-])X{4,}(?![\w./}-])|_{5,}|…{3,}|\.{8,}"),
}


def check_degenerate(data: Dataset) -> Iterable[Finding]:
    """Stubs, placeholders that were left, repetition, and outputs that repeat their input."""
    yield from _stubs(data)
    for what, pattern in _PLACEHOLDERS.items():
        yield from _few(data, f"outputs with {what}", _left(pattern), "write out what is meant, or remove the rows")
    yield from _few(data, "outputs that repeat themselves", repeats_itself, "write them anew, or remove the rows")
    yield from _copies(data)


def _few(data: Dataset, what: str, has: Callable[[Example], bool], fix: str) -> Iterator[Finding]:
    rows = [e for e in data.examples if has(e)]
    if few(rows, len(data.examples)):
        reason = f"{what}: {share(rows, len(data.examples))}"
        yield finding("degenerate-output", "harms", rows, reason, fix, samples=[sample(e) for e in rows[:SHOWN]])


def _stubs(data: Dataset) -> Iterator[Finding]:
    """`TODO`, `N/A`, `...`; a stub that many rows have may be a label or the answer that there is none."""
    counts = Counter(e.output.strip() for e in data.examples)
    most = max(10, ANSWERS * len(data.examples))
    labels = sum(count for count in counts.values() if count >= 5) > 0.9 * len(data.examples)

    def stub(e: Example) -> bool:
        count = counts[e.output.strip()]
        return is_stub(e.output, sure=count < AGAIN) and not (labels and count > most)

    yield from _few(data, "outputs that stand in for an answer", stub, "write the answer, or remove the rows")


def is_stub(text: str, *, sure: bool = True) -> bool:
    """Whether a text is `TODO`, `N/A`, `...` or the like, and nothing else; unless `sure`, `None` and the like too."""
    bare = text.strip(_EDGES)
    if not bare:
        return bool(text.strip()) and _MARKS.issuperset(text)
    return bool(_STUB.fullmatch(bare)) or (not sure and bool(_PERHAPS.fullmatch(bare)))


def _left(pattern: re.Pattern[str]) -> Callable[[Example], bool]:
    """Whether an output holds what its input does not."""

    def left(e: Example) -> bool:
        found = pattern.search(e.output)
        return found is not None and found[0] not in e.input_text

    return left


def repeats_itself(e: Example) -> bool:
    """Whether an output is a few characters or a phrase again and again, and its input is not."""
    return _repeats(e.output) and not _repeats(e.input_text)


def _repeats(text: str) -> bool:
    text = text.strip()
    if re.search(r"([^\W\d_xX])\1{7}", text):
        return True
    if len(text) >= 12 and len(set(text)) <= 3 and any(c.isalpha() and c not in "xX" for c in text):
        return True
    words = text.lower().split()
    if len(words) < REPEATED_WORDS:
        return False
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(runs)) < DISTINCT * len(runs)


def _copies(data: Dataset) -> Iterator[Finding]:
    rows = [e for e in data.examples if _copied(e)]
    if few(rows, len(data.examples)):
        reason = f"outputs that repeat their whole input: {share(rows, len(data.examples))}"
        fix = "write the answer; where the input is to be kept as it is, nothing to do"
        yield finding("copied-input", "note", rows, reason, fix, samples=[sample(e) for e in rows[:SHOWN]])


def _copied(e: Example) -> bool:
    given, answer = normalise(e.input_text), normalise(e.output)
    return len(given) >= LEAST_COPIED and (answer == given or answer.startswith(given) or answer.endswith(given))
