"""Damages to the form of rows."""

from __future__ import annotations

import json
import random

from damages import Damage, Planted, Row

ALL = ("snips", "banking77", "xquad", "tldr")
PLANTED = 60


def _cut_lines(rows: list[Row], seed: int) -> Planted:
    """The end of a line is missing, as after a copy that broke off."""
    rng = random.Random(seed)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    chosen = rng.sample(range(len(lines)), PLANTED)
    for index in chosen:
        lines[index] = lines[index][: rng.randrange(2, len(lines[index]) - 1)]
    return Planted(lines, frozenset(index + 1 for index in chosen), frozenset({"unusable-row"}), {}, {})


DAMAGES = (Damage("cut line", ALL, _cut_lines, 0.95),)
