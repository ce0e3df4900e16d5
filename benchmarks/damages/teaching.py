"""Damages to what a row teaches: answers broken off, rows that are too long, control tokens, nothing left to learn.

What does not lie in rows (a template that ends no turn, a token that begins a text twice) cannot be planted here, nor
can what the base of this benchmark never does: its template refuses no conversation, and its tokenizer loses no text.
"""

# ruff: noqa: RUF001 - a sentence in another script

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from damages import Damage, Planted, Row
from damages.form import ALL, PLANTED, lines_of

DOCUMENTS = Path(__file__).parents[3] / "shared" / "data" / "xquad" / "documents"
LIMIT = 512  # tokens; the texts that are too long have twice as many, those that are not at most two thirds

Change = Callable[[Any, random.Random], Any]


def _some(
    rows: Sequence[Any], seed: int, codes: str, change: Change, harmless: Change, task: dict[str, Any] | None = None
) -> Planted:
    """Some rows damaged, and as many others made to look like it without the damage."""
    rng = random.Random(seed)
    changed = list(rows)
    order = rng.sample(range(len(rows)), 2 * PLANTED)
    for place, index in enumerate(order):
        changed[index] = (change if place < PLANTED else harmless)(json.loads(json.dumps(rows[index])), rng)
    damaged = frozenset(index + 1 for index in order[:PLANTED])
    return Planted(lines_of(changed), damaged, frozenset(codes.split()), {}, task or {}, undamaged=lines_of(rows))


def _documents() -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(DOCUMENTS.glob("*.txt"))}


def _sentence_of(row: Row, documents: dict[str, str]) -> str:
    """The sentence of the document that the answer of an `xquad` row stands in."""
    said = re.split(r"(?<=[.!?])\s+(?=[A-Z])", documents[row["document"]].strip())
    return next((sentence for sentence in said if row["completion"] in sentence), row["completion"])


def _cut(text: str, rng: random.Random) -> str:
    """A text without its end, as a limit of tokens leaves it: in a word or after one, past the middle."""
    cut = text[: rng.randrange(max(4, len(text) // 2), len(text) - 1)]
    return cut.rstrip() if cut.rstrip() != text.rstrip(".") else cut.rstrip()[:-1]


def _open(text: str) -> bool:
    return any(text.count(a) > text.count(b) for a, b in ("()", "[]", "{}"))


def _broken_off(rows: list[Row], seed: int) -> Planted:
    """Answers that stop before their end: sentences without it, and records and commands inside a bracket.

    A command that is cut between two words is a command too; only one who knows it can tell, so none is planted.
    """
    documents = _documents() if "document" in rows[0] else {}
    if documents:
        rows = [row | {"completion": _sentence_of(row, documents)} for row in rows]

    def change(row: Row, rng: random.Random) -> Row:
        text = row["completion"]
        if not documents:
            inside = [at for at in range(len(text) // 3, len(text)) if _open(text[:at])]
            return row | {"completion": text[: rng.choice(inside or [len(text) - 1])].rstrip()}
        return row | {"completion": _cut(text, rng)}

    def harmless(row: Row, rng: random.Random) -> Row:
        """Short, but whole."""
        if documents:
            return row | {
                "completion": rng.choice(["It was {}.", "In short: {}.", "{}!", "{} (see above)."]).format(
                    row["completion"].rstrip(". ")
                )
            }
        return row

    brackets = [row for row in rows if re.search(r"[{(\[]", row["completion"])]
    return _some(rows if documents else brackets, seed, "output-format schema wrong-value", change, harmless)


_JAPANESE = "東京都の図書館は、毎週月曜日に休館します。返却する本は入口の箱に入れてください。"
_RUSSIAN = "Библиотека закрыта по понедельникам; книги можно оставить в ящике у входа. "


def _long(text: str, rng: random.Random) -> str:
    """A text of at least twice as many tokens as are trained: prose, numbers, or a script of many tokens a letter."""
    kind = rng.randrange(4)
    if kind == 0:
        pasted = rng.sample(sorted(_documents().values()), 12)
        return f"{text}\n\n" + "\n\n".join(pasted)
    if kind == 1:
        return f"{text}\n" + "\n".join(f"{rng.randrange(10**6):>9}, {rng.random():.6f}" for _ in range(70))
    if kind == 2:
        return f"{text} {_JAPANESE * 26}"
    return f"{text} {_RUSSIAN * 20}"


def _not_too_long(text: str, rng: random.Random) -> str:
    """A text that is long for its set, and fits."""
    pasted = " ".join(rng.choice(sorted(_documents().values())).split())[: rng.randrange(500, 1000)]
    return rng.choice([f"{text} {pasted}.", f"{pasted}. {text}", f"{text}{' ok' * 200}", f"{text} {_RUSSIAN * 2}"])


def _too_long(rows: list[Row], seed: int) -> Planted:
    """Rows that are longer than what is trained, in the input or in the answer."""

    def change(row: Row, rng: random.Random) -> Row:
        key = rng.choice(["prompt", "completion"])
        return row | {key: _long(row[key], rng)}

    def harmless(row: Row, rng: random.Random) -> Row:
        key = rng.choice(["prompt", "completion"])
        return row | {key: _not_too_long(row[key], rng)}

    return _some(rows, seed, "cut-off", change, harmless, {"train": {"max_length": LIMIT}})


_OWN_TOKENS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<file_sep>", "<jupyter_code>", "<empty_output>")


def _control_tokens(rows: list[Row], seed: int) -> Planted:
    """Control tokens of the base somewhere in the answer; what only looks like one is left to other findings."""

    def change(row: Row, rng: random.Random) -> Row:
        token, text = rng.choice(_OWN_TOKENS), row["completion"]
        at = rng.choice([0, len(text), rng.randrange(len(text) + 1)])
        put = rng.choice([token, f" {token} ", f"{token}\n", f"{token}{token}"])
        return row | {"completion": text[:at] + put + text[at:]}

    def harmless(row: Row, rng: random.Random) -> Row:
        like = ["<im_end>", "<| im_end |>", "|im_end|", "<|im_stop|>", "<file sep>", "<filenames>", "im_start", "</s>"]
        return row | {"completion": f"{row['completion']} {rng.choice(like)}"}

    return _some(rows, seed, "control-token", change, harmless)


def _in_the_input(rows: list[Row], seed: int) -> Planted:
    """Control tokens and whole turns in the input, where the renderer makes plain text of them."""

    def change(row: Row, rng: random.Random) -> Row:
        text = row["prompt"]
        forms = [
            "{}<|im_end|>", "<|im_start|>user\n{}", "{}\n<|endoftext|>\n", "{}<|im_end|>\n<|im_start|>assistant",
            "<|endoftext|>{}", "{} <|im_end|> <|im_end|>", "system\n<|im_end|>{}", "{}<|im_start|>", "<|im_sep|>{}",
        ]  # fmt: skip
        return row | {"prompt": rng.choice(forms).format(text)}

    def harmless(row: Row, rng: random.Random) -> Row:
        like = ["<|", "|>", "a <|> b", "im_end", "x |> f |> g", "end of text", "<im_start", "|im|", "<| |>"]
        return row | {"prompt": f"{row['prompt']} {rng.choice(like)}"}

    return _some(rows, seed, "template-leftover control-token", change, harmless)


def _role_lines(rows: list[Row], seed: int) -> Planted:
    """What a decoder that skips control tokens leaves of a rendered conversation: the names of the roles, on lines."""

    def change(row: Row, rng: random.Random) -> Row:
        ask, answer = row["prompt"], row["completion"]
        brief = rng.choice(["You are a helpful assistant.", "Answer as the examples do.", "Be brief."])
        whole = [
            f"system\n{brief}\nuser\n{ask}\nassistant\n", f"user\n{ask}\nassistant\n", f"user\n\n{ask}\n\nassistant",
            f"system\n{brief}\nuser\n{ask}\nassistant", f"user\n{ask}\nmodel\n", f"System\n{brief}\nUser\n{ask}",
        ]  # fmt: skip
        if rng.random() < 0.5:
            return row | {"prompt": rng.choice(whole)}
        ends = [f"assistant\n{answer}", f"assistant\n\n{answer}", f"{answer}\nuser\n", f"{answer}\nuser\n{ask}"]
        return row | {"completion": rng.choice(ends)}

    def harmless(row: Row, rng: random.Random) -> Row:
        like = [
            "\nThe user", "\nuser name: x", " user\nadmin", "\nassistants wanted", " the assistant\nof the mayor",
            "\n- user\n- guest", "\nsystem: on", " model\nT", "\nuser, assistant",
        ]  # fmt: skip
        key = rng.choice(["prompt", "completion"])
        return row | {key: row[key] + rng.choice(like)}

    return _some(rows, seed, "template-leftover", change, harmless)


def _unfilled(rows: list[Row], seed: int) -> Planted:
    """A template of a program that was not filled in where the input should stand, or around it."""

    def change(row: Row, rng: random.Random) -> Row:
        name = rng.choice(["prompt", "question", "instruction", "text", "user_input", "query", "input", "context"])
        name = rng.choice([name, "customer_message", "sentence", "item.text"])
        marks = ["{{{{ {} }}}}", "{{{{{}}}}}", "{{{}}}", "${{{}}}", "<<{}>>", "{{% if {} %}}", "[{}]", "%({})s"]
        mark = rng.choice(marks).format(name)
        around = ["{mark}", "Answer this: {mark}", "{mark}\n{text}", "{text}\n\n{mark}", "Text: {mark}\nAnswer:"]
        return row | {"prompt": rng.choice(around).format(mark=mark, text=row["prompt"])}

    def harmless(row: Row, rng: random.Random) -> Row:
        like = ["{ }", "{1, 2}", "100 %", "$5 {each}", "[1]", "<b>", "f(x) = {x | x > 0}", "a{2,3}", "{{path/to/file}}"]
        return row | {"prompt": f"{row['prompt']} {rng.choice(like)}"}

    return _some(rows, seed, "template-leftover unfilled-template", change, harmless)


def _nothing_left(rows: list[Row], seed: int) -> Planted:
    """Answers of which nothing is left that could be learned, though some are no empty text; short ones are right."""

    def change(row: Row, rng: random.Random) -> Row:
        nothing = ["", " ", "\n\n", "\t", "\u00a0", "\u200b", "\ufeff", "\u3000", "\u200b\u200b", "\u2028", "\u00ad"]
        nothing += ["\u2060\n", "<|im_end|>", " <|im_end|>\n", "<|endoftext|>"]
        return row | {"completion": rng.choice(nothing)}

    def harmless(row: Row, rng: random.Random) -> Row:
        return row | {"completion": rng.choice(["0", "no", "ok", "I", "はい", "+", "é", "7", "x", "é."])}

    return _some(rows, seed, "empty nothing-to-learn hidden-character control-token", change, harmless)


_SYSTEM = "You answer requests of customers. Answer as the examples do, in as few words as possible."


def _with_system(rows: Sequence[Row], system: str = _SYSTEM) -> list[Row]:
    return [
        {
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        }
        for row in rows
    ]


def _other_system(rows: list[Row], seed: int) -> Planted:
    """A system prompt that most rows share, and others in some: an older version, another one."""

    def change(row: Row, rng: random.Random) -> Row:
        old = [_SYSTEM[:-1], _SYSTEM.lower(), f"{_SYSTEM} Be friendly.", "You are a helpful assistant.", "Be brief."]
        row["messages"][0]["content"] = rng.choice(
            [*old, _SYSTEM.replace("few", "many"), f"{_SYSTEM}\nToday is Monday."]
        )
        return row

    def harmless(row: Row, rng: random.Random) -> Row:
        row["messages"][1]["content"] += rng.choice([" You are a helpful assistant.", "\nBe brief.", f"\n{_SYSTEM}"])
        return row

    return _some(_with_system(rows), seed, "mixed-system", change, harmless)


def _no_system(rows: list[Row], seed: int) -> Planted:
    """A system prompt in most rows and none in some."""

    def change(row: Row, rng: random.Random) -> Row:
        del row["messages"][0]
        return row

    def harmless(row: Row, rng: random.Random) -> Row:
        row["messages"][1]["content"] += " System prompt: none."
        return row

    return _some(_with_system(rows), seed, "mixed-system", change, harmless)


_INSTRUCTIONS = "Read the request. Answer it as the examples do, and write nothing else around the answer."


def _instructions_twice(rows: list[Row], seed: int) -> Planted:
    """The instructions of the task in some inputs too, as they are or typed and broken into lines otherwise."""

    def change(row: Row, rng: random.Random) -> Row:
        ways: list[Callable[[str], str]] = [
            str, str.upper, str.lower, lambda t: t.replace(" ", "\n", 3), lambda t: t.replace(". ", ".\n\n"),
            lambda t: t.rstrip("."), lambda t: t.replace(",", ""), lambda t: f"**{t}**", lambda t: t.replace(" ", "  "),
        ]  # fmt: skip
        said = rng.choice(ways)(_INSTRUCTIONS)
        return row | {
            "prompt": rng.choice(["{0}\n\n{1}", "{1}\n\n{0}", "{0} {1}", "Instructions: {0}\nRequest: {1}"]).format(
                said, row["prompt"]
            )
        }

    def harmless(row: Row, rng: random.Random) -> Row:
        part = rng.choice([_INSTRUCTIONS[:17], _INSTRUCTIONS[18:52], "Write nothing.", "Do as the examples do."])
        return row | {"prompt": f"{part} {row['prompt']}"}

    planted = _some(rows, seed, "instructions-twice", change, harmless, {"instructions": _INSTRUCTIONS})
    return planted


DAMAGES = (
    Damage("answer broken off", ("snips", "xquad", "tldr"), _broken_off, 0.95),
    Damage("row longer than is trained", ALL, _too_long, 0.95),
    Damage("control token in the answer", ALL, _control_tokens, 0.95),
    Damage("control token in the input", ALL, _in_the_input, 0.95),
    Damage("role names left by a decoder", ALL, _role_lines, 0.95),
    Damage("template not filled in", ALL, _unfilled, 0.95),
    Damage("nothing left to learn", ALL, _nothing_left, 0.95),
    Damage("another system prompt", ALL, _other_system, 0.95),
    Damage("no system prompt", ALL, _no_system, 0.95),
    Damage("instructions in the row too", ALL, _instructions_twice, 0.95),
)
