"""What is said of a row, and of a set of rows: behaviour, or knowledge, and where that stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from luthier.audit.knowledge._novelty import Novelty
from luthier.audit.knowledge._probe import Told
from luthier.evaluate import wilson

FACT = 0.25  # evidence from which an answer states a fact: set on benchmarks/knowledge.py, rows that were looked at
KNOWN_NATS = 0.7  # per token: the base would say it, or nearly
READ_FIRST = 0.8  # share of tokens that have to be the base's first choice once it reads the passages
READ_NATS = 0.5  # of what they took without
BEHAVIOUR_BELOW = 0.10
KNOWLEDGE_ABOVE = 0.30
LEVEL = 0.025  # on either side

Closed = Literal["behaviour", "skill", "known", "unknown"]
Verdict = Literal["behaviour", "mixed", "knowledge"]


def is_candidate(novelty: Novelty) -> bool:
    """Whether the answer states a fact, as far as its words tell."""
    return novelty.evidence >= FACT


def closed_label(novelty: Novelty, draws: Sequence[Sequence[Told]]) -> Closed:
    """What a row is, from what the base found of its novel pieces with each draw of demonstrations.

    A fact is known when in one draw every token of it was the base's first choice, or likely throughout: the cheap
    stand-in for sampling answers (the classes are those of SliCK, Gekhman et al. 2024).
    """
    if not is_candidate(novelty):
        return "skill" if novelty.skill else "behaviour"
    return "known" if any(_would_say(told) for told in draws if told) else "unknown"


def _would_say(told: Sequence[Told]) -> bool:
    return all(piece.first for piece in told) or nats_per_token(told) < KNOWN_NATS


def nats_per_token(told: Sequence[Told]) -> float:
    """Mean negative log-likelihood of the tokens of pieces, in nats."""
    return sum(piece.nats for piece in told) / max(1, sum(piece.tokens for piece in told))


def can_read(closed: Sequence[Told], opened: Sequence[Told]) -> bool:
    """Whether the base says the fact once the passages stand in its prompt."""
    tokens = sum(piece.tokens for piece in opened)
    first = sum(piece.tokens for piece in opened if piece.first)
    return first >= READ_FIRST * tokens and nats_per_token(opened) <= READ_NATS * nats_per_token(closed)


def verdict_of(low: float, high: float) -> Verdict:
    """What a set is whose share of rows with facts lies between two bounds."""
    return "behaviour" if high < BEHAVIOUR_BELOW else "knowledge" if low > KNOWLEDGE_ABOVE else "mixed"


@dataclass(frozen=True)
class Share:
    """A share of rows with its 95 % interval (Wilson 1927), and what follows for the whole set."""

    count: int
    of: int

    @property
    def mean(self) -> float:
        """The share itself."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound."""
        return wilson(self.count, self.of, LEVEL)

    @property
    def verdict(self) -> Verdict:
        """Behaviour where the upper bound is below 10 %, knowledge where the lower one is above 30 %; else mixed."""
        return verdict_of(*self.interval)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.count} of {self.of:,} ({self.mean:.0%}; 95 % interval {low:.0%} to {high:.0%})"
