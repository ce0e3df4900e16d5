"""Findings on form: outputs of which a few are written otherwise than the rest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from luthier.audit._finding import Dataset, Finding, Severity, finding, sample
from luthier.audit.labels import columns
from luthier.audit.text._minority import LEAST_ROWS, few, share
from luthier.data import BadValue, Example, parse_json

FEW = 0.1
SHOWN = 5
CODES = 0.9  # share of the values that hold digits, from which they are taken for codes

_FIX = "give all outputs one form: the model learns what it is shown"
_INITIALS = re.compile(r"(?:[^\W\d]\.){2,}")
_CLOSED = tuple(")]}>\"'”»`")
_GOES_ON = tuple(",;-–([{/&")  # a text that ends so was cut off
_SHORT = 4  # characters of the last word, which may be an abbreviation
_TAGS = re.compile(
    r"</?(?:p|br|div|span|b|i|strong|em|ul|ol|li|a|h[1-6]|table|tr|td|font|code|pre)\b[^<>\n]{0,200}>", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|apos|#\d{2,5}|#x[0-9a-f]{2,5});", re.I)
_MARKDOWN = re.compile(
    r"(?<!\S)\*\*[^*\s/][^*\n]*[^*\s/]\*\*(?![\w/*])|^#{1,6} \S|"
    r"^\s*(?:[-*•]|\d{1,2}\.) \S.*\n\s*(?:[-*•]|\d{1,2}\.) \S",
    re.M,
)
_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("«", "»"), ("`", "`"), ("‘", "’"), ("„", "“"))
_WRAPPED = re.compile(r"<([A-Za-z][\w-]*)[^<>]*>.*</\1>", re.S)


def _json(text: str) -> bool:
    text = text.strip()
    if text[:1] not in ("{", "["):
        return False
    try:
        return isinstance(parse_json(text), dict | list)
    except BadValue:
        return False


def _fenced(text: str) -> bool:
    return "```" in text


def _quoted(text: str) -> bool:
    text = text.strip()
    return any(len(text) > 2 and text[0] == a and text[-1] == b and a not in text[1:-1] for a, b in _QUOTES)


def _spaced(text: str) -> bool:
    return text != text.strip()


def _marked(text: str) -> bool:
    return bool(_MARKDOWN.search(text))


def _tagged(text: str) -> bool:
    return bool(_TAGS.search(text) or _ENTITY.search(text) or _WRAPPED.fullmatch(text.strip()))


def _stopped(text: str) -> bool | None:
    """Whether a text ends with a full stop; None where the end tells nothing: `U.S.`, `etc.`, a bracket."""
    text = text.rstrip()
    if text.endswith(("...", "…")):
        return None
    if text.endswith("。"):
        return True
    last = text.split()[-1] if text.split() else ""
    if last.endswith("."):
        bare = last[:-1]
        brief = len(bare) < _SHORT and (bare[:1].isupper() or len(text.split()) == 1)
        abbreviated = brief or _INITIALS.fullmatch(last)
        return None if abbreviated or not bare or bare.endswith("/") else True
    return False if last[-1:].isalnum() or last[-1:] in (*_CLOSED, *_GOES_ON) else None


def _closed(text: str) -> bool:
    return all(text.count(opened) <= text.count(closed) for opened, closed in ("()", "[]", "{}"))


def _capital(text: str) -> bool | None:
    first = text.strip()[:1]
    return first.isupper() if first.isalpha() and first.lower() != first.upper() else None


def _shouted(text: str) -> bool | None:
    told = sum(map(str.isalpha, text)) >= 8 and " " in text.strip()
    return text.isupper() and max(map(len, text.split())) >= 4 if told else None


# what is looked at, how many rows may lack it, and how bad that is
_PROPERTIES: tuple[tuple[str, Callable[[str], bool | None], Severity], ...] = (
    ("JSON", _json, "harms"),
    ("a code fence", _fenced, "harms"),
    ("quotation marks around them", _quoted, "note"),
    ("white space at their ends", _spaced, "note"),
    ("Markdown", _marked, "note"),
    ("HTML or tags", _tagged, "note"),
    ("a full stop at their end", _stopped, "note"),
    ("all brackets closed", _closed, "note"),
    ("a capital at their start", _capital, "note"),
    ("capitals throughout", _shouted, "note"),
)


def check_formats(data: Dataset) -> Iterable[Finding]:
    """Outputs of a rare form, and values (dates, times, numbers, codes) of a rare form."""
    if len(data.examples) < LEAST_ROWS:
        return
    if len({e.output for e in data.examples}) * 2 > len(data.examples):  # no labels: how those are spelt is no slip
        for what, has, severity in _PROPERTIES:
            yield from _inconsistent(data.examples, what, has, severity)
    for name, cells in columns(data.examples):
        yield from _rare_forms(name, cells)


def _inconsistent(
    rows: Sequence[Example], what: str, has: Callable[[str], bool | None], severity: Severity
) -> Iterator[Finding]:
    told = [(row, answer) for row in rows if row.output.strip() and (answer := has(row.output)) is not None]
    with_it = [row for row, answer in told if answer]
    without = [row for row, answer in told if not answer]
    if len(told) * 2 < len(rows):
        return
    if has is _capital and few(with_it, len(told), FEW):
        with_it = _capitalised(with_it, without)
    for rare, how in ((with_it, "with"), (without, "without")):
        if few(rare, len(told), FEW):
            other = "without" if how == "with" else "with"
            reason = f"outputs {how} {what}, where the others are {other}: {share(rare, len(rows))}"
            yield finding(
                "output-format", severity, rare, reason, _FIX, samples=[sample(e, e.output) for e in rare[:SHOWN]]
            )


def _capitalised(capital: Sequence[Example], small: Sequence[Example]) -> list[Example]:
    """The rows with a capital whose first word others write small; the rest, where small is the rule, are names."""
    written = {word for row in small for word in row.output.split()[:20]}
    return [row for row in capital if row.output.split()[0].lower() in written]


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_FORMS: dict[str, dict[str, str]] = {
    "dates": {
        "2026-01-31": r"\d{4}-\d{1,2}-\d{1,2}",
        "2026-01-31T12:00": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*",
        "2026/01/31": r"\d{4}/\d{1,2}/\d{1,2}",
        "31/01/2026": r"\d{1,2}/\d{1,2}/\d{2,4}",
        "31.01.2026": r"\d{1,2}\.\d{1,2}\.\d{2,4}",
        "31-01-2026": r"\d{1,2}-\d{1,2}-\d{2,4}",
        "20260131": r"(?:19|20)\d\d(?:0\d|1[0-2])[0-3]\d",
        "31 January 2026": rf"\d{{1,2}}(?:st|nd|rd|th|\.)? {_MONTH},? \d{{4}}",
        "January 31, 2026": rf"{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}",
    },
    "times": {
        "14:05": r"\d{1,2}:\d\d",
        "14:05:09": r"\d{1,2}:\d\d:\d\d",
        "2:05 pm": r"\d{1,2}(?::\d\d)? ?[ap]\.?m\.?",
        "14.05": r"\d{1,2}\.\d\d h|\d{1,2}h\d\d",
    },
    "numbers": {
        "1234.5": r"[-+]?\d{4,}(?:\.\d+)?|[-+]?\d{1,3}\.\d{1,2}",
        "1,234.5": r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?",
        "1.234,5": r"[-+]?\d{1,3}(?:\.\d{3})+,\d+|[-+]?\d+,\d{1,2}",
        "1 234.5": r"[-+]?\d{1,3}(?:[ '’\u202f\u00a0]\d{3})+(?:[.,]\d+)?",
        "$12": r"[$€£¥] ?\d[\d.,]*",
        "12 EUR": r"\d[\d.,]* ?(?:[$€£¥]|eur|usd|gbp|chf|euros?|dollars?)",
        "12 %": r"[-+]?\d[\d.,]* ?%",
    },
}
_COMPILED = {
    family: {form: re.compile(pattern, re.IGNORECASE) for form, pattern in forms.items()}
    for family, forms in _FORMS.items()
}


def _rare_forms(name: str, cells: Sequence[tuple[Example, str]]) -> Iterator[Finding]:
    """Dates, times and numbers of a field that are written otherwise than nine tenths of them; then codes."""
    what = f"field `{name}`" if name else "outputs"
    known = False
    for family, forms in _COMPILED.items():
        formed = [(row, form) for row, value in cells if (form := _form_of(value, forms))]
        known |= len(formed) * 2 > len(cells)
        yield from _rare(what, family, formed)
    if not known:
        coded = [(row, shape) for row, value in cells if any(map(str.isdigit, value)) and (shape := _shape(value))]
        if len(coded) > CODES * len(cells):
            yield from _rare(what, "codes", coded)


def _form_of(value: str, forms: dict[str, re.Pattern[str]]) -> str | None:
    return next((form for form, pattern in forms.items() if pattern.fullmatch(value.strip())), None)


def _shape(value: str) -> str:
    """Runs of letters as `A` or `a`, runs of digits as `9`, the rest as it is."""
    return re.sub(r"\d+", "9", re.sub(r"[a-zà-ÿ]+", "a", re.sub(r"[A-ZÀ-Þ]+", "A", value.strip())))


def _rare(what: str, family: str, formed: Sequence[tuple[Example, str]]) -> Iterator[Finding]:
    counts = Counter(form for _, form in formed)
    if not counts:
        return
    usual = counts.most_common(1)[0][0]
    rare = [(row, form) for row, form in formed if form != usual]
    if few([row for row, _ in rare], len(formed), FEW):
        forms = ", ".join(f"`{form}` ({n})" for form, n in counts.most_common()[1:5])
        reason = f"{what}: {family} that are not written like `{usual}` ({counts[usual]}): {forms}"
        samples = [sample(row, row.output, f"like `{form}`") for row, form in rare[:SHOWN]]
        yield finding("output-format", "note", [row for row, _ in rare], reason, _FIX, samples=samples)
