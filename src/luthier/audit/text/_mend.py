"""Repairs of texts that are plain: wrong decoding, hidden characters, HTML entities, white space around outputs."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import replace

from luthier.audit.text import _traces
from luthier.audit.text._damage import USUAL, texts, trimmed
from luthier.data import Example


def mender(examples: Sequence[Example]) -> Callable[[Example], tuple[Example, str]]:
    """A function that gives a row with its texts repaired, and what was repaired ("" where nothing was).

    Entities are taken for damage only where few of the `examples` have them.
    """
    with_entities = sum(any(map(_traces.entity, texts(e))) for e in examples)
    entities = with_entities <= USUAL * len(examples)

    def mend(example: Example) -> tuple[Example, str]:
        about_markup = any(map(_traces.about_markup, texts(example)))
        done: list[str] = []

        def text(value: str) -> str:
            return _mended(value, entities and not about_markup, done)

        output = text(example.output)
        if trimmed(output) != output:
            output = trimmed(output)
            done.append("white space around the output")
        row = replace(
            example,
            messages=tuple(replace(message, content=text(message.content)) for message in example.messages),
            output=output,
            rejected=None if example.rejected is None else trimmed(text(example.rejected)),
        )
        return (row, ", ".join(dict.fromkeys(done))) if _says_something(row) else (example, "")

    return mend


def _says_something(example: Example) -> bool:
    """Whether input and output are still there: what held nothing but damage is left for a person to look at."""
    return bool(example.output.strip()) and bool(example.messages) and bool(example.messages[-1].content.strip())


def _mended(value: str, entities: bool, done: list[str]) -> str:
    if _traces.wrong_decoding(value):
        from ftfy import fix_encoding

        value = fix_encoding(value)
        done.append("wrong decoding")
    if entities and _traces.entity(value):
        value = _traces.without_entities(value, html.unescape)
        done.append("HTML entities")
    if (clean := _traces.without_hidden(value)) != value:
        value = clean
        done.append("hidden characters")
    return value
