"""Answers that belong to another row: shifted by one in a block, swapped, or taken from a row that asks the like."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from damages import Damage, Planted, Row

ROWS = 240  # of a set: more would be sampled, and these take a second each
PLANTED = 16
SETS = ("snips", "tldr", "xquad")
DOCUMENTS = Path(__file__).parents[3] / "shared" / "data" / "xquad" / "documents"

Answers = dict[int, str]
Change = Callable[[Sequence[Row], random.Random, int], Answers]


def shifted(rows: Sequence[Row], rng: random.Random, count: int) -> Answers:
    """Each of a block of rows has the answer of the row above."""
    start = rng.randrange(1, len(rows) - count)
    return {i: rows[i - 1]["completion"] for i in range(start, start + count)}


def swapped(rows: Sequence[Row], rng: random.Random, count: int) -> Answers:
    """Pairs of rows have each other's answer."""
    chosen = rng.sample(range(len(rows)), count // 2 * 2)
    pairs = zip(chosen[::2], chosen[1::2], strict=True)
    return {i: rows[j]["completion"] for pair in pairs for i, j in (pair, pair[::-1])}


def plausible(rows: Sequence[Row], rng: random.Random, count: int) -> Answers:
    """Rows have the answer of another row whose input shares the most characters with theirs (TF-IDF of 2 to 4)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    vectors = words.fit_transform([row["prompt"] for row in rows])
    found = {}
    for i in rng.sample(range(len(rows)), count):
        order = (-(vectors @ vectors[i].T).toarray()[:, 0]).argsort(kind="stable")
        other = [j for j in order if rows[j]["completion"] != rows[i]["completion"]]
        found[i] = rows[rng.choice(other[:3])]["completion"]
    return found


KINDS: dict[str, Change] = {"shifted": shifted, "swapped": swapped, "plausible": plausible}


def with_document(row: Row) -> Row:
    """A question of xquad behind its document."""
    text = (DOCUMENTS / row["document"]).read_text(encoding="utf-8").strip()
    return row | {"prompt": f"{text}\n\n{row['prompt']}"}


def _planter(change: Change) -> Callable[[list[Row], int], Planted]:
    def plant(rows: list[Row], seed: int) -> Planted:
        some = [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows[:ROWS]]
        new = change(some, random.Random(seed), PLANTED)
        new = {i: answer for i, answer in new.items() if answer != some[i]["completion"]}
        lines = [
            json.dumps(row | {"completion": new.get(i, row["completion"])}, ensure_ascii=False)
            for i, row in enumerate(some)
        ]
        plain = [json.dumps(row, ensure_ascii=False) for row in some]
        damaged = frozenset(i + 1 for i in new)
        return Planted(lines, damaged, frozenset({"surprising-answer"}), {}, {}, undamaged=plain)

    return plant


DAMAGES = tuple(
    Damage(f"answers {name}", SETS, _planter(change), None, deep=True, asks_base=True) for name, change in KINDS.items()
)
