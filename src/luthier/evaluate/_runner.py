"""Measuring: every case answered once, scored, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from luthier.data import Example, Message, content_hash
from luthier.errors import ScorerError
from luthier.evaluate._asking import AnswerStore, answer_from, ask
from luthier.evaluate._judge import JudgeScorer
from luthier.evaluate._records import Record
from luthier.evaluate._scorers import Scorer
from luthier.models import Answer, Model, Price, Request, cost_of, price_of


class Answerer(Protocol):
    """A system that can be measured: it says what its model is to be asked for an input."""

    @property
    def identity(self) -> str:
        """Hash of everything that its answers depend on."""
        ...

    @property
    def model(self) -> Model:
        """The model that answers."""
        ...

    def request(self, messages: Sequence[Message], /) -> Request:
        """The whole conversation that the model is asked for a case's input."""
        ...


def measure(
    answerer: Answerer,
    cases: Sequence[Example],
    scorer: Scorer,
    store: AnswerStore,
    *,
    on_record: Callable[[Record], None] | None = None,
    prices: Path | None = None,
) -> list[Record]:
    """Answer and score the cases; the records stand in the order of the cases.

    See `measure_together`, of which this is the case of one system.
    """
    [records] = measure_together([answerer], cases, scorer, store, on_record=on_record, prices=prices)
    return records


def measure_together(
    answerers: Sequence[Answerer],
    cases: Sequence[Example],
    scorer: Scorer,
    store: AnswerStore,
    *,
    on_record: Callable[[Record], None] | None = None,
    prices: Path | None = None,
) -> list[list[Record]]:
    """Answer and score the same cases with several systems; what their models are asked goes out together.

    A local model runs many prompts in one pass for little more than the price of one, so variants that are compared on
    a few cases cost less side by side. The records of each system stand in the order of the cases.

    An answer that the store knows is not asked for again, so an interrupted run goes on where it stopped; scores are
    computed afresh each time, so a changed scorer needs no new answers.

    Args:
        answerers: the systems to measure.
        cases: what each is asked.
        scorer: how answers are scored.
        store: where answers are kept, by a hash of the model and the request.
        on_record: called once per system and case, as soon as it is scored.
        prices: the user's price sheet; the shipped one where None.

    Raises:
        TooLongError: a request does not fit its model's context.
        ModelError: a model failed, or did not answer every request.
        ScorerError: a user's scorer failed; it names the case. Answers so far are kept.
        StoreError: answers cannot be read or kept.
    """
    requests: dict[str, tuple[Model, Request]] = {}
    places: dict[str, list[tuple[int, int]]] = {}  # answer key -> (system, case)
    for system, answerer in enumerate(answerers):
        for index, case in enumerate(cases):
            request = answerer.request(case.messages)
            key = answer_key(answerer.model, request)
            requests.setdefault(key, (answerer.model, request))
            places.setdefault(key, []).append((system, index))
    costs = [price_of(answerer.model.name, prices) for answerer in answerers]
    records: dict[tuple[int, int], Record] = {}

    def score(key: str, answer: Answer) -> None:
        for system, index in places[key]:
            records[system, index] = _record(cases[index], answer, scorer, costs[system])
            if on_record is not None:
                on_record(records[system, index])

    judged: dict[str, Answer] = {}  # a judge reads the answers together, once all are there

    _ask_unknown(requests, store, judged.__setitem__ if isinstance(scorer, JudgeScorer) else score)
    if isinstance(scorer, JudgeScorer):
        scorer.judge([(cases[index], answer.text) for key, answer in judged.items() for _, index in places[key]], store)
        for key, answer in judged.items():
            score(key, answer)
    return [[records[system, index] for index in range(len(cases))] for system in range(len(answerers))]


class SpendingStore(Protocol):
    """A store that knows which model gave an answer; implemented by `Store`."""

    def answers_of(self, model: str) -> Iterator[dict[str, Any]]:
        """All answers of a model, by its identity."""
        ...


def spent_on(model: Model, price: Price, store: SpendingStore) -> float:
    """US dollars that all kept answers of a model have cost."""
    return sum(cost_of(answer_from(value), price) for value in store.answers_of(model.identity))


def ask_all(model: Model, requests: Sequence[Request], store: AnswerStore) -> list[Answer]:
    """Answers to requests that belong to no case, in their order; kept, and not asked again, like those of cases.

    Raises:
        ModelError: the model failed, or did not answer every request.
        StoreError: answers cannot be read or kept.
    """
    keys = [answer_key(model, request) for request in requests]
    found: dict[str, Answer] = {}
    _ask_unknown({key: (model, request) for key, request in zip(keys, requests, strict=True)}, store, found.__setitem__)
    return [found[key] for key in keys]


def _ask_unknown(
    requests: Mapping[str, tuple[Model, Request]], store: AnswerStore, take: Callable[[str, Answer], None]
) -> None:
    """Hand on the answers that the store knows, then those that each model gives to what is left."""
    known = {key: answer_from(value) for key, value in store.get_answers(list(requests)).items()}
    for key, answer in known.items():
        take(key, answer)
    missing: dict[str, dict[str, Request]] = {}
    models: dict[str, Model] = {}
    for key, (model, request) in requests.items():
        if key not in known:
            models.setdefault(model.identity, model)
            missing.setdefault(model.identity, {})[key] = request
    for identity, asked in missing.items():
        ask(models[identity], asked, store, take)


def answer_key(model: Model, request: Request) -> str:
    """What an answer is kept under: a hash of the model's identity and everything that it was asked."""
    return content_hash([model.identity, request.as_dict()])


def _record(case: Example, answer: Answer, scorer: Scorer, price: Price | None) -> Record:
    try:
        if isinstance(scorer, JudgeScorer):
            scored = scorer.judged(case, answer.text)
        else:
            scored = scorer.score(answer.text, case.output)
    except ScorerError as error:
        where = f"case {case.id} ({case.source})" if case.source.file else f"case {case.id}"
        raise ScorerError(f"{where}: {error.what}", why=error.why, fix=error.fix, problems=error.problems) from error
    return Record(
        case=case.id,
        answer=answer.text,
        score=scored.value,
        details=scored.details,
        prompt_tokens=answer.prompt_tokens,
        shared_tokens=answer.shared_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=answer.seconds,
        finish=answer.finish,
        cost=None if price is None else cost_of(answer, price),
        served=answer.served,
    )
