"""Which texts repeat one of some known texts, or hold one: by runs of words, verified as near duplicates are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from luthier.data import near_duplicate_groups, normalise, words

RUN, LONG_RUN = 3, 5  # words
COMMON = 20  # known texts; a run that stands in more of them tells none apart
LIKELY = 0.4  # of the runs of a known text: worth a closer look
HELD = 0.7  # of its long runs: the text is held whole, whatever stands around it
LEAST_HELD = 8  # words of a text that is looked for inside others
PIECE = 60  # words of a piece of a running text


class Phrases:
    """Known texts, to be found again in others."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._words = [words(normalise(text)) for text in texts]
        places: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, some in enumerate(self._words):
            for run in set(_runs(some, RUN)):
                places[run].append(number)
        self._places = {run: numbers for run, numbers in places.items() if len(numbers) <= COMMON}
        self._sizes = Counter(number for numbers in self._places.values() for number in numbers)
        self._whole = {tuple(some): number for number, some in enumerate(self._words) if some}

    def repeated(self, texts: Sequence[str]) -> dict[int, str]:
        """For each of `texts`, by its place, that repeats or holds a known text: that text."""
        found: dict[int, int] = {}
        likely: list[tuple[int, int]] = []
        for at, text in enumerate(texts):
            some = words(normalise(text))
            if (number := self._whole.get(tuple(some))) is not None:
                found[at] = number
                continue
            for number in self._likely(some):
                if self._holds(some, number):
                    found[at] = number
                    break
                likely.append((at, number))
        found |= {at: number for at, number in self._near(texts, likely) if at not in found}
        return {at: self._texts[number] for at, number in sorted(found.items())}

    def _likely(self, some: Sequence[str]) -> list[int]:
        shared = Counter(number for run in set(_runs(some, RUN)) for number in self._places.get(run, ()))
        return [number for number, count in shared.most_common(5) if count >= LIKELY * self._sizes[number]]

    def _holds(self, some: Sequence[str], number: int) -> bool:
        if len(self._words[number]) < LEAST_HELD:
            return False
        known = set(_runs(self._words[number], LONG_RUN))
        return len(known & set(_runs(some, LONG_RUN))) >= HELD * len(known)

    def _near(self, texts: Sequence[str], likely: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        ours = list(dict.fromkeys(at for at, _ in likely))
        known = list(dict.fromkeys(number for _, number in likely))
        groups = near_duplicate_groups([*(texts[at] for at in ours), *(self._texts[number] for number in known)])
        of_known = {groups[len(ours) + place]: number for place, number in enumerate(known)}
        yield from ((at, of_known[group]) for at, group in zip(ours, groups, strict=False) if group in of_known)


def pieces(text: str) -> Iterator[str]:
    """A running text in pieces of 60 words, each of which overlaps the next by half."""
    some = text.split()
    for start in range(0, max(1, len(some) - PIECE // 2), PIECE // 2):
        yield " ".join(some[start : start + PIECE])


def _runs(some: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
    return zip(*(some[start:] for start in range(length)), strict=False)
