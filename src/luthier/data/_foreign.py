"""Rows of Inspect, lm-eval and promptfoo, written as prompt and completion where that is faithful."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data._errors import RowError
from luthier.data._promptfoo import is_promptfoo, promptfoo_row
from luthier.data._rows import INPUTS, OUTPUTS, Row, Rows
from luthier.errors import Problem

_QUESTIONS = ("question", "query", "input", "ctx", "goal")
_CHOICES = ("choices", "endings")
_ANSWERS = ("answerKey", "answer", "gold", "target", "label")
_REPLACED = frozenset({*_QUESTIONS, *_CHOICES, *_ANSWERS, *INPUTS, *OUTPUTS})
_AGENTIC = ("sandbox", "files", "setup")


def understood(rows: Rows, labelled: bool) -> Rows:
    """The same rows with those of other tools rewritten; one that cannot be is a problem that says why.

    Where no wanted output is asked for (`labelled` is false), a row without one is as good.
    """
    kept = []
    for row in rows.rows:
        try:
            kept.append(_rewritten(row, labelled))
        except RowError as error:
            if not labelled:
                kept.append(row)  # its input may be told all the same
                continue
            rows.problems.append(Problem(str(error), row.source.file, row.source.line, error.code))
    rows.rows = kept
    return rows


def _rewritten(row: Row, labelled: bool) -> Row:
    value = row.value
    logged = {"doc_id", "arguments"} & set(value) and not {"messages", "completion", *INPUTS} & set(value)
    if isinstance(value.get("doc"), dict) and logged:
        return Row(row.source, _logged_row(value))
    if is_promptfoo(value):
        return Row(row.source, promptfoo_row(value))
    written = _task_row(value) if labelled else _task_row(value) or _unanswered(value)
    return row if written is None else Row(row.source, written)


def _logged_row(value: Mapping[str, Any]) -> dict[str, Any]:
    """A sample that lm-eval logged: its document where that can be read, else what was asked and the target.

    Raises:
        RowError: neither says what is wanted.
    """
    doc = value["doc"]
    rest = {key: value[key] for key in ("doc_id", "doc_hash") if key in value}
    try:
        written = _task_row(doc)
    except RowError:
        written = None
    if written is not None:
        return rest | written
    asked, target = _asked(value.get("arguments")), value.get("target")
    if asked is None or not isinstance(target, str) or not target.strip():
        raise RowError("wrong-keys", "`doc` has no question with its answer, and no text in `arguments` and `target`")
    return rest | {"prompt": asked, "completion": target.strip()}


def _asked(arguments: Any) -> str | None:
    """The prompt of a logged request, which is written as a list or as an object of numbered parts."""
    first = arguments[0] if isinstance(arguments, list) and arguments else arguments
    if isinstance(first, dict):
        first = next(iter(first.values()), None)
    if isinstance(first, dict):
        first = next(iter(first.values()), None)
    if isinstance(first, list) and first:
        first = first[0]
    return first if isinstance(first, str) and first.strip() else None


def _task_row(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """A question with choices and the place of the right one, or an Inspect sample; None where it is neither.

    Raises:
        RowError: it is one, and cannot be used.
    """
    if {"messages", "conversations", "chosen", "prompt", "completion", "output", "response"} & set(value):
        return None
    choices_key = next((key for key in _CHOICES if value.get(key) is not None), None)
    question = next((key for key in _QUESTIONS if key in value), None)
    answer = "gold" if question == "query" and "gold" in value else next((k for k in _ANSWERS if k in value), None)
    if question is None or answer is None:
        return None
    if question == "input" and answer == "target":
        _refuse_agentic(value)
    beside = [key for key in INPUTS if key != question and value.get(key)]
    if choices_key is None:
        return None if beside else _open_row(value, question, answer)
    if beside:
        what = f"`{beside[0]}` stands beside `{question}` and its `{choices_key}`; write what is asked as one `prompt`"
        raise RowError("wrong-keys", what)
    texts, labels = _choices(value[choices_key], choices_key)
    place = _place(value[answer], answer, texts, labels)
    rest = _beside(value)
    if question == "query" and answer == "gold" and all(_stands_in(text, value[question]) for text in texts):
        return rest | {"prompt": value[question], "completion": texts[place]}
    return rest | {"prompt": _with_choices(value[question], texts), "completion": string.ascii_uppercase[place]}


def _unanswered(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """A question with choices and no answer, as it would be asked; None for any other row."""
    choices_key = next((key for key in _CHOICES if value.get(key) is not None), None)
    question = next((key for key in _QUESTIONS if key in value), None)
    if choices_key is None or question is None or {"messages", "conversations", "prompt"} & set(value):
        return None
    texts, _ = _choices(value[choices_key], choices_key)
    return _beside(value) | {"prompt": _with_choices(value[question], texts)}


def _open_row(value: Mapping[str, Any], question: str, answer: str) -> dict[str, Any] | None:
    """A question without choices, under names that `prompt` and `completion` rows do not have; None for the others."""
    wanted = value[answer]
    if question == "input" and answer == "target" and isinstance(wanted, list):
        if not wanted:
            raise RowError("empty", "`target` is an empty list")
        wanted = wanted[0]  # any of them is right, as with `answers`
    elif (question, answer) != ("query", "gold"):
        return None
    return _beside(value) | {"prompt": value[question], "completion": wanted}


def _beside(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a row holds besides question, choices and answer, under whatever names it has them again."""
    return {key: item for key, item in value.items() if key not in _REPLACED}


def _refuse_agentic(value: Mapping[str, Any]) -> None:
    found = [key for key in _AGENTIC if value.get(key)]
    if found:
        raise RowError("tool-use", f"`{found[0]}` belongs to a task in an environment; luthier tunes plain answers")


def _choices(value: Any, key: str) -> tuple[list[str], list[str]]:
    """Texts of the choices and their labels: letters, where they have none of their own."""
    labels: Any = None
    if isinstance(value, dict):  # as in ARC: {text: […], label: […]}
        value, labels = value.get("text"), value.get("label")
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(item, str) for item in value):
        raise RowError("wrong-value", f"`{key}` must be a list of at least two texts")
    if len(value) > len(string.ascii_uppercase):
        raise RowError("wrong-value", f"`{key}` has {len(value)} choices; there are letters for 26")
    named = isinstance(labels, list) and len(labels) == len(value)
    return value, [str(label) for label in labels] if named else list(string.ascii_uppercase[: len(value)])


def _place(answer: Any, key: str, texts: Sequence[str], labels: Sequence[str]) -> int:
    """Which choice is right: by its number from 0, its label or letter, or its text."""
    if isinstance(answer, list):
        if len(answer) != 1:
            raise RowError("wrong-value", f"`{key}` names {len(answer)} choices; one must be the right one")
        answer = answer[0]
    written = str(answer).strip()
    number = int(written) if written.isdecimal() and not isinstance(answer, bool) else len(texts)
    if written in labels:
        return labels.index(written)
    if isinstance(answer, int) and number < len(texts) and (key == "gold" or written not in texts):
        return number
    if texts.count(written) == 1:
        place = texts.index(written)
        if number < len(texts) and number != place:
            raise RowError(
                "wrong-value", f"`{key}` is {written!r}, which is the text of one choice and the number of another"
            )
        return place
    if number < len(texts):
        return number
    if len(written) == 1 and written.upper() in string.ascii_uppercase[: len(texts)]:
        return string.ascii_uppercase.index(written.upper())
    raise RowError("wrong-value", f"`{key}` is {written[:40]!r}, which names none of the {len(texts)} choices")


def _with_choices(question: Any, texts: Sequence[str]) -> Any:
    """The question with the choices below it, a letter each; in a conversation in its last message."""
    listed = "\n".join(f"{letter}) {text}" for letter, text in zip(string.ascii_uppercase, texts, strict=False))
    if isinstance(question, str):
        return f"{question}\n\n{listed}"
    if isinstance(question, list) and question and isinstance(question[-1], dict):
        last = question[-1]
        if isinstance(last.get("content"), str):
            return [*question[:-1], last | {"content": f"{last['content']}\n\n{listed}"}]
    raise RowError("wrong-value", "the question must be a text, or messages of which the last is a text")


def _stands_in(text: str, question: Any) -> bool:
    return isinstance(question, str) and text in question
