"""Rows that share much meet in a step, and nothing else about the order of training changes."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np

from luthier.train import Recipe
from luthier.train._course import FAMILY, Course, families
from luthier.train._rows import EncodedRow

RECIPE = Recipe(batch_size=8, epochs=1.0)


def some_rows(singles=40, conversations=6, turns=4):
    """Rows with a trunk of 50 tokens: single ones, and conversations whose turns extend one another."""
    rng = random.Random(0)
    trunk = [rng.randrange(1000) for _ in range(50)]

    def fresh(count):
        return [rng.randrange(1000) for _ in range(count)]

    rows = [trunk + fresh(60) for _ in range(singles)]
    for _ in range(conversations):
        said = trunk + fresh(80)
        for _ in range(turns):
            rows.append([*said, *fresh(5)])
            said = [*said, *fresh(20)]
    rng.shuffle(rows)
    return [EncodedRow(str(i), "", tuple(ids), len(ids) - 3) for i, ids in enumerate(rows)]


def epoch(rows, recipe):
    course = Course(rows, [], recipe)
    return [row.id for step in range(course.steps) for row in course.batch(step)]


def test_turns_of_one_conversation_are_a_family_and_other_rows_are_alone():
    rows = some_rows()
    sizes = Counter(len(family) for family in families(rows, 4))
    assert sizes == {1: 40, 4: 6}
    assert sorted(i for family in families(rows, 4) for i in family) == list(range(len(rows)))
    assert all(len(family) == 1 for family in families(rows, 1))


def test_little_in_common_makes_no_family():
    trunk, alike = tuple(range(50)), tuple(range(100, 100 + FAMILY - 1))
    rows = [EncodedRow(str(i), "", (*trunk, *alike, 200 + i), 60) for i in range(6)]
    rows.append(EncodedRow("other", "", (*trunk, 999, 999), 51))
    assert all(len(family) == 1 for family in families(rows, 4))
    longer = [replace(row, ids=(*row.ids[:-1], 7, row.ids[-1])) for row in rows[:6]]
    assert sorted(map(len, families([*longer, rows[-1]], 4))) == [1, 6]


def test_every_row_stands_once_in_an_epoch_anywhere_with_the_same_chance():
    rows = some_rows(singles=24, conversations=4)
    counts = np.zeros((len(rows), 5))  # row, fifth of the epoch
    seeds = 500
    for seed in range(seeds):
        found = epoch(rows, replace(RECIPE, seed=seed))
        assert sorted(found, key=int) == [row.id for row in rows]
        for place, row in enumerate(found):
            counts[int(row), place * 5 // len(found)] += 1
    wanted = np.array([len(part) for part in np.array_split(np.arange(len(rows)), 5)]) / len(rows) * seeds
    away = (counts - wanted) / np.sqrt(wanted)
    assert np.abs(away).max() < 5  # standard deviations, of 200 figures


def test_rows_that_share_stand_in_one_step_and_cost_less():
    rows = some_rows(singles=8, conversations=14)
    together, apart = Course(rows, [], RECIPE), Course(rows, [], RECIPE)
    apart._families = [[i] for i in range(len(rows))]
    assert together.row_tokens() == apart.row_tokens()
    assert together.tokens("tree") < 0.75 * apart.tokens("tree")


def test_a_large_family_is_dealt_out_anew_in_every_epoch_and_never_fills_a_step():
    rng = random.Random(1)
    text = tuple(rng.randrange(1000) for _ in range(90))
    rows = [EncodedRow(str(i), "", (*text, 5 + i), 80) for i in range(20)]
    rows += [EncodedRow(str(20 + i), "", tuple(rng.randrange(1000) for _ in range(60)), 50) for i in range(20)]
    course = Course(rows, [], replace(RECIPE, epochs=2.0))
    meetings = []
    for first in (0, 5):
        found = [row for step in range(first, first + 5) for row in course.batch(step)]
        pairs = {frozenset((a.id, b.id)) for a, b in pairwise(found) if int(a.id) + int(b.id) < 40}
        meetings.append(pairs)
    assert meetings[0] != meetings[1]
    units = course._units(list(range(20)), np.random.default_rng(0))
    assert [len(unit) for unit in units] == [4] * 5
