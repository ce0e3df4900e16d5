"""The OpenAI chat form, as far as a released system speaks it: what is accepted, what is refused and why."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from luthier.data import Example, Message, Role
from luthier.models import Answer

SystemMessages = Literal["none", "some", "all"]

AS_IT_WAS = "this system decodes as it was measured"
WITHOUT_EFFECT = frozenset(  # settings that cannot change the answer
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "top_p",
        "user",
    }
)
AS_MEASURED: dict[str, tuple[tuple[Any, ...], str]] = {  # name -> values that change nothing, and why no others
    "temperature": ((0,), AS_IT_WAS),
    "n": ((1,), f"{AS_IT_WAS}: all answers would be the same"),
    "presence_penalty": ((0,), AS_IT_WAS),
    "frequency_penalty": ((0,), AS_IT_WAS),
    "logit_bias": (({},), AS_IT_WAS),
    "logprobs": ((False,), "log-probabilities are not given"),
    "top_logprobs": ((0,), "log-probabilities are not given"),
    "stop": (([], ""), "answers end where the model ends them, as measured"),
    "tools": (([],), "it was measured without tools"),
    "tool_choice": (("none", "auto"), "it was measured without tools"),
    "functions": (([],), "it was measured without functions"),
    "function_call": (("none", "auto"), "it was measured without functions"),
    "response_format": (({"type": "text"},), "the form of its answers is part of the system"),
    "modalities": ((["text"],), "it answers with text"),
    "reasoning_effort": (("none",), "it was measured without"),
}


class Refusal(Exception):
    """A request that is not answered, in the words of the OpenAI API."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        self.status, self.message, self.param, self.code = status, message, param, code
        super().__init__(message)

    def as_dict(self) -> dict[str, Any]:
        """The body of the response."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class TextPart(BaseModel):
    """A part of a message; only text is understood."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class Turn(BaseModel):
    """One message of the client. Fields that are null (as clients send back an answer) say nothing."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream holds besides the answer."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class ChatBody(BaseModel):
    """The body of `/v1/chat/completions`; everything that is not a field here is looked at by `refused_settings`."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[Turn] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @field_validator("stream", mode="before")
    @classmethod
    def _null_is_false(cls, value: Any) -> Any:
        return False if value is None else value

    @property
    def limit(self) -> int | None:
        """The number of tokens the client allows, or None."""
        given = [n for n in (self.max_tokens, self.max_completion_tokens) if n is not None]
        return min(given) if given else None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that holds the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


def check_settings(body: ChatBody) -> None:
    """Refuse settings that would change the answer: nothing that a client asks for is ignored in silence.

    Raises:
        Refusal: all settings that cannot be honoured, in one message.
    """
    refused = {name: _why_refused(name, value) for name, value in (body.model_extra or {}).items()}
    reasons = [f"{name}: {why}" for name, why in refused.items() if why]
    for place, turn in enumerate(body.messages):
        extra = [name for name, value in (turn.model_extra or {}).items() if value and name != "name"]
        reasons += [f"messages[{place}].{name}: not part of what the system was measured with" for name in extra]
    if reasons:
        first = next((name for name, why in refused.items() if why), "messages")
        raise Refusal(400, "; ".join(reasons), param=first, code="unsupported_value")


def _why_refused(name: str, value: Any) -> str:
    if value is None or name in WITHOUT_EFFECT:
        return ""
    if name not in AS_MEASURED:
        return "unknown field; leave it out"
    same, why = AS_MEASURED[name]
    if any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in same):
        return ""
    return f"{json.dumps(value)} is not possible, for {why}; leave it out or give {json.dumps(same[0])}"


def conversation(body: ChatBody, instructions: str, own: SystemMessages) -> tuple[Message, ...]:
    """The client's turns as the system takes them, without the system's own instructions.

    Args:
        body: the request.
        instructions: the system's; a client that sends just these again is understood.
        own: whether the cases that the system was measured on carried system messages of their own.

    Raises:
        Refusal: the conversation is of another form than what was measured.
    """
    roles: list[Role] = ["system" if turn.role == "developer" else turn.role for turn in body.messages]
    if "system" in roles[1:]:
        raise Refusal(400, "only the first message may be a system message", param="messages")
    if roles[-1] != "user":
        raise Refusal(400, f"the last message must be the user's, not the {roles[-1]}'s", param="messages")
    if not body.messages[-1].text.strip():
        raise Refusal(400, "the last message is empty", param="messages")
    messages = []
    for role, turn in zip(roles, body.messages, strict=True):
        if role == "system" and turn.text.strip() == instructions.strip():
            continue
        messages.append(Message(role, turn.text))
    given = messages[0].role == "system"
    if given and own == "none":
        raise Refusal(
            400,
            "this system has instructions of its own and was measured with them: another system message would make it "
            "a system that nobody has measured. Send the user's messages only; to change the instructions, change them "
            "in luthier.yaml, then decide and release again",
            param="messages",
            code="system_message_not_measured",
        )
    if own == "all" and not given:
        raise Refusal(
            400,
            "every case that this system was measured on began with a system message: send one like theirs first",
            param="messages",
            code="system_message_missing",
        )
    return tuple(messages)


def system_messages_in(cases: Sequence[Example], instructions: str) -> SystemMessages:
    """Whether cases carry system messages other than the instructions: what clients may, may not or must send."""
    own = [any(m.role == "system" and m.content.strip() != instructions.strip() for m in c.messages) for c in cases]
    if not any(own):
        return "none"
    return "all" if all(own) else "some"


class Reply:
    """One answer in the forms that the API has: whole, or in chunks."""

    def __init__(self, model: str, fingerprint: str) -> None:
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._common = {"created": int(time.time()), "model": model, "system_fingerprint": fingerprint}

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
        return {
            "id": self._id,
            "object": "chat.completion",
            **self._common,
            "choices": [choice],
            "usage": usage_of(answer),
        }

    def first(self) -> str:
        """The event that opens a stream."""
        return self._event({"role": "assistant", "content": ""}, None)

    def piece(self, text: str) -> str:
        """An event with some text."""
        return self._event({"content": text}, None)

    def last(self, answer: Answer, *, usage: bool) -> Iterator[str]:
        """The events that end a stream."""
        yield self._event({}, answer.finish)
        if usage:
            yield _sse({**self._chunk(), "choices": [], "usage": usage_of(answer)})
        yield "data: [DONE]\n\n"

    def _event(self, delta: dict[str, Any], finish: str | None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse({**self._chunk(), "choices": [choice]})

    def _chunk(self) -> dict[str, Any]:
        return {"id": self._id, "object": "chat.completion.chunk", **self._common}


def usage_of(answer: Answer) -> dict[str, Any]:
    """Token counts as the API names them."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.shared_tokens},
    }


def in_words(text: str) -> list[str]:
    """A text cut behind each run of white space; joined, the pieces are the text."""
    return re.findall(r"\S*\s+|\S+", text)


def _sse(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
