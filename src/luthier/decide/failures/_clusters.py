"""Failures put together by cause and by what they have in common, each cluster with a name made of its content."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from luthier.audit import columns, sample, telling
from luthier.data import Example, normalise
from luthier.decide.failures._causes import Judged
from luthier.decide.failures._result import CAUSES, Cluster, FailureSample
from luthier.evaluate import wilson

LEAST = 3  # cases that make a cluster of their own
SPLIT = 3  # clusters that one cause and detail is divided into at most, the rest apart
OF_LABELS = 0.5  # distinct among all outputs: below, outputs are labels
SAMPLES = 3
LENGTHS = (0.25, 0.75)  # quantiles of the input lengths of all cases: short, long
MOSTLY = 0.8  # of a cluster, that must be short or long for it to be said
WORDS = 3
EVERYWHERE = 0.5  # a word of a name stands in this much less of the other cases


class Clusters:
    """Names what failures have in common, against all cases that were answered."""

    def __init__(self, cases: Sequence[Example]) -> None:
        self._cases = cases
        lengths = sorted(len(case.input_text) for case in cases)
        self._short, self._long = (lengths[int(q * (len(lengths) - 1))] for q in LENGTHS)
        self._labels = _labels(cases)

    def of(self, judged: Sequence[Judged]) -> tuple[Cluster, ...]:
        """Clusters by falling count within the order of the causes' totals."""
        apart: defaultdict[tuple[str, str], list[Judged]] = defaultdict(list)
        for one in judged:
            apart[one.cause, one.detail].append(one)
        found = [_cluster(name, some, len(judged)) for alike in apart.values() for name, some in self._divided(alike)]
        totals = Counter(one.cause for one in judged)
        return tuple(sorted(found, key=lambda c: (-totals[c.cause], CAUSES.index(c.cause), -c.count, c.name)))

    def _divided(self, alike: Sequence[Judged]) -> list[tuple[str, list[Judged]]]:
        """The failures of one cause by their label where several share one, and the rest."""
        by_label: defaultdict[str, list[Judged]] = defaultdict(list)
        for one in alike:
            by_label[self._labels.get(one.case.id, "")].append(one)
        common = sorted((name for name in by_label if name), key=lambda n: (-len(by_label[n]), n))
        common = [name for name in common if len(by_label[name]) >= LEAST][:SPLIT]
        parts = [(self._confused(name, by_label[name]), by_label[name]) for name in common]
        rest = [one for one in alike if self._labels.get(one.case.id, "") not in common]
        if rest:
            parts.append((self._named(rest), rest))
        return parts

    def _confused(self, label: str, some: Sequence[Judged]) -> str:
        """A label, and what is answered in its place where that is mostly the same."""
        said, count = Counter(normalise(one.record.answer)[:60] for one in some).most_common(1)[0]
        instead = f", answered {said!r}" if said and 2 * count >= len(some) and said != normalise(label) else ""
        return f"wanted {label!r}{instead}"

    def _named(self, some: Sequence[Judged]) -> str:
        """The words that tell failures from the other cases, and whether their inputs are short or long."""
        inside = {one.case.id for one in some}
        texts = [one.case.input_text for one in some]
        others = [case.input_text for case in self._cases if case.id not in inside]
        words = [
            word
            for word in (telling(texts, others, WORDS) if len(some) >= LEAST and others else [])
            if sum(word in text.casefold() for text in texts) >= max(LEAST, len(texts) // 4)
        ]
        parts = [f"inputs with {', '.join(map(repr, words))}"] if words else []
        lengths = [len(text) for text in texts]
        if len(some) >= LEAST and self._short < self._long:
            for word, holds in (
                ("short", [n <= self._short for n in lengths]),
                ("long", [n >= self._long for n in lengths]),
            ):
                if sum(holds) >= MOSTLY * len(holds):
                    parts.append(f"{word} inputs")
        return "; ".join(parts) or "inputs of all kinds"


def _labels(cases: Sequence[Example]) -> dict[str, str]:
    """The label of each case where outputs hold one: of the fields of JSON, the one with the fewest values."""
    fields = []
    for name, cells in columns(cases):
        values = {value for _, value in cells}
        if 2 <= len(values) <= OF_LABELS * len(cells):
            fields.append((name != "", len(values), name, cells))
    if not fields:
        return {}
    *_, cells = min(fields, key=lambda field: field[:3])
    return {case.id: value for case, value in cells}


def _cluster(name: str, some: Sequence[Judged], of: int) -> Cluster:
    low, high = wilson(len(some), of, 0.025)
    samples = tuple(
        FailureSample(
            one.case.id,
            sample(one.case, one.case.input_text).text,
            sample(one.case, one.case.output).text,
            sample(one.case, one.record.answer.strip()).text,
            sample(one.case, one.why).text,
        )
        for one in some[:SAMPLES]
    )
    return Cluster(
        some[0].cause, some[0].detail, name, len(some), round(len(some) / of, 4), round(low, 4), round(high, 4), samples
    )
