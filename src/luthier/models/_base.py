"""What every model can do: answer chat requests greedily and say what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from luthier.data import Message


@dataclass(frozen=True)
class Constraint:
    """What an answer must look like: one of a closed set of texts, or JSON of a schema. Exactly one is given."""

    choices: tuple[str, ...] | None = None
    json_schema: str | None = None  # canonical JSON text of the schema, so that it can be hashed

    def as_dict(self) -> dict[str, Any]:
        """For hashing and for saving."""
        return {"choices": None if self.choices is None else list(self.choices), "json_schema": self.json_schema}


@dataclass(frozen=True)
class Sample:
    """Sampling in place of greedy decoding: the temperature, above 0, and the seed that fixes what is drawn."""

    temperature: float
    seed: int


@dataclass(frozen=True)
class Request:
    """One question to a model: the whole rendered conversation, ending with a user message.

    The answer is greedy unless `sample` is given.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    constraint: Constraint | None = None
    sample: Sample | None = None

    def as_dict(self) -> dict[str, Any]:
        """For hashing: everything that the answer depends on, besides the model."""
        sample = {} if self.sample is None else {"sample": [self.sample.temperature, self.sample.seed]}
        return sample | {
            "messages": [m.as_dict() for m in self.messages],
            "max_tokens": self.max_tokens,
            "constraint": None if self.constraint is None else self.constraint.as_dict(),
        }


Finish = Literal["stop", "length", "content_filter", "tool_calls"]


@dataclass(frozen=True)
class Answer:
    """What a model said and what it took.

    `prompt_tokens` counts all input tokens; `shared_tokens` those of them that a prefix cache spared; `seconds` is the
    share of wall time of this request. `finish` is "length" when the token limit cut the answer off; an endpoint may
    also have withheld the text ("content_filter") or asked for a tool instead ("tool_calls"). `served` is the model
    that an endpoint says it answered with: names such as `gpt-5-mini` stand for versions that change.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finish: Finish
    shared_tokens: int = 0
    served: str = ""


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, and where the figure comes from.

    `cached` is the price of an input token found in the provider's cache, `write` that of one put there (None: as
    `input`).
    """

    input: float
    output: float
    cached: float
    source: str
    date: str
    write: float | None = None


@runtime_checkable
class Model(Protocol):
    """A language model that answers. Implemented by `LocalModel`, `EndpointModel` and `ScriptedModel`."""

    @property
    def name(self) -> str:
        """As the user names it."""
        ...

    @property
    def identity(self) -> str:
        """Hash of everything that its answers depend on (weights, adapter, tokenizer, template, precision)."""
        ...

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer; gives (index into `requests`, answer) as soon as each is known, in any order.

        An answer is greedy where its request does not sample.

        Raises:
            ModelError: the model cannot answer a request (too long, no template); it names the request.
        """
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens that these messages become with the model's own chat template."""
        ...
