"""Rows that mean what another row means, in other words."""

from __future__ import annotations

import copy
import json
import random
import re

from damages import Damage, Planted, Row
from damages.repeats import _another_thing

PLANTED = 60

# What a person writing from memory would put: frames first, then words.
_FRAMES = (
    (
        r"^how (?:do|can) i (.+?)\??$",
        ("what is the way to {0}?", "tell me how to {0}", "I need instructions on how to {0}"),
    ),
    (r"^can i (.+?)\??$", ("am I able to {0}?", "is it possible for me to {0}?", "would I be allowed to {0}?")),
    (
        r"^why (?:was|is) (my .+?) (declined|pending|charged|rejected|missing)\??$",
        ("for what reason did you leave {0} {1}?",),
    ),
    (r"^what is (.+?)\??$", ("could someone explain {0}?", "tell me about {0}")),
    (r"^(?:i want|i need|i would like|i'd like) to (.+?)\.?$", ("how about you help me {0}", "my wish is to {0}")),
    (r"^(?:what's|what is|what will) the (?:weather|forecast)(.+?)\??$", ("tell me if it will be sunny or rainy{0}",)),
    (r"^play (.+)$", ("put on {0}", "I want to listen to {0}", "start {0} for me")),
    (r"^book (.+)$", ("reserve {0}", "make a reservation for {0}", "get me {0}")),
    (r"^add (.+) to (.+)$", ("put {0} into {1}", "{1} should also have {0}", "include {0} in {1}")),
    (r"^(?:give|rate) (.+?)\.?$", ("my rating: {0}", "I would score it like so: {0}")),
    (r"^(?:find|search for|show me) (.+)$", ("look up {0}", "where is {0}", "get hold of {0}")),
)
_WORDS = {
    "card": ("bank card", "plastic"), "money": ("funds", "cash"), "account": ("profile",), "transfer": ("payment",),
    "purchase": ("thing I bought",), "lost": ("misplaced",), "stolen": ("taken by a thief",), "pin": ("secret code",),
    "change": ("alter", "modify"), "cancel": ("call off", "stop"), "wrong": ("incorrect",), "why": ("how come",),
    "received": ("got",), "receive": ("get",), "arrived": ("come",), "fee": ("charge",), "working": ("functioning",),
    "movie": ("film",), "restaurant": ("place to eat",), "song": ("track",), "music": ("tunes",), "book": ("novel",),
    "near": ("close to",), "need": ("require",), "want": ("would like",), "long": ("many days",), "top": ("load",),
    "currency": ("kind of money",), "rate": ("price",), "help": ("assist",), "verify": ("confirm",), "use": ("employ",),
}  # fmt: skip


def _reworded(text: str, rng: random.Random) -> str:
    """Another frame, and up to three words replaced; the text as it is where neither is possible."""
    for pattern, frames in _FRAMES:
        if found := re.match(pattern, text.strip(), re.IGNORECASE):
            text = rng.choice(frames).format(*found.groups())
            break
    replaced = 0
    words = text.split(" ")
    for at, word in enumerate(words):
        plain = word.lower().strip(".,?!")
        if plain in _WORDS and replaced < 3:
            words[at] = word.lower().replace(plain, rng.choice(_WORDS[plain]))
            replaced += 1
    return " ".join(words)


def _other_words(rows: list[Row], seed: int) -> Planted:
    rng = random.Random(seed)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    damaged: set[int] = set()
    apart = 0
    for at in rng.sample(range(len(rows)), len(rows)):
        text = rows[at]["prompt"]
        repeats = len(damaged) < 2 * PLANTED
        other = _reworded(text, rng) if repeats else _another_thing(text, rng)
        if other.lower() == text.lower() or (not repeats and apart >= PLANTED // 2):
            continue
        row = copy.deepcopy(rows[at])
        row["prompt"] = other
        lines.append(json.dumps(row, ensure_ascii=False))
        if repeats:
            damaged |= {at + 1, len(lines)}
        else:
            apart += 1
    return Planted(lines, frozenset(damaged), frozenset({"semantic-duplicate", "near-duplicate"}), {}, {})


DAMAGES = (Damage("in other words", ("snips", "banking77"), _other_words, None, deep=True),)
