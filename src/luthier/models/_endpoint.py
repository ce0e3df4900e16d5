"""A model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError

from luthier.data import Message, content_hash
from luthier.errors import BudgetError, EndpointError, ModelError, TooLongError
from luthier.models._base import Answer, Constraint, Finish, Request
from luthier.models._budget import TRIES, Budget

CONCURRENT = 8
TIMEOUT = 120.0  # seconds for one try
RETRIES = 4  # of the openai client: exponential backoff on 408, 409, 429, 5xx and lost connections; heeds Retry-After
KEY = "OPENAI_API_KEY"
AGAIN = (408, 409, 429)  # of the refusals, those that the client tries again
MOST_TOKENS = 10**9  # that a reply may say it took: more is a mistake, not a price


class EndpointModel:
    """A hosted model, by `http(s)://host/v1#model`.

    Asks at temperature 0 with a fixed seed, or as a request's sample says. Hosted models are not bit for bit
    repeatable, and the name is all that is known of their weights: the identity is that of the address and the name.

    The key is read from the environment variable OPENAI_API_KEY when the first request is made; it is never stored,
    and not sent over plain http except to this machine.

    Args:
        name: the address with the model's name after `#`.
        retries: of the client, see `RETRIES`.
        timeout: seconds for one try.
    """

    def __init__(self, name: str, *, retries: int = RETRIES, timeout: float = TIMEOUT) -> None:
        address, _, model = name.partition("#")
        if not model or not urlsplit(address).hostname:
            raise ModelError(
                f"the endpoint {name!r} names no model",
                fix="write the address, `#`, and the model's name there: https://api.openai.com/v1#gpt-5-mini",
            )
        self.name = name
        self.identity = content_hash({"endpoint": address.rstrip("/"), "model": model})
        self._address, self._model = address.rstrip("/"), model
        self._retries, self._timeout = retries, timeout
        self._lock = threading.Lock()
        self._refused: frozenset[str] = frozenset()  # settings that this model told us it does not take
        self._client: Any = None
        self._budget: Budget | None = None
        self._lost: list[_Usage] = []  # of replies that could not be used

    def spend_within(self, budget: Budget | None) -> None:
        """From now on no request is sent that the budget does not allow; None lifts it."""
        self._budget = budget

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answers, up to eight requests at a time; each is given out as soon as it is there.

        When one fails for good, no further request is sent, the answers that are already paid for are still given
        out, and then the error is raised. `seconds` is the time of a request alone, retries included.

        Raises:
            TooLongError: a request does not fit the model's context.
            EndpointError: refused, failed, or answered garbage after all retries.
            BudgetError: the next request could cost more than is left.
        """
        # Threads, not an event loop: this runs inside notebooks and servers, which have a loop of their own.
        pool = ThreadPoolExecutor(max_workers=CONCURRENT, thread_name_prefix="luthier-endpoint")
        waiting: dict[Future[Answer], tuple[int, float]] = {}
        sent = 0
        failure: tuple[int, ModelError] | None = None
        try:
            while True:
                while failure is None and len(waiting) < CONCURRENT and sent < len(requests):
                    aside = self._budget.set_aside(requests[sent]) if self._budget is not None else 0.0
                    if aside is None:
                        if not waiting:  # all that is under way is settled, and still too little is left
                            failure = (sent, self._spent())
                        break
                    waiting[pool.submit(self._ask, requests[sent])] = (sent, aside)
                    sent += 1
                if not waiting:
                    break
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    index, aside = waiting.pop(future)
                    error = future.exception()
                    answer = future.result() if error is None else None
                    if self._budget is not None:
                        self._budget.settle(aside, answer)
                        for usage in self._take_lost():
                            self._budget.charge(usage.prompt_tokens, usage.completion_tokens)
                    if answer is not None:
                        yield index, answer
                    elif isinstance(error, EndpointError | TooLongError):
                        failure = failure or (index, error)
                    else:
                        assert error is not None  # there is no answer
                        raise error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            raise type(failure[1])(
                f"request {failure[0]}: {failure[1].what}", why=failure[1].why, fix=failure[1].fix
            ) from failure[1]

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate, as the tokenizer is not known: four characters a token, four tokens a message.

        Answers carry the endpoint's own count.
        """
        return sum(4 + -(-len(m.content) // 4) for m in messages)

    def _ask(self, request: Request) -> Answer:
        started = time.perf_counter()
        problem = ""
        for _ in range(TRIES):
            body = self._send(request)
            try:
                reply = _Reply.model_validate_json(_without_halves(body))
            except ValidationError as error:
                self._note_lost(body)
                problem = f"{error.error_count()} problem(s), the first: {error.errors()[0]['msg']}: {body[:200]!r}"
            else:
                return reply.as_answer(request.constraint, time.perf_counter() - started)
        raise EndpointError(
            f"{self.name} answered something that is no chat completion: {problem}",
            why="the answer's text and the number of its tokens are needed",
            fix="check that the address ends where the API begins (usually /v1) and that the server reports `usage`",
        )

    def _send(self, request: Request) -> str:
        """The body of the reply. Settings that the model refuses are left out from then on."""
        import openai

        while True:
            refused = self._refused
            try:
                raw = self._connect().chat.completions.with_raw_response.create(**self._settings(request, refused))
                # JSON is UTF-8 whatever charset a header names (RFC 8259).
                return bytes(raw.http_response.content).decode("utf-8", "replace")
            except openai.BadRequestError as error:
                if error.param not in ("temperature", "seed", "max_tokens") or error.param in refused:
                    raise self._failed(error) from error
                if error.param == "temperature" and request.sample is not None:
                    raise EndpointError(
                        f"{self.name} lets nobody set the temperature",
                        why="answers that are voted on are sampled at a temperature that the system's lock names",
                        fix="take self-consistency out of decide.methods",
                    ) from error
                with self._lock:
                    self._refused |= {error.param}
            except openai.OpenAIError as error:
                raise self._failed(error) from error

    def _settings(self, request: Request, refused: frozenset[str]) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "model": self._model,
            "messages": [m.as_dict() for m in request.messages],
            "temperature": 0 if request.sample is None else request.sample.temperature,
            "seed": 0 if request.sample is None else request.sample.seed,
            "max_tokens": request.max_tokens,
        }
        for name in refused:
            del settings[name]
        if "max_tokens" in refused:
            settings["max_completion_tokens"] = request.max_tokens  # how newer models want it called
        if request.constraint is not None:
            settings["response_format"] = _response_format(request.constraint)
        return settings

    def _connect(self) -> Any:
        import openai

        with self._lock:
            if self._client is None:
                self._client = openai.OpenAI(
                    base_url=self._address,
                    api_key=(os.environ.get(KEY) if _may_see_key(self._address) else None) or "none",
                    max_retries=self._retries,
                    timeout=self._timeout,
                )
            return self._client

    def _note_lost(self, body: str) -> None:
        """Remember what a reply took that is no answer, where it says so."""
        try:
            usage = _Usage.model_validate(json.loads(body)["usage"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        with self._lock:
            self._lost.append(usage)

    def _take_lost(self) -> list[_Usage]:
        with self._lock:
            found, self._lost = self._lost, []
        return found

    def _spent(self) -> BudgetError:
        assert self._budget is not None  # it has refused a request
        return BudgetError(
            f"the budget of ${self._budget.limit:g} for {self.name} is used up: ${self._budget.spent:.4f} are spent, "
            "and the next request could cost more than the rest",
            why="the price of a request is known only when it is answered, so it is counted at its dearest before",
            fix="raise `decide: {budget: ...}` in luthier.yaml and run the same command again: answers are kept",
        )

    def _failed(self, error: Exception) -> ModelError:
        import openai

        told = _told(error)
        tried = f"{self._retries + 1} tries"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return EndpointError(
                f"{self.name} refused the key: {told}", fix=f"type: export {KEY}=... (a key of that provider)"
            )
        if isinstance(error, openai.NotFoundError):
            return EndpointError(
                f"{self.name} was not found: {told}",
                fix="check the address (it usually ends in /v1) and the model's name after `#`",
            )
        if _is_too_long(error, told):
            return TooLongError(
                f"a request does not fit {self.name}: {told}",
                fix="shorten the prompt, lower max_answer_tokens, or choose a model with a longer context",
            )
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            return EndpointError(
                f"{self.name} refused the request: {told}",
                why="a request that is refused once is refused always",
                fix="shorten the prompt if it is too long; leave constrained rungs out if it has no `response_format`",
            )
        if isinstance(error, openai.RateLimitError):
            return EndpointError(
                f"{self.name} is over its rate limit or quota after {tried}: {told}",
                fix="wait, or raise the limit with the provider, and run the same command again: answers are kept",
            )
        if (
            isinstance(error, openai.APIStatusError)
            and 400 <= error.status_code < 500
            and error.status_code not in AGAIN
        ):
            return EndpointError(
                f"{self.name} refused the request: {told}",
                fix="do what the provider's message asks for, and run the same command again: answers are kept",
            )
        return EndpointError(
            f"{self.name} failed after {tried}: {told or type(error).__name__}",
            fix="check that the server runs and can be reached, and run the same command again: answers are kept",
        )


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None

    @property
    def finish(self) -> Finish:
        """Why there is no more text."""
        known: dict[str | None, Finish] = {
            "length": "length",
            "content_filter": "content_filter",
            "tool_calls": "tool_calls",
            "function_call": "tool_calls",
        }
        return known.get(self.finish_reason, "stop")


class _Cached(BaseModel):
    cached_tokens: int | None = Field(default=None, ge=0, le=MOST_TOKENS)


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0, le=MOST_TOKENS)
    completion_tokens: int = Field(ge=0, le=MOST_TOKENS)
    prompt_tokens_details: _Cached | None = None


class _Reply(BaseModel):
    """The part of a chat completion that is needed; anything else in it is ignored."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage
    model: str | None = None

    def as_answer(self, constraint: Constraint | None, seconds: float) -> Answer:
        first = self.choices[0]
        text = first.message.content or first.message.refusal or ""
        details = self.usage.prompt_tokens_details
        return Answer(
            text=_unwrapped(text) if constraint is not None and constraint.choices is not None else text,
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            seconds=seconds,
            finish=first.finish,
            # never more than there were: the rest would be counted as tokens that cost less than nothing
            shared_tokens=min((details.cached_tokens or 0) if details is not None else 0, self.usage.prompt_tokens),
            served=self.model or "",
        )


def _without_halves(body: str) -> str:
    """The JSON with halves of surrogate pairs replaced, as a model writes that is cut off inside a character."""
    if "\\ud" not in body.casefold():
        return body
    try:
        found = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):  # no JSON: whoever reads it says so
        return body
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _response_format(constraint: Constraint) -> dict[str, Any]:
    if constraint.choices is not None:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(constraint.choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
    else:
        schema = json.loads(constraint.json_schema or "{}")
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": _is_strict(schema)}}


def _is_strict(schema: Any) -> bool:
    """Whether every object in the schema is closed with all its properties required, which strict mode asks for."""
    if isinstance(schema, list):
        return all(_is_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(schema.get("properties", {})):
            return False
    return all(_is_strict(part) for part in schema.values())


def _unwrapped(text: str) -> str:
    """The choice inside `{"answer": ...}`; the text itself where the endpoint did not keep to the form."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    found = value.get("answer") if isinstance(value, dict) else None
    return found if isinstance(found, str) else text


def _told(error: Exception) -> str:
    """The provider's message; where it has none in the usual place, the beginning of what was sent."""
    told = str(getattr(error, "message", "") or error).strip()
    response = getattr(error, "response", None)
    if response is None or not re.fullmatch(r"Error code: \d+", told):
        return told
    sent = " ".join(response.content.decode("utf-8", "replace").split())[:200]
    return f"{told} - {sent}" if sent else told


def _is_too_long(error: Exception, told: str) -> bool:
    """Whether a server says that the prompt exceeds its context: OpenAI and llama.cpp by code, vLLM in words."""
    named = {str(getattr(error, "code", "")), str(getattr(error, "type", ""))}
    return bool(named & {"context_length_exceeded", "exceed_context_size_error"}) or (
        getattr(error, "status_code", None) == 400 and "maximum context length" in told.lower()
    )


def _may_see_key(address: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
