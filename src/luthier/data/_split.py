"""Divide examples into train, development and test so that nothing on one side gives away another."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from luthier.data._duplicates import Components, near_duplicate_groups
from luthier.data._examples import Example, Split, content_hash
from luthier.data._strata import Taken, fill, fill_in_proportion, fill_newest
from luthier.errors import SplitError
from luthier.spec import SplitSettings

LEAST_ROWS = 4
LONG_ANSWER = 200  # characters of an answer that is a text of its own
# Fills a side with components: (components, wanted rows, components to leave) -> (rows, components that are left).
_Fill = Callable[..., Taken]


def split_examples(
    examples: Sequence[Example],
    settings: SplitSettings,
    *,
    test: Sequence[Example] | None = None,
    stratify: bool = False,
    near: Sequence[int] | None = None,
) -> Split:
    """Divide by group: rows that share a group, are equal or are near duplicates stand on one side.

    The components of such rows are ordered by a hash of the seed and their content, whatever the order of the file, and
    fill test, then development, then train. Development and test hold every row once; train keeps its copies. With
    `stratify`, outputs are labels, and every side gets its part of each. With `settings.time`, components are ordered
    by the date of their latest row instead: the latest are test, those before them development.

    `near` are the `families_of` the examples, where they are known already; they are of use without `test` only.

    With `test`, the cases are those rows (in seeded order, the first `settings.test_cases` of them), and rows of
    `examples` that share a component with any row of `test` are left out; `leaks` names them.

    Raises:
        SplitError: fewer than 4 distinct rows, more test cases wanted than there are, or a side without rows.
    """
    if test is not None:
        return _beside(examples, settings, test, stratify)
    parts = _parts(examples, settings, near)
    rows = sum(len(part) for part in parts)
    _enough(rows, len(parts), settings)
    wanted = settings.test_cases or max(1, round(settings.test * rows))
    cases, rest = _filling(settings, stratify)(parts, wanted, leave=2)
    return _divide_rest(rest, examples, settings, cases, stratify)


def groups_of(examples: Sequence[Example], *, near: Sequence[int] | None = None) -> dict[str, str]:
    """Component of every example, by id: rows that share a group, are equal or are near duplicates have the same.

    A component is named by the smallest id in it, so that its name does not depend on the order of the rows. `near` are
    their `families_of`, where they are known already.
    """
    numbers = _components(examples, near)
    names: dict[int, str] = {}
    for number, example in zip(numbers, examples, strict=True):
        names[number] = min(names.get(number, example.id), example.id)
    return {example.id: names[number] for number, example in zip(numbers, examples, strict=True)}


def leaks(examples: Sequence[Example], test: Sequence[Example]) -> list[Example]:
    """Rows that would give a test case away: in one component with it (equal, near duplicate or same group)."""
    groups = groups_of([*test, *examples])
    tested = {groups[example.id] for example in test}
    return [example for example in examples if groups[example.id] in tested]


def split_as_dict(split: Split) -> dict[str, object]:
    """A split as JSON, by ids: what is kept to use the very same division again."""
    sides = {side: [e.id for e in getattr(split, side)] for side in ("train", "development", "test")}
    return {"format": 1, "seed": split.seed, "hash": split.hash, **sides}


def split_from_dict(
    value: Mapping[str, object], examples: Sequence[Example], *, test: Sequence[Example] | None = None
) -> Split:
    """The inverse of `split_as_dict`, with the rows looked up in what the files hold now.

    Raises:
        SplitError: rows of the split are no longer there, or a newer version wrote it.
    """
    if value.get("format") != 1:
        raise SplitError(
            f"this split has format {value.get('format')}; this luthier reads 1", fix="pip install -U luthier"
        )
    known = {e.id: e for e in [*(test or ()), *examples]}
    sides: dict[str, tuple[Example, ...]] = {}
    for side in ("train", "development", "test"):
        ids = value[side]
        if not isinstance(ids, list) or any(i not in known for i in ids):
            gone = sum(i not in known for i in ids) if isinstance(ids, list) else "all"
            raise SplitError(
                f"{gone} rows of the frozen split's {side} side are no longer in the examples",
                why="results on other cases cannot be compared with those that are recorded",
                fix="restore the rows, or change split.seed in luthier.yaml to start over with a new split",
            )
        sides[side] = tuple(known[i] for i in ids)
    seed = value["seed"]
    return Split(sides["train"], sides["development"], sides["test"], seed if isinstance(seed, int) else 0)


def _filling(settings: SplitSettings, stratify: bool) -> _Fill:
    if settings.time is not None:
        return fill_newest
    return partial(fill_in_proportion, label=_label) if stratify else fill


def _label(example: Example) -> str:
    return example.output.strip()


def _beside(examples: Sequence[Example], settings: SplitSettings, test: Sequence[Example], stratify: bool) -> Split:
    cases = sorted(_unique(test), key=lambda e: content_hash([settings.seed, e.id]))
    if not cases:
        raise SplitError("the test file has no rows", fix="add cases to it, or remove test_examples from luthier.yaml")
    if settings.test_cases is not None:
        if settings.test_cases > len(cases):
            what = f"split.test_cases asks for {settings.test_cases}, and the test file has {len(cases)} distinct rows"
            raise SplitError(what, fix=f"split: {{test_cases: {len(cases)}}}, or add cases to the test file")
        cases = cases[: settings.test_cases]
    leaking = {e.id for e in leaks(examples, test)}
    kept = [e for e in examples if e.id not in leaking]
    if len(_unique(kept)) < 2:
        raise SplitError(
            f"{len(kept)} of {len(examples)} rows are left for train and development",
            why="the others are in the test file too, nearly repeat a row of it, or share a group with one",
            fix="remove test_examples from luthier.yaml, so that luthier divides one file, or add rows",
        )
    return _divide_rest(_parts(kept, settings), kept, settings, cases, stratify)


def _divide_rest(
    parts: Sequence[list[Example]],
    examples: Sequence[Example],
    settings: SplitSettings,
    cases: Sequence[Example],
    stratify: bool,
) -> Split:
    """Divide what is not test into development and train, and give train its copies back."""
    share = settings.development / (settings.train + settings.development)
    rows = sum(len(part) for part in parts)
    development, rest = _filling(settings, stratify)(parts, max(1, round(share * rows)), leave=1)
    ids = {e.id for part in rest for e in part}
    train = sorted((e for e in examples if e.id in ids), key=lambda e: content_hash([settings.seed, e.id]))
    for name, side in (("train", train), ("development", development), ("test", cases)):
        if not side:
            raise SplitError(
                f"no rows are left for {name}: the rows form too few groups that can be told apart",
                why="rows of one group, and near duplicates, may not stand on two sides",
                fix="add rows of other groups, set a smaller split.test_cases, or choose another split.group",
            )
    return Split(tuple(train), tuple(development), tuple(cases), settings.seed)


def _enough(rows: int, parts: int, settings: SplitSettings) -> None:
    if rows < LEAST_ROWS or parts < 3:
        what = f"{rows} distinct rows in {parts} separate groups cannot be divided into train, development and test"
        fix = f"add rows: at least {LEAST_ROWS} in 3 groups, and 200 for a verdict that holds"
        raise SplitError(what, why="near duplicates and rows of one group count as one group", fix=fix)
    if settings.test_cases is not None and settings.test_cases > rows - 2:
        what = f"split.test_cases asks for {settings.test_cases} of {rows} distinct rows"
        fix = f"split: {{test_cases: {max(1, rows // 4)}}}, or add rows"
        raise SplitError(what, why="train and development need rows too", fix=fix)


def _unique(examples: Iterable[Example]) -> list[Example]:
    """One copy of each row, ordered by id, so that the order of a file does not matter."""
    copies = sorted(examples, key=lambda e: (e.id, e.group or ""), reverse=True)
    return list({e.id: e for e in copies}.values())[::-1]


def _components(examples: Sequence[Example], near: Sequence[int] | None = None) -> list[int]:
    """Number of each row's component. Copies count too: a row that stands in two groups joins them."""
    components = Components(len(examples))
    components.join_equal(families_of(examples) if near is None else near)
    components.join_equal(e.group for e in examples)
    return [components.find(i) for i in range(len(examples))]


def families_of(examples: Sequence[Example]) -> list[int]:
    """Number of the family of near duplicates of each row: inputs that are, or inputs with long free answers that are.

    A long answer that comes again under another input gives it away as well; a record does not, being mostly form.
    """
    components = Components(len(examples))
    components.join_equal(near_duplicate_groups([e.input_text for e in examples]))
    long = [i for i, e in enumerate(examples) if len(e.output) >= LONG_ANSWER and e.output.lstrip()[0] not in "{[<"]
    groups = near_duplicate_groups([f"{examples[i].input_text}\n{examples[i].output}" for i in long])
    for i, group in zip(long, groups, strict=True):
        components.join(long[group], i)
    return [components.find(i) for i in range(len(examples))]


def _parts(
    examples: Sequence[Example], settings: SplitSettings, near: Sequence[int] | None = None
) -> list[list[Example]]:
    """The components, each row of them once, in an order that the seed decides, or the dates of their latest rows."""
    parts: dict[int, list[Example]] = {}
    for number, example in zip(_components(examples, near), examples, strict=True):
        parts.setdefault(number, []).append(example)
    ordered = sorted(map(_unique, parts.values()), key=lambda part: content_hash([settings.seed, part[0].id]))
    if settings.time is not None:
        ordered.sort(key=_latest)
    return ordered


def _latest(part: Sequence[Example]) -> dt.datetime:
    """Raises: SplitError: a row has no date."""
    undated = next((e for e in part if e.time is None), None)
    if undated is not None:
        raise SplitError(
            f"{undated.source} has no date, and split.time divides by dates",
            fix="give every row a date, or remove split.time from luthier.yaml",
        )
    return max(e.time for e in part if e.time is not None)
