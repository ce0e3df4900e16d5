"""Train/serve parity: the system as a client meets it is asked what the measured one was, and answers the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from luthier.data import Example
from luthier.evaluate import Record
from luthier.models import EndpointModel, Model, Request, asked_model
from luthier.release._chat import ChatBody, Refusal, SystemMessages, conversation, system_messages_in

if TYPE_CHECKING:
    from luthier.decide import System

PARITY_CASES = 50


@runtime_checkable
class Tokenizing(Protocol):
    """A model whose token ids can be seen: one that runs here."""

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        ...


@dataclass(frozen=True)
class Parity:
    """What was compared on `cases` cases; the differences are ids of cases.

    `tokens_compared` is False for a hosted model, whose token ids nobody outside sees: there the conversations are
    compared. `exact` is False where the same request may now and then be answered differently: by a hosted model, or
    in 16-bit arithmetic, whose rounding depends on what else is in the batch.
    """

    cases: int
    tokens_compared: bool
    exact: bool
    request_differences: tuple[str, ...]
    answer_differences: tuple[str, ...]


def measure_parity(
    measured: System, served: System, cases: Sequence[Example], records: Sequence[Record], *, limit: int = PARITY_CASES
) -> Parity:
    """Send cases through the serving path and compare with what was measured.

    Compared are the token ids of the rendered request: as served, as measured, and for a fine-tune as trained; the
    number of prompt tokens in the record; and the answer, made again and not taken from the cache.

    Args:
        measured: the system that gave `records`.
        served: the same system as it will be served (loaded from its release, for example).
        cases: test cases; the first `limit` that have a record are used.
        records: the measurement.
        limit: how many cases to compare.

    Raises:
        ModelError: the model cannot answer.
    """
    by_case = {record.case: record for record in records}
    used = [case for case in cases if case.id in by_case][:limit]
    accepts = system_messages_in(used, measured.setup.instructions)
    requests: dict[str, Request] = {}
    different = []
    for case in used:
        request = _as_served(served, case, accepts)
        if request is not None:
            requests[case.id] = request
        if request is None or not _same_request(measured, served, case, request, by_case[case.id]):
            different.append(case.id)
    order = list(requests)
    answers = {order[index]: answer.text for index, answer in served.model.answer(list(requests.values()))}
    return Parity(
        cases=len(used),
        tokens_compared=isinstance(served.model, Tokenizing),
        exact=_answers_exactly(served.model),
        request_differences=tuple(different),
        answer_differences=tuple(case for case in order if answers[case] != by_case[case].answer),
    )


def _as_served(served: System, case: Example, accepts: SystemMessages) -> Request | None:
    """The request that a client's message becomes; None when the server would refuse it."""
    body = ChatBody.model_validate({"model": "parity", "messages": [m.as_dict() for m in case.messages]})
    try:
        return served.request(conversation(body, served.setup.instructions, accepts))
    except Refusal:
        return None


def _same_request(measured: System, served: System, case: Example, request: Request, record: Record) -> bool:
    was = measured.request(case.messages)
    if was.as_dict() != request.as_dict():
        return False
    if not (isinstance(served.model, Tokenizing) and isinstance(measured.model, Tokenizing)):
        return True
    from luthier.models import render_example, render_prompt

    ids = render_prompt(served.model.tokenizer, request.messages)
    if ids != render_prompt(measured.model.tokenizer, was.messages) or len(ids) != record.prompt_tokens:
        return False
    if served.setup.adapter is None:
        return True
    trained = render_example(served.model.tokenizer, was.messages, case.output)
    return ids == list(trained.ids[: trained.prompt_length])


def _answers_exactly(model: Model) -> bool:
    model = asked_model(model)
    if isinstance(model, EndpointModel):
        return False
    module = getattr(model, "module", None)
    return module is None or str(module.dtype) in ("torch.float32", "torch.float64")
