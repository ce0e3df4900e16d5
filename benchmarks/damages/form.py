"""Damages to the form of rows."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from damages import Damage, Planted, Row

ALL = ("snips", "banking77", "xquad", "tldr")
PLANTED = 60


def lines_of(rows: Sequence[Any]) -> list[str]:
    """Rows as JSON Lines."""
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def chats(rows: Sequence[Row]) -> list[Row]:
    """Rows as conversations, some with an earlier exchange and some with a system prompt."""
    found = []
    for number, row in enumerate(rows):
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
        if number % 3 == 0:
            early = rows[(number * 7 + 11) % len(rows)]
            turns = [
                {"role": "user", "content": early["prompt"]},
                {"role": "assistant", "content": early["completion"]},
                *turns,
            ]
        if number % 2 == 0:
            turns.insert(0, {"role": "system", "content": "Answer as the examples do."})
        found.append({"messages": turns})
    return found


def spoil(
    rows: Sequence[Any], seed: int, codes: str, change: Callable[[Any, random.Random], Any], planted: int = PLANTED
) -> Planted:
    """Some rows changed; what the change gives is a row or a line."""
    rng = random.Random(seed)
    chosen = rng.sample(range(len(rows)), planted)
    lines = plain = lines_of(rows)
    lines = list(plain)
    for index in chosen:
        new = change(json.loads(plain[index]), rng)
        lines[index] = new if isinstance(new, str) else json.dumps(new, ensure_ascii=False)
    return Planted(lines, frozenset(i + 1 for i in chosen), frozenset(codes.split()), {}, {}, undamaged=plain)


def _cut_lines(rows: list[Row], seed: int) -> Planted:
    """The end of a line is missing, as after a copy that broke off."""

    def change(row: Row, rng: random.Random) -> str:
        line = json.dumps(row, ensure_ascii=False)
        return line[: rng.randrange(2, len(line) - 1)]

    return spoil(rows, seed, "bad-json", change)


def _not_json(rows: list[Row], seed: int) -> Planted:
    """What Python, a text editor or a hand makes of JSON."""

    def change(row: Row, rng: random.Random) -> str:
        line = json.dumps(row, ensure_ascii=False)
        return rng.choice(
            [
                repr(row | {"n": None}),
                line + ",",
                line.replace('"completion"', "“completion”"),
                line[:-1] + ",}",
                line[:-1] + ', "score": NaN}',
                line.replace('"prompt"', '"completion"', 1),
                "// " + line,
                line.replace('": "', '": ', 1),
                json.dumps([row["prompt"], row["completion"]]),
                line + line,
            ]
        )

    return spoil(rows, seed, "bad-json", change)


def _not_utf8(rows: list[Row], seed: int) -> Planted:
    """Lines of another encoding, or with bytes that are none."""

    def change(row: Row, rng: random.Random) -> str:
        row["prompt"] += rng.choice([" – café", " naïve", " 5 £", " für", " año"])
        raw = json.dumps(row, ensure_ascii=False).encode("cp1252", "replace")
        if rng.random() < 0.3:
            raw = raw.replace(b" ", rng.choice([b"\0", b"\xff", b"\xc3"]), 1)
        return raw.decode("utf-8", "surrogateescape")

    return spoil(rows, seed, "bad-encoding", change)


def _empty(rows: list[Row], seed: int) -> Planted:
    def change(row: Row, rng: random.Random) -> Row:
        row[rng.choice(["prompt", "completion"])] = rng.choice(["", " ", "\n", None, "\t \n"])
        return row

    return spoil(rows, seed, "empty", change)


def _typo(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    return rng.choice(
        [word[:at] + word[at + 1 :], word[:at] + word[at + 1] + word[at] + word[at + 2 :], word.title(), word + "s"]
    )


def _keys(rows: list[Row], seed: int) -> Planted:
    """A key with a typo, another case, or gone."""

    def change(row: Row, rng: random.Random) -> Row:
        key = rng.choice(["prompt", "completion"])
        new = rng.choice([_typo(key, rng), _typo(key, rng), f"{key}_text", "user_message"])
        value = row.pop(key)
        return row if rng.random() < 0.1 or new == key else row | {new: value}

    return spoil(rows, seed, "wrong-keys", change)


def _mixed(rows: list[Row], seed: int) -> Planted:
    """Rows of another set that was written in another form."""

    def change(row: Row, rng: random.Random) -> Row:
        ask, answer = row["prompt"], row["completion"]
        return rng.choice(
            [
                {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]},
                {"conversations": [{"from": "human", "value": ask}, {"from": "gpt", "value": answer}]},
                {"instruction": ask, "input": "", "output": answer},
                {"question": ask, "answer": answer},
                {"prompt": ask, "chosen": answer, "rejected": "I do not know."},
            ]
        )

    return spoil(rows, seed, "mixed-forms", change)


def _tools(rows: list[Row], seed: int) -> Planted:
    def change(row: Row, rng: random.Random) -> Row:
        turns = row["messages"]
        call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
        kind = rng.randrange(4)
        if kind == 0:
            row["tools"] = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
        elif kind == 1:
            turns[-1] = {"role": "assistant", "content": None, "tool_calls": [call]}
        elif kind == 2:
            turns[-1:-1] = [
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
            ]
        else:
            turns[-1]["function_call"] = {"name": "look_up", "arguments": "{"}
        return row

    return spoil(chats(rows), seed, "tool-use", change)


def _roles(rows: list[Row], seed: int) -> Planted:
    def change(row: Row, rng: random.Random) -> Row:
        names = ["assitant", "usr", "bot", "customer", "AI", "", 3, "narrator", "agent"]
        rng.choice(row["messages"])["role"] = rng.choice(names)
        return row

    return spoil(chats(rows), seed, "wrong-role", change)


def _order(rows: list[Row], seed: int) -> Planted:
    def change(row: Row, rng: random.Random) -> Row:
        turns = row["messages"]
        kind = rng.randrange(4)
        if kind == 0:
            turns.pop()
        elif kind == 1:
            turns[-1], turns[-2] = turns[-2], turns[-1]
        elif kind == 2:
            turns.insert(len(turns) - 1, {"role": "system", "content": "Be brief."})
        else:
            turns[:] = [turn for turn in turns if turn["role"] != "user"]
        return row

    return spoil(chats(rows), seed, "turn-order", change)


def _table(rows: Sequence[Row], columns: Sequence[str], quoting: Any) -> list[str]:
    """The lines of a CSV file, one record a line."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=quoting, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([" ".join(str(row.get(name, "")).split()) for name in columns] for row in rows)
    return buffer.getvalue().splitlines()


def _planted_table(lines: list[str], damaged: frozenset[int], code: str, plain: list[str]) -> Planted:
    name = "examples.csv"
    return Planted(lines, damaged, frozenset({code}), {}, {"examples": name}, where=name, undamaged=plain)


def _cells(rows: list[Row], seed: int) -> Planted:
    """A comma in a cell without quotes, or a separator lost, so that cells are shifted."""
    rng = random.Random(seed)
    plain = _table(rows, ["prompt", "completion"], csv.QUOTE_MINIMAL)
    lines = list(plain)
    chosen = rng.sample(range(1, len(plain)), PLANTED)
    for index in chosen:
        row = rows[index - 1]
        ask, answer = (" ".join(row[key].split()).replace('"', "'") for key in ("prompt", "completion"))
        lost = f"{ask} {answer}".replace(",", " ")
        lines[index] = rng.choice([f"{ask}, please,{answer.replace(',', ' ')}", lost, f"{lines[index]},"])
    damaged = frozenset(index + 1 for index in chosen)
    return _planted_table(lines, damaged, "table-cells", plain)


def _quotes(rows: list[Row], seed: int) -> Planted:
    """A quote that is not closed, or not doubled inside a cell; far enough apart that each is one damage."""
    rng = random.Random(seed)
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    plain = _table(rows, ["prompt", "completion", "n"], quoting)
    lines = list(plain)
    chosen = [index + rng.randrange(12) for index in range(1, len(plain) - 12, 16)][:PLANTED]
    for index in chosen:
        row = rows[index - 1]
        ask, answer = (" ".join(row[key].split()).replace('"', "'") for key in ("prompt", "completion"))
        lines[index] = rng.choice(
            [
                f'"{ask},{answer.replace(",", " ")},',
                f'"the "{ask}" again",x,',
                f'"{ask}" he said,"{answer}",',
                f'"{ask}"x,y,',
            ]
        )
    damaged = frozenset(index + 1 for index in chosen)
    return _planted_table(lines, damaged, "table-quotes", plain)


DAMAGES = (
    Damage("cut line", ALL, _cut_lines, 0.95),
    Damage("no JSON", ALL, _not_json, 0.95),
    Damage("no UTF-8", ALL, _not_utf8, 0.95),
    Damage("empty", ALL, _empty, 0.95),
    Damage("wrong keys", ALL, _keys, 0.95),
    Damage("mixed forms", ALL, _mixed, 0.95),
    Damage("tools", ALL, _tools, 0.95),
    Damage("wrong roles", ALL, _roles, 0.95),
    Damage("turns out of order", ALL, _order, 0.95),
    Damage("shifted cells", ALL, _cells, 0.95),
    Damage("broken quotes", ALL, _quotes, 0.95),
)
