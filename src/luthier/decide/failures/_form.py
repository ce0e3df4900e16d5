"""Answers whose content is right and whose form is not: mended, scored again, and told by what had to be mended."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.audit import one_slip
from luthier.data import BadValue, normalise, parse_json, words
from luthier.errors import ScorerError
from luthier.evaluate import Record, Scorer

CUT_OFF = "cut off at the token limit"
EXTRA = "words around the answer"
SPELLING = "another case or spelling"
NOT_JSON = "not quite JSON"
AROUND_JSON = "words around the JSON"
KEYS = "other keys or types"

SLIP = 5  # letters from which a word may be misspelled by one
ROOM = 25  # words around an answer that is wanted in a few
MOST_STARTS = 8  # places in an answer where JSON may begin

_FENCED = re.compile(r"```[\w-]*[ \t]*\n(.*?)```", re.DOTALL)
_TRAILING = re.compile(r",(\s*[}\]])")
_BARE_KEY = re.compile(r"([{,]\s*)([A-Za-z_]\w*)(\s*:)")


@dataclass(frozen=True)
class Mended:
    """The answer with its form put right, and what was wrong with it."""

    kind: str
    text: str


def mended(record: Record, wanted: str, scorer: Scorer, right: float) -> Mended | None:
    """The answer of a failed case in a form that scores as right; None where its content is wrong too."""
    answer = record.answer.strip()
    if not answer or not wanted.strip():
        return None
    cut = record.finish == "length"
    for candidate in _candidates(answer, wanted, scorer, cut):
        if counts_as_right(scorer, candidate.text, wanted, right):
            return Mended(CUT_OFF, candidate.text) if cut and candidate.kind == EXTRA else candidate
    if cut and _begins(answer, wanted):
        return Mended(CUT_OFF, wanted)
    return None


def counts_as_right(scorer: Scorer, text: str, wanted: str, right: float) -> bool:
    """Whether one text counts as right where the other is wanted, of which neither need be an answer or a reference.

    A user's scorer may fail on such texts; then they do not.
    """
    try:
        return scorer.wanted_is_valid(wanted) is None and scorer.score(text, wanted).value >= right
    except ScorerError:
        return False


def _candidates(answer: str, wanted: str, scorer: Scorer, cut: bool) -> Iterator[Mended]:
    constraint = scorer.constraint()
    if constraint is not None and constraint.choices is not None:
        yield from _as_label(answer, constraint.choices)
        return
    target = _parsed(wanted)
    if isinstance(target, dict | list):
        yield from _as_json(answer, target, cut)
        return
    said, asked = words(normalise(answer)), words(normalise(wanted))
    if said == asked or _slipped("".join(said), "".join(asked)):
        yield Mended(SPELLING, wanted)
    if asked and len(said) <= 4 * len(asked) + ROOM and _stands_in(asked, said):
        yield Mended(EXTRA, wanted)
    for part in _parts(answer):
        yield Mended(EXTRA, part)


def _as_label(answer: str, labels: Sequence[str]) -> Iterator[Mended]:
    """The one label that an answer is but for its spelling, or that stands in it with words around."""
    said = _label_words(answer)
    forms = {label: _label_words(label) for label in labels}
    same = [label for label, form in forms.items() if "".join(form) == "".join(said)]
    same = same or [label for label, form in forms.items() if _slipped("".join(form), "".join(said))]
    if len(same) == 1:
        yield Mended(SPELLING, same[0])
        return
    inside = [label for label, form in forms.items() if form and _stands_in(form, said)]
    # a label that is a part of another one is meant only where that other one is not said
    longest = [a for a in inside if not any(a != b and _stands_in(forms[a], forms[b]) for b in inside)]
    if len(longest) == 1:
        yield Mended(EXTRA, longest[0])


def _label_words(text: str) -> list[str]:
    return words(normalise(text.replace("_", " ").replace("-", " ")))


def _as_json(answer: str, target: Any, cut: bool) -> Iterator[Mended]:
    fenced = _FENCED.search(answer)
    texts = [fenced.group(1)] if fenced else []
    starts = [i for i, c in enumerate(answer) if c in "{["][:MOST_STARTS]
    texts += [answer[start:] for start in starts]
    for text in texts:
        value = _first_value(text)
        if value is not None:
            around = len(answer) - len(text.rstrip()) > 0 or _parsed(answer) is None
            yield Mended(AROUND_JSON if around else KEYS, json.dumps(value, ensure_ascii=False))
            yield Mended(KEYS, json.dumps(_like(value, target), ensure_ascii=False))
            continue
        value = _loosely_read(text)
        if value is not None:
            yield Mended(NOT_JSON, json.dumps(_like(value, target), ensure_ascii=False))
        elif _open_ends(text):
            begun = _closed(text)
            if begun is not None and _is_part(_like(begun, target), target):
                yield Mended(CUT_OFF if cut else NOT_JSON, json.dumps(target, ensure_ascii=False))


def _first_value(text: str) -> Any:
    """The JSON value that a text begins with, whatever follows it."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _loosely_read(text: str) -> Any:
    """A value written with the habits of other languages: single quotes, None, bare keys, a comma too many."""
    end = max(text.rfind("}"), text.rfind("]"))
    if end < 0:
        return None
    bare = _TRAILING.sub(r"\1", text[: end + 1])
    for attempt in (bare, _BARE_KEY.sub(r'\1"\2"\3', bare), _BARE_KEY.sub(r'\1"\2"\3', bare).replace("'", '"')):
        value = _first_value(attempt)
        if value is not None:
            return value
    try:
        value = ast.literal_eval(bare)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return value if isinstance(value, dict | list) and _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    """Whether a value can be written as JSON."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _open_ends(text: str) -> str:
    """The brackets, and the quote, that a text leaves open, in the order in which they have to be closed."""
    ends: list[str] = []
    quoted = escaped = False
    for c in text:
        if quoted:
            quoted, escaped = escaped or c != '"', c == "\\" and not escaped
        elif c == '"':
            quoted = True
        elif c in "{[":
            ends.append("}" if c == "{" else "]")
        elif c in "}]" and ends:
            ends.pop()
    return ('"' if quoted else "") + "".join(reversed(ends))


def _closed(text: str) -> Any:
    """What a text that breaks off says, without the value that it breaks off in."""
    while "," in text:
        text = text[: text.rindex(",")]
        value = _first_value(text + _open_ends(text))
        if value is not None:
            return value
    return None


def _is_part(value: Any, target: Any) -> bool:
    """Whether everything in a value stands in the target at the same place, and there is something in it."""
    if isinstance(value, dict) and isinstance(target, dict):
        return bool(value) and all(key in target and _is_part(inner, target[key]) for key, inner in value.items())
    if isinstance(value, list) and isinstance(target, list):
        return len(value) <= len(target) and all(_is_part(a, b) for a, b in zip(value, target, strict=False))
    return normalise(str(value)) == normalise(str(target))


def _like(value: Any, target: Any) -> Any:
    """A value with the keys, and the types of plain values, that the target has for what is the same but for these."""
    if isinstance(value, dict) and isinstance(target, dict):
        if len(value) == 1 and len(target) > 1:  # a wrapper around the object
            [inner] = value.values()
            if isinstance(inner, dict):
                return _like(inner, target)
        names = {_plain_key(key): key for key in target}
        renamed = {names.get(_plain_key(key), key): inner for key, inner in value.items()}
        return {key: _like(inner, target.get(key)) for key, inner in renamed.items()}
    if isinstance(value, list | tuple):
        if isinstance(target, list):
            return [_like(inner, target[i] if i < len(target) else None) for i, inner in enumerate(value)]
        return _like(value[0], target) if len(value) == 1 else list(value)
    if target is not None and not isinstance(target, dict | list):
        same = normalise(str(value)) == normalise(str(target))
        return target if same else value
    return value


def _plain_key(key: str) -> str:
    return "".join(c for c in normalise(key) if c.isalnum())


def _parsed(text: str) -> Any:
    try:
        return parse_json(text.strip())
    except BadValue:
        return None


def _parts(answer: str) -> Iterator[str]:
    """Parts of an answer that may be meant: its lines, what stands in a fence, or behind a colon."""
    fenced = _FENCED.search(answer)
    if fenced:
        yield fenced.group(1).strip()
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if len(lines) > 1:
        yield lines[0]
        yield lines[-1]
        yield "\n".join(lines[1:])
    for line in {lines[0], lines[-1]}:
        head, colon, rest = line.partition(":")
        if colon and rest.strip() and len(head.split()) <= ROOM:
            yield rest.strip().strip("\"'`*")


def _begins(answer: str, wanted: str) -> bool:
    """Whether an answer is the beginning of the wanted one; its last word may be cut."""
    said, asked = normalise(answer), normalise(wanted)
    return len(said) >= min(8, len(asked)) and asked.startswith(said)


def _stands_in(some: Sequence[str], many: Sequence[str]) -> bool:
    return f" {' '.join(some)} " in f" {' '.join(many)} "


def _slipped(a: str, b: str) -> bool:
    return min(len(a), len(b)) >= SLIP and a.isalpha() and b.isalpha() and one_slip(a, b)
