"""From a task to the bench: data read and checked, split frozen, scorer made, base opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.data import Example, Finding, Split, audit, content_hash, groups_of, read_examples, split_examples
from luthier.decide import Bench, Progress
from luthier.errors import Problem, ScorerError
from luthier.evaluate import Scorer, make_scorer
from luthier.models import load_model
from luthier.spec import Task
from luthier.store import Store


@dataclass(frozen=True)
class Data:
    """The examples of a task with their frozen split and what the audit found."""

    examples: tuple[Example, ...]
    split: Split
    findings: tuple[Finding, ...]

    @property
    def hash(self) -> str:
        """Content hash of all examples, in any order."""
        return content_hash(sorted(example.id for example in self.examples))

    @property
    def blocking(self) -> tuple[str, ...]:
        """Codes of findings that would ruin a run."""
        return tuple(finding.code for finding in self.findings if finding.severity == "blocks")


def read_data(task: Task, store: Store) -> Data:
    """Read the examples, keep the split that was frozen before, and audit.

    The test cases stay the same when examples are added or taken away: rows that were test cases remain so, and new
    rows that duplicate them are kept out of training. Other split settings make a new split.

    Raises:
        DataError, SplitError: what is wrong, with file and line.
    """
    examples = read_examples(task.examples, group=task.split.group)
    test = None if task.test_examples is None else read_examples(task.test_examples, group=task.split.group)
    settings = content_hash(task.split.model_dump(mode="json") | {"separate": task.test_examples is not None})
    frozen = store.get_document("split", settings)
    split = split_examples(examples, task.split, test=test) if frozen is None else None
    if split is None:
        known = set(frozen["test"]) if frozen is not None else set()
        kept = [example for example in (examples if test is None else test) if example.id in known]
        split = _kept_split(examples, kept, known, task, test)
    _freeze(split, settings, store)
    everything = tuple(examples) + tuple(test or ())
    return Data(everything, split, tuple(audit(task, everything, split)))


def _kept_split(
    examples: Sequence[Example], kept: Sequence[Example], known: set[str], task: Task, test: Sequence[Example] | None
) -> Split:
    """The split whose test side is what it was."""
    same = split_examples(examples, task.split, test=test)
    if {example.id for example in same.test} == known:
        return same
    if not kept:
        return same
    distinct = list({example.id: example for example in kept}.values())
    rest = [example for example in examples if example.id not in known]
    return split_examples(rest, task.split.model_copy(update={"test_cases": None}), test=distinct)


def _freeze(split: Split, settings: str, store: Store) -> None:
    sides = {side: sorted(e.id for e in getattr(split, side)) for side in ("train", "development", "test")}
    if store.get_document("split", settings) != sides:
        store.put_document("split", settings, sides)


def open_bench(task: Task, store: Store, data: Data, progress: Progress, *, base: str | None = None) -> Bench:
    """The bench for a task, on its own base or on another.

    Raises:
        ModelError: the base cannot be loaded.
        ScorerError: a wanted output cannot be scored.
    """
    scorer = make_scorer(task.score, data.split.train + data.split.development)
    _check_wanted(scorer, data.split)
    name = base if base is not None else task.base
    progress(f"load {name}", 0, 1, "")
    model = load_model(name)
    progress(f"load {name}", 1, 1, "")
    components = groups_of(data.examples)
    groups = {case.id: str(components[case.id]) for case in data.split.test}
    return Bench(task, data.split, groups, scorer, model, store, progress)


def _check_wanted(scorer: Scorer, split: Split) -> None:
    problems = []
    for example in split.development + split.test:
        reason = scorer.wanted_is_valid(example.output)
        if reason is not None:
            problems.append(Problem(f"wanted output: {reason}", example.source.file, example.source.line))
    if problems:
        raise ScorerError(
            f"{len(problems)} wanted outputs cannot be scored with {scorer.name}",
            why="a case whose own wanted output is invalid would count against every rung",
            fix="correct these rows, or choose another score: in luthier.yaml",
            problems=problems,
        )


def relative(path: Path, folder: Path) -> str:
    """The path as a user in `folder` would type it."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
