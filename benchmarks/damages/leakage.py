"""Rows that give test cases, or their own answers, away."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path

from damages import Damage, Planted, Row

ALL = ("snips", "banking77", "xquad", "tldr")
PLANTED = 60
TESTS = 150
SHARED = Path(__file__).parents[3] / "shared" / "data"

_AROUND = ("Customer: {}", "{} Thanks!", "hi, {}", "{} please", "Question: {}", "{}\n", '"{}"')
_LEFT_AT_AN_END = (
    "{text} {value}", "{text} [{value}]", "{text} (label: {value})", "{value}: {text}", "[{value}] {text}",
    "{text} -> {value}", "{text}\nAnswer: {value}", "{text} | {value}", "{text} #{value}", "category={value} {text}",
)  # fmt: skip


def _dump(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False)


def _in_order(rows: list[Row], rng: random.Random) -> tuple[list[Row], list[Row]]:
    """Test rows and the others, no prompt in both."""
    once = list({row["prompt"].strip().lower(): row for row in rows}.values())
    rng.shuffle(once)
    return once[:TESTS], once[TESTS:]


def _test_rows_in_train(rows: list[Row], seed: int) -> Planted:
    """Rows of the test file stand in the examples too, some as they are, some dressed otherwise."""
    rng = random.Random(seed)
    tests, others = _in_order(rows, rng)
    leaked = []
    for number, row in enumerate(rng.sample(tests, PLANTED)):
        row = copy.deepcopy(row)
        if number % 3 == 1:
            row["prompt"] = rng.choice((str.upper, str.lower, str.title))(row["prompt"])
        if number % 3 == 2:
            row["prompt"] = rng.choice(_AROUND).format(row["prompt"])
        leaked.append(row)
    return _beside(others, leaked, {"leakage-removed", "leakage"}, {"test.jsonl": tests}, {})


def _group_on_both_sides(rows: list[Row], seed: int) -> Planted:
    """Rows of a page of which the test file has rows."""
    rng = random.Random(seed)
    pages = sorted({row["page"] for row in rows})
    shared = set(rng.sample([p for p in pages if sum(row["page"] == p for row in rows) > 1], PLANTED))
    tests, leaked, others = [], [], []
    for row in rows:
        if row["page"] not in shared:
            others.append(row)
        elif any(test["page"] == row["page"] for test in tests):
            leaked.append(row)
        else:
            tests.append(row)
    task = {"split": {"group": "page"}}
    return _beside(others, leaked, {"leakage-removed", "leakage"}, {"test.jsonl": tests}, task)


def _later_than_the_test(rows: list[Row], seed: int) -> Planted:
    """Rows that came about after the test cases."""
    rng = random.Random(seed)
    tests, others = _in_order(rows, rng)
    tests = [row | {"created": f"2024-06-{rng.randrange(10, 31)}"} for row in tests]
    others = [row | {"created": f"2024-0{rng.randrange(1, 6)}-{rng.randrange(10, 29)}"} for row in others]
    leaked = [row | {"created": f"2024-0{rng.randrange(7, 10)}-01T08:00:00Z"} for row in others[:PLANTED]]
    task = {"split": {"time": "created"}}
    return _beside(others[PLANTED:], leaked, {"time-leakage"}, {"test.jsonl": tests}, task)


def _beside(
    others: list[Row],
    leaked: list[Row],
    codes: set[str],
    files: dict[str, list[Row]],
    task: dict[str, object],
) -> Planted:
    lines = [_dump(row) for row in (*others, *leaked)]
    texts = {name: "\n".join(map(_dump, some)) + "\n" for name, some in files.items()}
    return Planted(
        lines,
        frozenset(range(len(others) + 1, len(lines) + 1)),
        frozenset(codes),
        texts,
        task | {"test_examples": "test.jsonl"},
        undamaged=lines[: len(others)],
    )


def _answer_left(value: Callable[[Row], str]) -> Callable[[list[Row], int], Planted]:
    def plant(rows: list[Row], seed: int) -> Planted:
        """The answer stands in the input, as a labelling tool or a join of two tables leaves it there."""
        rng = random.Random(seed)
        rows = copy.deepcopy(rows)
        chosen = rng.sample(range(len(rows)), PLANTED)
        for at in chosen:
            rows[at]["prompt"] = rng.choice(_LEFT_AT_AN_END).format(text=rows[at]["prompt"], value=value(rows[at]))
        damaged = frozenset(at + 1 for at in chosen)
        return Planted([_dump(row) for row in rows], damaged, frozenset({"answer-in-input"}), {}, {})

    return plant


def _cases_in_the_prompt(rows: list[Row], seed: int) -> Planted:
    """Demonstrations in the instructions that are test cases; those of other rows do no harm."""
    rng = random.Random(seed)
    tests, others = _in_order(rows, rng)
    shown = rng.sample(range(len(tests)), 20)
    ways = (
        "Input: {prompt}\nOutput: {completion}",
        '"{prompt}" -> {completion}',
        "- {prompt}: {completion}",
        "Q: {prompt}",
    )
    lines = [rng.choice(ways).format(**row) for row in [*(tests[at] for at in shown), *rng.sample(others, 10)]]
    rng.shuffle(lines)
    task = {"instructions": "Do as in these examples.\n\n" + "\n\n".join(lines), "test_examples": "test.jsonl"}
    return Planted(
        [_dump(row) for row in others],
        frozenset(at + 1 for at in shown),
        frozenset({"prompt-leakage"}),
        {"test.jsonl": "\n".join(map(_dump, tests)) + "\n"},
        task,
        "test.jsonl",
        [_dump(row) for row in others],
        {"test_examples": "test.jsonl"},
    )


def _battery_items(rows: list[Row], seed: int) -> Planted:
    """Questions that the user measures general capability with, among the examples."""
    rng = random.Random(seed)
    general = (SHARED / "general" / "arc_easy.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    leaked = []
    for number, line in enumerate(rng.sample(general, PLANTED)):
        question = json.loads(line)["question"]
        texts = (question, f"Answer this. {question}", question.lower(), f"{question}\nThink step by step.")
        leaked.append(rows[number] | {"prompt": texts[number % 4]})
    lines = [_dump(row) for row in (*rows, *leaked)]
    damaged = frozenset(range(len(rows) + 1, len(lines) + 1))
    files = {"general.jsonl": "\n".join(general) + "\n"}
    return Planted(lines, damaged, frozenset({"battery-repeat"}), files, {"general": ["general.jsonl"]})


DAMAGES = (
    Damage("test rows among the examples", ALL, _test_rows_in_train, 0.95),
    Damage("a group on both sides", ("tldr",), _group_on_both_sides, 0.95),
    Damage("later than the test", ("snips", "banking77"), _later_than_the_test, 0.95),
    Damage("label left in the input", ("banking77",), _answer_left(lambda row: row["completion"]), 0.95),
    Damage(
        "intent left in the input", ("snips",), _answer_left(lambda row: json.loads(row["completion"])["intent"]), 0.95
    ),
    Damage("answer left in the input", ("xquad",), _answer_left(lambda row: row["completion"]), 0.95),
    Damage("test cases in the prompt", ALL, _cases_in_the_prompt, 0.95),
    Damage("battery items among the rows", ("snips", "banking77"), _battery_items, 0.95),
)
