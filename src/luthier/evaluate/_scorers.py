"""From an answer and the wanted output to a score in [0, 1]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, assert_never

from luthier.data import Example
from luthier.errors import Problem, ScorerError
from luthier.evaluate._judge import JudgeScorer
from luthier.evaluate._records import Scored
from luthier.evaluate._scorers_json import JsonScorer
from luthier.evaluate._scorers_python import PythonScorer
from luthier.evaluate._scorers_text import (
    AnswerScorer,
    ChrfScorer,
    ContainsScorer,
    ExactScorer,
    LabelScorer,
    NumberScorer,
    RegexScorer,
    RougeScorer,
    fold_label,
)
from luthier.models import Constraint
from luthier.spec import (
    AnswerScore,
    ChrfScore,
    ContainsScore,
    ExactScore,
    JsonScore,
    JudgeScore,
    LabelScore,
    NumberScore,
    PythonScore,
    RegexScore,
    RougeScore,
    Score,
)


class Scorer(Protocol):
    """What every scorer can do. Scorers are pure: the same answer and wanted output always give the same score.

    The exception is `JudgeScorer`, which asks a model about cases and keeps what it said.
    """

    @property
    def name(self) -> str:
        """The kind of score, with its measure where there is a choice."""
        ...

    @property
    def binary(self) -> bool:
        """Whether scores are only ever 0 or 1."""
        ...

    def score(self, answer: str, wanted: str) -> Scored:
        """The score of one answer.

        Raises:
            ScorerError: a user's own scorer raised, or gave something that is no score.
        """
        ...

    def constraint(self) -> Constraint | None:
        """What decoding can be held to, so that answers at least have a valid form; None where nothing is known."""
        ...

    def wanted_is_valid(self, wanted: str) -> str | None:
        """Why a wanted output cannot be scored against, or None when it can."""
        ...


def make_scorer(score: Score, examples: Sequence[Example]) -> Scorer:
    """The scorer that a task asks for.

    Args:
        score: `score:` in luthier.yaml.
        examples: all examples of the task; labels are taken from them where the task names none.

    Raises:
        ScorerError: the scorer's file, function, schema, pattern or labels cannot be used; it says which and why.
    """
    match score:
        case ExactScore():
            return ExactScorer(ignore_case=score.ignore_case)
        case LabelScore():
            return LabelScorer(_named_labels(score.labels) if score.labels is not None else _seen_labels(examples))
        case JsonScore():
            return JsonScorer.from_file(score.schema_file, score.measure)
        case NumberScore():
            return NumberScorer(score.tolerance)
        case ContainsScore():
            return ContainsScorer(ignore_case=score.ignore_case)
        case RegexScore():
            return RegexScorer(score.pattern)
        case AnswerScore():
            return AnswerScorer(score.measure)
        case ChrfScore():
            return ChrfScorer()
        case RougeScore():
            return RougeScorer(score.measure)
        case PythonScore():
            return PythonScorer.from_file(score.file, score.function, binary=score.binary)
        case JudgeScore():
            return JudgeScorer(score)
        case _:
            assert_never(score)


def _named_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels of the task, refused when two of them would be scored as the same."""
    by_form: dict[str, list[str]] = {}
    for label in labels:
        by_form.setdefault(fold_label(label), []).append(label)
    problems = [Problem("an empty label")] if "" in by_form else []
    problems += [Problem(f"scored as the same: {', '.join(map(repr, same))}") for same in by_form.values() if same[1:]]
    if problems or not labels:
        raise ScorerError(
            "the labels of the task cannot be told apart" if labels else "the task has an empty list of labels",
            why="labels are compared without case and outer white space",
            fix="correct score.labels in luthier.yaml, or leave it out to take the labels from the examples",
            problems=problems,
        )
    return tuple(label.strip() for label in labels)


def _seen_labels(examples: Sequence[Example]) -> tuple[str, ...]:
    """Every label of the examples in its most frequent spelling, most frequent label first."""
    spellings: dict[str, Counter[str]] = {}
    for example in examples:
        label = example.output.strip()
        spellings.setdefault(fold_label(label), Counter())[label] += 1
    spellings.pop("", None)
    if not spellings:
        raise ScorerError(
            "there are no labels",
            why="score: {kind: label} takes its labels from the wanted outputs, and none is given",
            fix="name them in luthier.yaml: score: {kind: label, labels: [a, b]}",
        )
    ranked = sorted(spellings.items(), key=lambda item: (-item[1].total(), item[0]))
    return tuple(min(counts, key=lambda text: (-counts[text], text)) for _, counts in ranked)
