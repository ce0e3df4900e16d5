"""Scoring by a model: blind, at temperature 0, each answer once, and every judgement kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from luthier.data import Example, Message, content_hash
from luthier.errors import Problem, ScorerError, TooLongError
from luthier.evaluate._asking import AnswerStore, answer_from, ask
from luthier.evaluate._judge_form import FORM, Question, questions
from luthier.evaluate._records import Scored
from luthier.models import Answer, Constraint, EndpointModel, Model, Price, Request, ScriptedModel, cost_of, load_model
from luthier.spec import JudgeScore

MOST_BROKEN = 0.05  # share of answers that a judge may leave unjudged
AT_ONCE = 40  # answers that are judged before it is looked whether the judge keeps to its form
UNJUDGED = 0.5  # stands for an answer without judgement; the correction by labels is right whatever stands there
WORD_TOKENS, FREE_TOKENS = (
    8,
    1024,
)  # room for the reply: one word; hosted models may think before it, and are paid for it


class KeptAnswers(Protocol):
    """A store that knows which model gave an answer; implemented by `Store`."""

    def answers_of(self, model: str) -> Iterator[dict[str, Any]]:
        """All answers of a model, by what they are kept under."""
        ...


@dataclass(frozen=True)
class _Judgement:
    value: float | None
    agreed: bool | None  # of both orders; None where one was asked
    cause: str = ""
    reply: str = ""


class JudgeScorer:
    """What a model says of an answer. Scores are known once `judge` has asked for them.

    Args:
        settings: `score:` in luthier.yaml.
        model: the judge, instead of loading the one that the settings name.
    """

    binary = False  # what is decided on are scores corrected by labels, which are neither 0 nor 1

    def __init__(self, settings: JudgeScore, model: Model | None = None) -> None:
        self.settings = settings
        self._given = model
        self._found: dict[tuple[str, str], _Judgement] = {}
        self.served: Counter[str] = Counter()

    @cached_property
    def model(self) -> Model:
        """The judge.

        Raises:
            ModelError: it cannot be found or loaded.
        """
        return self._given if self._given is not None else load_model(self.settings.model)

    @property
    def name(self) -> str:
        """The judge with the version that it says it is, and the hash of its rubric."""
        model = self.settings.model.rstrip("/").rpartition("#" if "#" in self.settings.model else "/")[2]
        served = [version for version in self.served if version != model]
        version = f" ({', '.join(served)})" if served else ""
        how = self.settings.mode if self.settings.mode == "pairwise" else self.settings.scale
        return f"judge {model}{version}, {how}, rubric {self.rubric_hash[:8]}"

    @property
    def rubric_hash(self) -> str:
        """Hash of the rubric's text."""
        return content_hash(self.settings.rubric)

    @cached_property
    def identity(self) -> str:
        """Hash of all that a score depends on besides the case and the answer."""
        asked = [self.settings.rubric, self.settings.scale, self.settings.mode, FORM]
        return content_hash({"judge": self.model.identity, "asked": asked})

    @property
    def kept_as(self) -> str:
        """What judgements are kept under: apart from the model's own answers, so that no rung is charged for them."""
        return content_hash({"judge": self.model.identity})

    def judge(self, items: Sequence[tuple[Example, str]], store: AnswerStore) -> None:
        """Ask for the judgements of these answers that are not known yet.

        A judge that breaks its form is asked once more, then the answer stays unjudged.

        Raises:
            ScorerError: it left too many answers unjudged, or an answer does not fit its context.
            ModelError: the judge failed, or the budget is used up; what it said before is kept.
        """
        new = {(case.id, answer): case for case, answer in items if (case.id, answer) not in self._found}
        keys = list(new)
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            asked = {key: questions(self.settings, new[key], key[1]) for key in some}
            self._found |= self._judgements(asked, store)
            if len(self._found) >= AT_ONCE:
                self.demand_form()

    def judged(self, case: Example, answer: str) -> Scored:
        """The score of an answer that was judged. `details["unjudged"]` is 1 where the judge broke its form."""
        found = self._found[case.id, answer]
        if found.value is None:
            return Scored(UNJUDGED, {"unjudged": 1.0})
        return Scored(found.value, {} if found.agreed is None else {"orders_agree": float(found.agreed)})

    def score(self, answer: str, wanted: str) -> Scored:
        """Nothing: two texts alone are not judged.

        Raises:
            ScorerError: always.
        """
        raise ScorerError(
            "a judge scores answers to cases, not bare texts",
            why="it reads the input too, and each judgement is paid for and kept",
            fix="measure cases: luthier decide",
        )

    def constraint(self) -> Constraint | None:
        """None: what a judge wants of an answer has no form."""
        return None

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Any text can be judged against."""
        return None

    @property
    def unjudged(self) -> Counter[str]:
        """How many answers have no judgement, by cause."""
        return Counter(found.cause for found in self._found.values() if found.value is None)

    def demand_form(self) -> None:
        """Nothing, where the judge kept to its form.

        Raises:
            ScorerError: more than 5 % of the answers stayed unjudged.
        """
        broken = self.unjudged.total()
        if broken <= MOST_BROKEN * len(self._found):
            return
        shown = [found for found in self._found.values() if found.value is None][:3]
        raise ScorerError(
            f"the judge {self.settings.model} broke its form in {broken} of {len(self._found)} answers",
            why=f"more than {MOST_BROKEN:.0%} without a judgement would leave the score to what the judge cannot read",
            fix="name a stronger judge (score.model), or say in the rubric that it replies with one word only",
            problems=[Problem(f"{found.cause}: {found.reply[:80]!r}") for found in shown],
        )

    def spent(self, store: KeptAnswers, price: Price) -> float:
        """US dollars that all kept judgements of this judge have cost."""
        return sum(cost_of(answer_from(value), price) for value in store.answers_of(self.kept_as))

    def _judgements(
        self, asked: Mapping[tuple[str, str], Sequence[Question]], store: AnswerStore
    ) -> dict[tuple[str, str], _Judgement]:
        flat = [question for some in asked.values() for question in some]
        replies = self._replies([(question.messages(), question.choices) for question in flat], store)
        pairs = list(zip(flat, replies, strict=True))
        broken = [place for place, (question, reply) in enumerate(pairs) if question.read(reply.text) is None]
        once_more = [(flat[place].again(replies[place].text), flat[place].choices) for place in broken]
        for place, reply in zip(broken, self._replies(once_more, store), strict=True):
            pairs[place] = (flat[place], reply)
        said = iter(pairs)
        return {key: _judgement([next(said) for _ in some]) for key, some in asked.items()}

    def _replies(
        self, asked: Sequence[tuple[tuple[Message, ...], tuple[str, ...]]], store: AnswerStore
    ) -> list[Answer]:
        """The judge's replies, one for each question; those that are kept unasked."""
        # A local judge can only write one of the choices; a hosted one may not know constraints, so its text is read.
        free = isinstance(self.model, EndpointModel | ScriptedModel)
        keys, requests = [], {}
        for messages, choices in asked:
            constraint = None if free else Constraint(choices=choices)
            request = Request(messages, FREE_TOKENS if free else WORD_TOKENS, constraint)
            keys.append(content_hash(["judgement", self.kept_as, request.as_dict()]))
            requests[keys[-1]] = request
        known = {key: answer_from(value) for key, value in store.get_answers(list(requests)).items()}
        missing = {key: request for key, request in requests.items() if key not in known}
        try:
            if missing:
                ask(self.model, missing, store, known.__setitem__, self.kept_as)
        except TooLongError as error:
            raise ScorerError(
                f"an answer with its case does not fit the judge {self.settings.model}: {error.what}",
                fix="name a judge with a longer context (score.model), or lower max_answer_tokens",
            ) from error
        self.served.update(known[key].served for key in requests if known[key].served)
        return [known[key] for key in keys]


def _judgement(said: Sequence[tuple[Question, Answer]]) -> _Judgement:
    """One judgement from the replies to one question, or to the same in both orders."""
    values = []
    for question, reply in said:
        value = question.read(reply.text)
        if value is None:
            return _Judgement(None, None, _cause(question, reply), reply.text)
        values.append(value)
    if len(values) == 1:
        return _Judgement(values[0], None)
    agreed = values[0] == values[1]
    return _Judgement(values[0] if agreed else 0.5, agreed)


def _cause(question: Question, reply: Answer) -> str:
    if reply.finish == "length":
        return "the judge's reply was cut off"
    if not reply.text.strip():
        return "the judge said nothing"
    return f"the judge's reply is none of {', '.join(question.choices)}"
