"""Findings on the text of usable rows: damage by encodings and escapes, markup, leftovers of templates, white space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from luthier.audit._finding import Dataset, Finding, Sample, Severity, finding, sample
from luthier.audit.text import _traces
from luthier.data import Example

SHOWN = 5
AROUND = 60  # characters shown before and after what is seen
USUAL = 0.3  # share of rows from which on a trait is what the data are like, and no damage
UNFILLED = 0.1  # the same for places of templates

Trace = Callable[[Example], tuple[str, _traces.Span] | None]


@dataclass(frozen=True)
class _Kind:
    """A trait of texts: its code and severity, what is said, how it is seen, and the share of rows it may have."""

    code: str
    severity: Severity
    what: str
    fix: str
    seen: Trace
    most: float = 1.0


def _anywhere(look: Callable[[str], _traces.Span | None]) -> Trace:
    def trace(example: Example) -> tuple[str, _traces.Span] | None:
        return next(((text, span) for text in texts(example) if (span := look(text))), None)

    return trace


def texts(example: Example) -> Iterator[str]:
    """Every text of a row, the answers first."""
    yield example.output
    if example.rejected is not None:
        yield example.rejected
    for message in example.messages:
        yield message.content


def _template(example: Example) -> tuple[str, _traces.Span] | None:
    for text in texts(example):
        if span := _traces.template(text, answer=text is example.output or text is example.rejected):
            return text, span
    return None


def _unfilled(example: Example) -> tuple[str, _traces.Span] | None:
    for message in example.messages:
        if message.role == "user" and (span := _traces.unfilled(message.content)):
            return message.content, span
    return None


def _tag(example: Example) -> tuple[str, _traces.Span] | None:
    found = _anywhere(_traces.tag)(example)
    return None if found is None or any(map(_traces.about_markup, texts(example))) else found


def _entity(example: Example) -> tuple[str, _traces.Span] | None:
    found = _anywhere(_traces.entity)(example)
    return None if found is None or any(map(_traces.about_markup, texts(example))) else found


_KINDS = (
    _Kind(
        "mojibake",
        "harms",
        "characters that were read with the wrong encoding (`cafÃ©` for `café`)",
        "repair them: luthier check --fix; or export the data again as UTF-8",
        _anywhere(_traces.wrong_decoding),
    ),
    _Kind(
        "lost-character",
        "harms",
        "characters that are lost for good: U+FFFD stands in their place",
        "export these rows again from their source as UTF-8: what was lost cannot be guessed",
        _anywhere(_traces.lost_character),
    ),
    _Kind(
        "hidden-character",
        "harms",
        "control characters or characters that nobody sees (zero width, private use, changed direction)",
        "remove them: luthier check --fix",
        _anywhere(_traces.hidden_character),
    ),
    _Kind(
        "escaped-text",
        "harms",
        r"escapes that were to become characters: a literal `\n`, `\u00e9` or `\"` in running text",
        "export the rows once more with one level of escaping less",
        _anywhere(_traces.escaped),
    ),
    _Kind(
        "html-entity",
        "harms",
        "characters written as HTML writes them (`&amp;`), which other rows do not do",
        "write them as characters: luthier check --fix",
        _entity,
        USUAL,
    ),
    _Kind("html-tag", "note", "HTML tags, which other rows do not have", "remove them if not wanted", _tag, USUAL),
    _Kind(
        "template-leftover",
        "harms",
        "tokens, headings or speakers of a chat template inside the text; the template of the base comes on top",
        "remove them: the text of a message is what was said, without the marks around it",
        _template,
    ),
    _Kind(
        "unfilled-template",
        "harms",
        "places of a template in the input that nothing was put into",
        "fill them in, or remove the rows: the question is missing",
        _unfilled,
        UNFILLED,
    ),
    _Kind(
        "tool-text",
        "note",
        "calls of tools, or their results, written into the text",
        "leave such rows out: luthier tunes plain answers, and nothing will run these calls",
        _anywhere(_traces.tool),
        USUAL,
    ),
)  # fmt: skip


def check_text(data: Dataset) -> Iterable[Finding]:
    """Traces of damage in texts, unusual white space around outputs, turns that repeat."""
    for kind in _KINDS:
        found = [(example, seen) for example in data.everything if (seen := kind.seen(example))]
        if found and len(found) <= kind.most * len(data.everything):
            shown = [_sample(example, *seen) for example, seen in found[:SHOWN]]
            reason = f"{kind.what}; the first: {_excerpt(*found[0][1], around=20)!r}"
            yield finding(kind.code, kind.severity, [e for e, _ in found], reason, kind.fix, samples=shown)
    yield from _output_space(data.examples)
    yield from _repeated_turns(data.everything)


def _sample(example: Example, text: str, span: _traces.Span) -> Sample:
    return sample(example, _excerpt(text, span, around=AROUND), f"here: {text[span[0] : span[1]][:40]!r}")


def _excerpt(text: str, span: _traces.Span, *, around: int) -> str:
    start, end = max(0, span[0] - around), min(len(text), span[1] + around)
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _output_space(examples: Sequence[Example]) -> Iterable[Finding]:
    """White space around outputs: the first token then is another one than without (` yes` is not `yes`)."""
    rows = [e for e in examples if trimmed(e.output) != e.output]
    if rows:
        share = len(rows) / len(examples)
        reason = f"outputs with white space before or after them ({share:.1%} of the rows)"
        reason += "; the others have none" if share < 1 else ": an answer that begins with a space has other tokens"
        fix = "remove the white space: luthier check --fix"
        shown = [sample(e, repr(e.output[:AROUND]), "white space around the output") for e in rows[:SHOWN]]
        yield finding("output-space", "harms", rows, reason, fix, samples=shown)


def trimmed(output: str) -> str:
    """An output without white space around it; the indent of the first of several lines is part of what is said."""
    lines = output.strip("\r\n").rstrip()
    return lines if "\n" in lines and lines.startswith(("  ", "\t")) else lines.strip()


def _repeated_turns(examples: Sequence[Example]) -> Iterable[Finding]:
    found = [(e, remark) for e in examples if (remark := _repeated(e))]
    if found:
        reason = f"conversations in which a turn repeats, or one side speaks twice in a row; the first: {found[0][1]}"
        fix = "join the two messages of one side, and remove the turn that repeats"
        shown = [sample(e, remark=remark) for e, remark in found[:SHOWN]]
        yield finding("repeated-turn", "harms", [e for e, _ in found], reason, fix, samples=shown)


def _repeated(example: Example) -> str:
    """What repeats in a conversation, or nothing."""
    turns = [(m.role, m.content.strip()) for m in example.messages if m.role != "system"]
    turns.append(("assistant", example.output.strip()))
    for place, (first, second) in enumerate(pairwise(turns), 1):
        if first[0] == second[0]:
            same = ", with the same words" if first[1] == second[1] else ""
            return f"turns {place} and {place + 1} are both of the {first[0]}{same}"
    exchanges = [(turns[i], turns[i + 1]) for i in range(0, len(turns) - 1, 2)]
    for place, (exchange, after) in enumerate(pairwise(exchanges), 1):
        if exchange == after:
            return f"exchanges {place} and {place + 1} are the same"
    return ""
