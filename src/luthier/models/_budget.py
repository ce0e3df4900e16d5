"""A limit on what requests to a hosted model may cost together."""

from __future__ import annotations

from luthier.models._base import Answer, Price, Request
from luthier.models._prices import cost_of

FRAME = 16  # tokens around a message, at most: role, separators
TRIES = 3  # how often a request may be answered, and paid, before its answer can be used


class _Account:
    """US dollars that are spent, and set aside for requests under way."""

    def __init__(self, spent: float) -> None:
        self.spent, self.aside = spent, 0.0


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
        self.limit = limit
        self._price, self._account = price, _Account(spent)

    @property
    def spent(self) -> float:
        """US dollars that are spent."""
        return self._account.spent

    def shared(self, price: Price, spent: float = 0.0) -> Budget:
        """The same money for another model: what either spends, neither has any more.

        Args:
            price: of the other model's tokens.
            spent: US dollars that were spent on it already.
        """
        other = Budget(self.limit, price)
        other._account = self._account
        self._account.spent += spent
        return other

    def set_aside(self, request: Request) -> float | None:
        """Keep what a request may cost; gives the US dollars, or None where so much is not left."""
        texts = [m.content for m in request.messages]
        if request.constraint is not None:  # providers count the schema as a part of the prompt
            texts += [request.constraint.json_schema or "", *(request.constraint.choices or ())]
        prompt = sum(len(text.encode()) + FRAME for text in texts)
        most = TRIES * (prompt * self._price.input + request.max_tokens * self._price.output) / 1e6
        if self._account.spent + self._account.aside + most > self.limit:
            return None
        self._account.aside += most
        return most

    def settle(self, aside: float, answer: Answer | None) -> None:
        """What was set aside is free again, less what the answer took; None where there is none."""
        self._account.aside -= aside
        if answer is not None:
            self._account.spent += cost_of(answer, self._price)

    def charge(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Tokens of a reply that was no answer."""
        self._account.spent += (prompt_tokens * self._price.input + completion_tokens * self._price.output) / 1e6
