"""Damages to the text of rows that can be read: encodings, invisible characters, escapes, markup, templates, turns."""

from __future__ import annotations

import html
import json
import random
import re
from collections.abc import Callable, Sequence

from damages import Damage, Planted, Row
from damages.form import ALL, PLANTED, chats, lines_of, spoil

PROSE = ("banking77", "xquad", "tldr")  # in snips every output is JSON

Change = Callable[[str, random.Random], str]

FOREIGN = (
    "Crème brûlée costs 5 €",
    "l’été à Évry",
    "Straße in Köln",
    "São Paulo – manhã",
    "el niño comió",
    "“quoted” – and …",
    "Łódź, Gdańsk",
    "Привет, мир",
    "東京タワー",
    "Ελλάδα",
    "naïve café",
    "£20 or 30 °C",
    "don’t",
)


def foreign(text: str, rng: random.Random) -> str:
    """A text with characters beyond ASCII somewhere in it."""
    words = text.split(" ")
    words.insert(rng.randrange(len(words) + 1), rng.choice(FOREIGN))
    return " ".join(words)


def some(
    rows: Sequence[Row], seed: int, codes: str, change: Change, harmless: Change, keys: str = "prompt completion"
) -> Planted:
    """Rows with a damage in the prompt or the completion, and as many others with what looks like it and is none."""
    rng = random.Random(seed)
    order = rng.sample(range(len(rows)), 2 * PLANTED)
    changed = [dict(row) for row in rows]
    for index in order:
        key = rng.choice(keys.split())
        changed[index][key] = (change if index in order[:PLANTED] else harmless)(changed[index][key], rng)
    damaged = frozenset(index + 1 for index in order[:PLANTED])
    return Planted(lines_of(changed), damaged, frozenset(codes.split()), {}, {})


def _mojibake(rows: list[Row], seed: int) -> Planted:
    """UTF-8 read as another encoding, once or twice."""

    def change(text: str, rng: random.Random) -> str:
        good = new = foreign(text, rng)
        while new == good:
            encoding = rng.choice(["cp1252", "cp1252", "latin-1", "mac_roman"])
            for _ in range(rng.choice([1, 1, 1, 2])):
                try:
                    new = new.encode("utf-8").decode(encoding)
                except UnicodeDecodeError:
                    new = new.encode("utf-8").decode("latin-1")
        return new

    def harmless(text: str, rng: random.Random) -> str:
        return rng.choice(
            [
                foreign(text, rng),
                f"{text} PÃO E MAÇÃ",
                f"{text} Â.",
                "À LA CARTE " + text,
                f"{text} ¿Qué?",
                f"{text} âge",
            ]
        )

    return some(rows, seed, "mojibake", change, harmless)


def _lost(rows: list[Row], seed: int) -> Planted:
    def change(text: str, rng: random.Random) -> str:
        raw = foreign(text, rng).encode(rng.choice(["cp1252", "latin-1"]), "ignore")
        new = raw.decode("utf-8", "replace")
        return new if "\ufffd" in new else text[:3] + "\ufffd" + text[3:]

    return some(rows, seed, "lost-character", change, lambda text, rng: foreign(text, rng) + " why? (?)")


def _hidden(rows: list[Row], seed: int) -> Planted:
    def change(text: str, rng: random.Random) -> str:
        at = rng.randrange(len(text) + 1)
        character = rng.choice(
            "\x00\x01\x07\x08\x0b\x1b\x7f\x85\x93\u200b\u200e\u202e\u2060\ufeff\u00ad\u2066\uf0b7"[1:]
        )
        return text[:at] + character + text[at:]

    def harmless(text: str, rng: random.Random) -> str:
        extra = ["👨‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "می‌خواهم", "‏שלום‏", "क्‍ष", "❤️", "a\tb", "x\r\ny", "日本 語", "e\u0301"]
        return f"{text} {rng.choice(extra)}"

    return some(rows, seed, "hidden-character", change, harmless)


def _escaped(rows: list[Row], seed: int) -> Planted:
    """JSON in JSON: the text was written as a JSON string once too often."""

    def change(text: str, rng: random.Random) -> str:
        text = " ".join(text.replace("\\", "/").replace('"', "'").split())
        kind = rng.randrange(3)
        if kind == 0:
            text += rng.choice(["\n", "\n\n", ".\n"]) + rng.choice(
                ["Thank you.", "- one\n- two", "1. First\n2. Second", "Best,\nAnn"]
            )
        elif kind == 1:
            text += rng.choice([" café", " – naïve", " “so”", " 5 €", " Привет", " 東京"])
        else:
            text += rng.choice([' He said "no" twice.', ' The "Blue Room" is shut.'])
        return json.dumps(text)[1:-1]

    def harmless(text: str, rng: random.Random) -> str:
        extra = [
            r'printf("%d\n", x);',
            r"C:\new\table",
            r"$\nu \neq \nabla$",
            "`a\\nb`",
            r"sed 's/,/\n/g' file",
            r"grep '\bword\b'",
        ]
        return f"{text} {rng.choice(extra)}"

    return some(rows, seed, "escaped-text", change, harmless)


def _entities(rows: list[Row], seed: int) -> Planted:
    def change(text: str, rng: random.Random) -> str:
        text += rng.choice([" Marks & Spencer", " it's 5 > 4", ' "quoted"', " a < b", " R&D"])
        new = html.escape(text)
        return rng.choice([new, new.replace(" ", "&nbsp;", 1), new + " caf&eacute; &#8211;"])

    def harmless(text: str, rng: random.Random) -> str:
        extra = [
            "AT&T; really",
            "a && b;",
            "x < y & y > z",
            "R&D; budget",
            "q?a=1&copy=2",
            "Escape & as &amp; in HTML.",
        ]
        return f"{text} {rng.choice(extra)}"

    return some(rows, seed, "html-entity", change, harmless)


def _tags(rows: list[Row], seed: int) -> Planted:
    def change(text: str, rng: random.Random) -> str:
        forms = [
            "<p>{}</p>",
            "{}<br>",
            "{}<br/>Thanks",
            '<span style="x">{}</span>',
            "<b>{}</b>",
            '<a href="http://x.y">{}</a>',
        ]
        forms += ["<div><p>{}</p></div>", "<ul><li>{}</li></ul>", "{} <em>now</em>"]
        return rng.choice(forms).format(text)

    def harmless(text: str, rng: random.Random) -> str:
        extra = [
            "<name>",
            "a <b and c> d",
            "press <u>",
            "List<String>",
            "<3",
            "<user@x.org>",
            "Write <p> in HTML: <p>x</p>",
            "<-- here",
        ]
        return f"{text} {rng.choice(extra)}"

    return some(rows, seed, "html-tag", change, harmless)


def _templates(rows: list[Row], seed: int) -> Planted:
    """A row that was rendered by the template of some model before."""

    def change(row: Row, rng: random.Random) -> Row:
        ask, answer = row["prompt"], row["completion"]
        in_prompt = [
            f"<|im_start|>user\n{ask}<|im_end|>\n<|im_start|>assistant\n",
            f"[INST] {ask} [/INST]",
            f"<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n{ask} [/INST]",
            f"<|start_header_id|>user<|end_header_id|>\n\n{ask}<|eot_id|>",
            f"<start_of_turn>user\n{ask}<end_of_turn>",
            f"### Instruction:\n{ask}\n\n### Response:\n",
            f"### Human: {ask}\n### Assistant:",
            f"Human: {ask}\n\nAssistant:",
            f"USER: {ask}\nASSISTANT:",
            f"<\uff5cUser\uff5c>{ask}<\uff5cAssistant\uff5c>",
        ]
        in_answer = [
            f"{answer}<|im_end|>", f"{answer}</s>", f"{answer} <|endoftext|>", f"Assistant: {answer}",
            f"{answer}<|eot_id|>", f"{answer}<eos>", f"### Response:\n{answer}", f"{answer}<end_of_turn>",
        ]  # fmt: skip
        if rng.random() < 0.5:
            return row | {"prompt": rng.choice(in_prompt)}
        return row | {"completion": rng.choice(in_answer)}

    def harmless(row: Row, rng: random.Random) -> Row:
        extra = [
            "\n\n## Summary\nnone",
            " [link](http://x)",
            " <user>",
            " Note: see below.",
            " a | b || c",
            " [1] [INSTALL]",
        ]
        extra += ["\nQ3: up", " <|", " # Response times", " The assistant: a job", " s</s", " [PADDING]"]
        key = rng.choice(["prompt", "completion"])
        return row | {key: row[key] + rng.choice(extra)}

    planted = spoil(rows, seed, "template-leftover", change)
    rng = random.Random(seed + 1)
    lines = list(planted.lines)
    for index in rng.sample([i for i in range(len(rows)) if i + 1 not in planted.damaged], PLANTED):
        lines[index] = json.dumps(harmless(rows[index], rng), ensure_ascii=False)
    return Planted(lines, planted.damaged, planted.codes, {}, {})


def _space(rows: list[Row], seed: int) -> Planted:
    def change(text: str, rng: random.Random) -> str:
        return rng.choice([" {}", "\n{}", "{} ", "{}\n", "{}\n\n", "  {}  ", "\t{}", "\u00a0{}"]).format(text)

    def harmless(text: str, rng: random.Random) -> str:
        return rng.choice([f"{text}  twice", f"{text}\n\nmore", f"{text}\t.", f"{text} . "]).strip()

    return some(rows, seed, "output-space", change, harmless, "completion")


def _turns(rows: list[Row], seed: int) -> Planted:
    def change(row: Row, rng: random.Random) -> Row:
        turns = row["messages"]
        first = next(i for i, turn in enumerate(turns) if turn["role"] == "user")
        kind = rng.randrange(3)
        if kind == 0:
            turns.insert(first, dict(turns[first]))
        elif kind == 1:
            turns[first:first] = [dict(turn) for turn in turns[first : first + 2]]
        else:
            turns.append({"role": "assistant", "content": "And have a nice day."})
        return row

    def harmless(row: Row, rng: random.Random) -> Row:
        thanks = [{"role": "user", "content": "Thanks!"}, {"role": "assistant", "content": "You are welcome."}]
        other = [{"role": "user", "content": "Wait."}, {"role": "assistant", "content": "Yes?"}]
        first = next(i for i, turn in enumerate(row["messages"]) if turn["role"] == "user")
        row["messages"][first:first] = [*thanks, *other, *thanks]
        return row

    plain = chats(rows)
    planted = spoil(plain, seed, "repeated-turn turn-order", change)
    rng = random.Random(seed + 1)
    lines = list(planted.lines)
    for index in rng.sample([i for i in range(len(rows)) if i + 1 not in planted.damaged], PLANTED):
        lines[index] = json.dumps(harmless(plain[index], rng), ensure_ascii=False)
    return Planted(lines, planted.damaged, planted.codes, {}, {}, undamaged=planted.undamaged)


def _equal(rows: list[Row], seed: int) -> Planted:
    def change(row: Row, rng: random.Random) -> Row:
        return row | {"rejected": rng.choice(["{}", "{} ", "\n{}"]).format(row["chosen"])}

    return spoil(rows, seed, "same-preference", change)


def _swapped(rows: list[Row], seed: int) -> Planted:
    def change(row: Row, rng: random.Random) -> Row:
        return row | {"chosen": row["rejected"], "rejected": row["chosen"]}

    different = [row for row in rows if not re.fullmatch(re.escape(row["chosen"]), row["rejected"])]
    return spoil(different, seed, "swapped-preference", change)


DAMAGES = (
    Damage("mojibake", ALL, _mojibake, 0.95),
    Damage("lost characters", ALL, _lost, 0.95),
    Damage("hidden characters", ALL, _hidden, 0.95),
    Damage("escaped text", PROSE, _escaped, 0.95),
    Damage("HTML entities", PROSE, _entities, 0.95),
    Damage("HTML tags", PROSE, _tags, 0.95),
    Damage("template leftovers", ALL, _templates, 0.95),
    Damage("space around outputs", ALL, _space, 0.95),
    Damage("repeated turns", ALL, _turns, 0.95),
    Damage("equal pairs", ("polite_pairs",), _equal, 0.95),
    Damage("swapped pairs", ("polite_pairs",), _swapped, None),
)
