"""A limit on what requests to a hosted model may cost together."""

from __future__ import annotations

from luthier.models._base import Answer, Price, Request
from luthier.models._prices import cost_of

FRAME = 16  # tokens around a message, at most: role, separators
TRIES = 3  # how often a request may be answered, and paid, before its answer can be used


class Budget:
    """US dollars that may be spent, and what is spent or promised of them.

    A request is sent only if it fits at its dearest, so the limit holds whatever is answered: no token is shorter than
    a byte, no answer longer than it may be, and a reply that is no answer is asked for again twice at most. What a
    request really took then replaces what was set aside for it. Used from one thread.

    Args:
        limit: US dollars.
        price: of the model's tokens; where putting tokens into a cache is dearer than `input`, `input` is that price.
        spent: US dollars that are spent already.
    """

    def __init__(self, limit: float, price: Price, spent: float = 0.0) -> None:
        self.limit, self.spent = limit, spent
        self._price, self._aside = price, 0.0
        self._others: list[Budget] = []

    def share(self, other: Budget) -> None:
        """From now on what the other spends and sets aside counts against this limit too, and the reverse."""
        self._others.append(other)
        other._others.append(self)

    @property
    def total(self) -> float:
        """US dollars that are spent against the limit, those of others that share it included."""
        return self.spent + sum(other.spent for other in self._others)

    def set_aside(self, request: Request) -> float | None:
        """Keep what a request may cost; gives the US dollars, or None where so much is not left."""
        texts = [m.content for m in request.messages]
        if request.constraint is not None:  # providers count the schema as a part of the prompt
            texts += [request.constraint.json_schema or "", *(request.constraint.choices or ())]
        prompt = sum(len(text.encode()) + FRAME for text in texts)
        most = TRIES * (prompt * self._price.input + request.max_tokens * self._price.output) / 1e6
        committed = sum(budget.spent + budget._aside for budget in (self, *self._others))
        if committed + most > self.limit:
            return None
        self._aside += most
        return most

    def settle(self, aside: float, answer: Answer | None) -> None:
        """What was set aside is free again, less what the answer took; None where there is none."""
        self._aside -= aside
        if answer is not None:
            self.spent += cost_of(answer, self._price)

    def charge(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Tokens of a reply that was no answer."""
        self.spent += (prompt_tokens * self._price.input + completion_tokens * self._price.output) / 1e6
