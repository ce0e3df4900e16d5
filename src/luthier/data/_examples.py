"""The one internal form of what people have: chat messages and the wanted output."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def as_dict(self) -> dict[str, str]:
        """The OpenAI chat form."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row was read: the file and its line or row, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row comes from, as far as it says so: licence, source, date, and who wrote or labelled it."""

    licence: str = ""
    source: str = ""
    date: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """An input with the wanted output.

    `messages` is the input: zero or one system message first, then turns that end with the user's. `output` is the
    wanted answer of the assistant. `group` names what must not be divided between train and test (a customer, a
    document, a template); None where the row stands for itself. `rejected` is the worse answer of a preference pair.
    `time` is when the row came about, where the task names the key that says so.
    `origin` is what the row says of where it comes from; None where that is nothing.
    """

    messages: tuple[Message, ...]
    output: str
    group: str | None = None
    rejected: str | None = None
    source: Source = field(default=Source("", 0), compare=False)
    time: dt.datetime | None = field(default=None, compare=False)
    origin: Origin | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """Content hash (16 hex digits) of input and output; the same row has the same id in every file."""
        return content_hash([[m.role, m.content] for m in self.messages] + [self.output])[:16]

    @property
    def input_text(self) -> str:
        """The turns after the system message as one text: what is searched and compared."""
        return "\n".join(m.content for m in self.messages if m.role != "system")


def content_hash(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value made of lists, dicts, strings, numbers and None."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def messages_from(rows: Sequence[dict[str, str]]) -> tuple[Message, ...]:
    """Messages from the OpenAI chat form, already checked."""
    return tuple(Message(cast(Role, row["role"]), row["content"]) for row in rows)


def with_instructions(instructions: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """A conversation with instructions as its system message, before a system message of its own if that differs."""
    own = [m.content for m in messages if m.role == "system"]
    texts = [instructions, *(text for text in own if text != instructions)]
    system = "\n\n".join(text for text in texts if text)
    turns = tuple(m for m in messages if m.role != "system")
    return (Message("system", system), *turns) if system else turns


@dataclass(frozen=True)
class Split:
    """A frozen division of the examples. No group, duplicate or near duplicate stands on two sides."""

    train: tuple[Example, ...]
    development: tuple[Example, ...]
    test: tuple[Example, ...]
    seed: int

    @property
    def hash(self) -> str:
        """Content hash of which example is on which side."""
        return content_hash(
            {side: sorted(e.id for e in getattr(self, side)) for side in ("train", "development", "test")}
            | {"seed": self.seed}
        )


@dataclass(frozen=True)
class Document:
    """A text that answers may need, as Markdown or plain text. `name` is its path relative to the documents folder."""

    name: str
    text: str
    file: Path = field(compare=False)
