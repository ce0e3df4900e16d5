"""Several sampled answers to each request, and what most of them agree on (self-consistency, Wang et al. 2022)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from luthier.data import Message, content_hash
from luthier.models._base import Answer, Model, Request, Sample
from luthier.models._endpoint import CONCURRENT, EndpointModel

Form = Callable[[str], str | None]
"""What an answer says, so that answers can be counted; None for one that says nothing and has no vote."""


class VotingModel:
    """A model that is asked each request several times, sampled, and gives the answer that most agree on.

    The first answer of the winning form is given; of forms with as many votes, the one that was said first wins; where
    none has a form, the first answer is given. Seeds are taken from the request, so the same request gets the same
    answer (with an endpoint, as far as it heeds seeds). Tokens and `seconds` are those of all answers together; answers
    of an endpoint come side by side, so its `seconds` are those of the slowest, once for every eight.

    Args:
        base: the model that is asked.
        votes: how often.
        temperature: of the sampling.
        form: what an answer says.
        form_name: names `form`, for the identity.
    """

    def __init__(self, base: Model, *, votes: int, temperature: float, form: Form, form_name: str) -> None:
        self.base = base
        self.name = base.name
        self.base_identity: str = getattr(base, "base_identity", base.identity)
        self.identity = content_hash(
            {"model": base.identity, "votes": votes, "temperature": temperature, "form": form_name}
        )
        self._votes, self._temperature, self._form = votes, temperature, form

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """As `Model.answer`; a request is answered when all its samples are.

        Raises:
            ModelError: as the model that is asked; requests are numbered by samples there.
        """
        samples = [self._sampled(request, number) for request in requests for number in range(self._votes)]
        known: dict[int, dict[int, Answer]] = {}
        for place, answer in self.base.answer(samples):
            index, number = divmod(place, self._votes)
            some = known.setdefault(index, {})
            some[number] = answer
            if len(some) == self._votes:
                yield index, self._elected([some[n] for n in range(self._votes)])
                del known[index]

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens that these messages become each time."""
        return self.base.count_tokens(messages)

    def _sampled(self, request: Request, number: int) -> Request:
        seed = int(content_hash(["sample", request.as_dict(), number])[:8], 16)
        return replace(request, sample=Sample(self._temperature, seed))

    def _elected(self, answers: Sequence[Answer]) -> Answer:
        forms = [self._form(answer.text) for answer in answers]
        counts = Counter(form for form in forms if form is not None)
        # most_common keeps the order in which forms were first said among equals
        best = counts.most_common(1)[0][0] if counts else None
        chosen = answers[forms.index(best)]
        return replace(
            chosen,
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            completion_tokens=sum(answer.completion_tokens for answer in answers),
            shared_tokens=sum(answer.shared_tokens for answer in answers),
            seconds=self._seconds([answer.seconds for answer in answers]),
        )

    def _seconds(self, each: Sequence[float]) -> float:
        if isinstance(self.base, EndpointModel):
            return max(each) * math.ceil(len(each) / CONCURRENT)
        return sum(each)


def asked_model(model: Model) -> Model:
    """The model that is asked in the end: the one behind a vote, or the model itself."""
    return model.base if isinstance(model, VotingModel) else model
