"""Rows that say what another row says, in the ways that people and copying programs bring about."""

from __future__ import annotations

import copy
import json
import random
import re
from collections import Counter
from collections.abc import Callable

from damages import Damage, Planted, Row

ALL = ("snips", "banking77", "xquad", "tldr")
PLANTED = 60
APART = 30  # rows that are made from another and ask something else

Change = Callable[[str, random.Random], str]

# A keyboard by rows: what lies beside a key is what is hit instead of it.
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {key: row[max(0, at - 1) : at] + row[at + 1 : at + 2] for row in _KEYS for at, key in enumerate(row)}
_OPENINGS = (
    "Hi, ", "Hello there, ", "Good morning! ", "Quick question: ", "Sorry to bother you, ", "please ", "Hey team - ",
    "I was wondering, ", "Could you tell me, ", "One more thing: ", "Dear support, ", "ok so ", "Umm ", "Question: ",
)  # fmt: skip
_CLOSINGS = (
    " please", " thanks", ", thank you", " Thanks a lot!", ", cheers", " pls", " many thanks", ", if you can",
    " Kind regards", " thx in advance", " please help", ", thank you very much",
)  # fmt: skip
_SMALL = frozenset("a an the my this that some please just i you me is it to of for in on at do does".split())
_OTHER = ("Thunder Valley", "Ottomar", "Quiet Riverside", "Belgrave", "Sapphire", "zimbabwe", "the llama farm")


def _letters(text: str) -> list[int]:
    return [at for at, letter in enumerate(text) if letter.isascii() and letter.isalpha()]


def _one_slip(text: str, rng: random.Random) -> str:
    at = rng.choice(_letters(text))
    kind = rng.randrange(4)
    if kind == 0 and at + 1 < len(text):
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + text[at] + text[at:]
    return text[:at] + rng.choice(_BESIDE[text[at].lower()]) + text[at + 1 :]


def _slips(text: str, rng: random.Random) -> str:
    """Neighbouring keys, letters swapped, left out or doubled: one, and one more in every fifty characters."""
    for _ in range(1 + len(text) // 50):
        text = _one_slip(text, rng)
    return text


def _dress(text: str, rng: random.Random) -> str:
    """Another case, other punctuation, other white space."""
    ways: tuple[Callable[[str], str], ...] = (
        str.upper,
        str.lower,
        str.title,
        lambda t: re.sub(r"[.,?!;:']", "", t),
        lambda t: t.rstrip(".?! ") + rng.choice(("!", "??", "...", " ?")),
        lambda t: "  " + t.replace(" ", "  ") + "\n",
        lambda t: t.replace("'", "\u2019").replace("-", " "),
        lambda t: f'"{t}"',
    )
    return rng.choice(ways)(text)


def _longer(text: str, rng: random.Random) -> str:
    """A greeting before, thanks behind, or both."""
    kind = rng.randrange(3)
    before = rng.choice(_OPENINGS) if kind != 1 else ""
    behind = rng.choice(_CLOSINGS) if kind != 0 else ""
    return before + (text[:1].lower() + text[1:] if before else text).rstrip(".") + behind


def _shorter(text: str, rng: random.Random) -> str:
    """One small word left out."""
    words = text.split(" ")
    small = [at for at, word in enumerate(words) if word.lower() in _SMALL]
    if not small or len(words) < 4:
        return text
    del words[rng.choice(small)]
    return " ".join(words)


def _moved(text: str, rng: random.Random) -> str:
    """Neighbours swapped, or the end put first."""
    words = text.split(" ")
    if len(words) < 4:
        return text
    if rng.random() < 0.5:
        at = rng.randrange(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    else:
        cut = rng.randrange(1, min(4, len(words)))
        words = words[-cut:] + words[:-cut]
    return " ".join(words)


def _another_word(text: str, rng: random.Random) -> str:
    """One word of a long text replaced."""
    words = text.split(" ")
    if len(text) < 110 or len(words) < 15:
        return text
    at = rng.randrange(len(words))
    words[at] = rng.choice(("item", "matter", "time", "really", "case", "again"))
    return " ".join(words)


def _another_thing(text: str, rng: random.Random) -> str:
    """The same words about something else: another name, another number, or the opposite."""
    words = text.split(" ")
    numbers = [at for at, word in enumerate(words) if re.fullmatch(r"\d+", word)]
    if numbers and rng.random() < 0.7:
        at = rng.choice(numbers)
        words[at] = str(int(words[at]) + rng.randrange(1, 9))
        return " ".join(words)
    denied = re.search(r"\b(not|no|never)\b|n't", text.lower())
    can = (
        []
        if denied
        else [at for at, word in enumerate(words) if word.lower() in ("can", "do", "is", "was", "does", "will", "has")]
    )
    if can:
        words.insert(rng.choice(can) + 1, "not")
        return " ".join(words)
    if len(text) < 60:
        words[-1] = rng.choice(_OTHER)
        return " ".join(words)
    return text


def _exact_copies(rows: list[Row], seed: int) -> Planted:
    """The same line again, anywhere below or above."""
    rng = random.Random(seed)
    kept = list({json.dumps(row, ensure_ascii=False): row for row in rows}.values())
    lines = [json.dumps(row, ensure_ascii=False) for row in kept]
    for line in rng.sample(lines, PLANTED):
        lines.insert(rng.randrange(len(lines) + 1), line)
    seen: set[str] = set()
    damaged = set()
    for number, line in enumerate(lines, start=1):
        if line in seen:
            damaged.add(number)
        seen.add(line)
    return Planted(lines, frozenset(damaged), frozenset({"duplicate"}), {}, {})


def _near(change: Change) -> Callable[[list[Row], int], Planted]:
    def plant(rows: list[Row], seed: int) -> Planted:
        rng = random.Random(seed)
        times = Counter(_plain(row["prompt"]) for row in rows)
        order = [at for at in rng.sample(range(len(rows)), len(rows)) if times[_plain(rows[at]["prompt"])] == 1]
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        damaged: set[int] = set()
        apart = 0
        for at in order:
            text = rows[at]["prompt"]
            if len(damaged) < 2 * PLANTED:
                other, repeats = change(text, rng), True
            elif apart < APART:
                other, repeats = _another_thing(text, rng), False
            else:
                break
            if other == text or len(text.split()) < 3:
                continue
            row = copy.deepcopy(rows[at])
            row["prompt"] = other
            lines.append(json.dumps(row, ensure_ascii=False))
            if repeats:
                damaged |= {at + 1, len(lines)}
            else:
                apart += 1
        return Planted(lines, frozenset(damaged), frozenset({"near-duplicate"}), {}, {})

    return plant


def _other_answers(rows: list[Row], seed: int) -> Planted:
    """A row again with a slip in it, and another label: two people, or one on two days."""
    rng = random.Random(seed)
    rows = copy.deepcopy(rows)
    labels = sorted({row["completion"] for row in rows})
    damaged: set[int] = set()
    for at in rng.sample(range(len(rows)), PLANTED):
        text = rng.choice((_one_slip, _longer))(rows[at]["prompt"], rng)
        other = rng.choice([label for label in labels if label != rows[at]["completion"]])
        rows.append({"prompt": text, "completion": other})
        damaged |= {at + 1, len(rows)}
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return Planted(lines, frozenset(damaged), frozenset({"near-conflict", "conflict"}), {}, {})


_TEMPLATES = (
    "My {item} {when} has not arrived, can you check order {number}?",
    "I would like to {want} the {item} that I bought {when}.",
    "Why was {number} euros taken from my account {when} for the {item}?",
    "Is the {item} available in {place}?",
    "The {item} I received {when} is {state}, please {want} it.",
)
_FILLERS = {
    "item": ("red jacket", "coffee machine", "laptop", "pair of shoes", "lamp", "garden table", "phone case", "bike"),
    "when": ("yesterday", "last week", "on Monday", "two weeks ago", "in March", "this morning"),
    "want": ("return", "exchange", "replace", "refund", "cancel"),
    "place": ("Berlin", "New York", "Madrid", "your London shop", "Oslo", "blue"),
    "state": ("broken", "too small", "dirty", "not what I ordered", "missing a part"),
}


def _generated(rows: list[Row], seed: int) -> Planted:
    """As many rows again that a program made from five sentences."""
    rng = random.Random(seed)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    made = set()
    while len(made) < len(rows):
        values = {name: rng.choice(some) for name, some in _FILLERS.items()} | {"number": rng.randrange(10, 99999)}
        made.add(rng.choice(_TEMPLATES).format(**values))
    for text in sorted(made):
        lines.append(json.dumps({"prompt": text, "completion": rng.choice(rows)["completion"]}, ensure_ascii=False))
    damaged = frozenset(range(len(rows) + 1, len(lines) + 1))
    return Planted(lines, damaged, frozenset({"template"}), {}, {})


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


DAMAGES = (
    Damage("exact copy", ALL, _exact_copies, 0.95),
    Damage("copy in other case", ALL, _near(_dress), 0.95),
    Damage("copy with slips", ALL, _near(_slips), 0.95),
    Damage("copy with courtesies", ALL, _near(_longer), 0.95),
    Damage("copy, a small word less", ALL, _near(_shorter), 0.95),
    Damage("copy, words moved", ALL, _near(_moved), 0.95),
    Damage("copy with another label", ("banking77",), _other_answers, 0.9),
    Damage("rows made from templates", ("banking77", "xquad"), _generated, None),
    Damage("copy, a word of many changed", ("banking77",), _near(_another_word), 0.95),
)
