"""Labelled rows from real data: does the wanted answer state a fact that neither prompt nor documents give?

Minimal pairs give labels for free: the same question and answer with the paragraph that holds it (behaviour) and
without (knowledge). The sets are those of ../shared/data; the same seed gives the same rows.

    set                 rows of it                                                            label
    xquad closed        a question; the answer stands in a paragraph that is not shown        fact
    xquad open          the same, below that paragraph                                        not
    snips               utterance to JSON with its slots                                      not
    polite rewriting    an impolite answer and the request to rewrite it politely             not
    arc open            a school question without its choices, answered by the right one      fact
    wikitext opening    the title of an article, answered by its first sentence               fact
    wikitext sentences  the title of an article and half a sentence of it; the other half         fact
    banking77           a customer's question to one of 77 labels                             not
    gsm8k               a word problem, answered with the whole calculation (a skill)         not
    truthfulqa          a question people get wrong, answered (less those about the speaker)  fact
    mmlu open           an examination question of 21 subjects of facts, without its choices  fact
    winogrande          a sentence with a gap, and which of two names in it fills the gap     not
    question writing    a paragraph and a phrase of it, answered by a question about it       not
    continuations       what is seen in a video, continued                                    not
    last words          a passage of a novel, and the word that comes next                    not
    requests            single requests of an instruction set, labelled by hand (see below)   both

A fact counts as one whether the base knows it or not: what a base knows differs from base to base. Reported apart are
tldr (commands: a skill made of facts) and arc with the choices in the prompt (the answer stands there, but which of
them it is does not), because the definition does not decide them; and the continuations without the request to go on,
where nothing but the meaning tells that no fact is stated.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.data import Example, Message

SHARED = Path(__file__).parents[2] / "shared" / "data"
# Rows of the first sets were looked at, and weights and thresholds set, while the detector was written; none of the
# second, but that their pieces were listed once. What is claimed is claimed of the second.
TUNED = ("xquad closed", "xquad open", "snips", "polite rewriting", "arc open", "gsm8k", "truthfulqa")
TUNED += ("question writing", "requests")
HELD_OUT = ("banking77", "wikitext opening", "wikitext sentences", "mmlu open", "winogrande", "continuations")
HELD_OUT += ("last words",)
APART = ("tldr", "arc with choices", "unasked continuations")
MOST_ROWS = 100
LEAST_OTHERS = 6
OTHERS = 300  # rows of a set beside the labelled ones: what a detector may learn about the task

_FACTUAL = """miscellaneous high_school_psychology prehistory nutrition high_school_biology professional_medicine
    clinical_knowledge conceptual_physics high_school_geography college_medicine virology astronomy college_biology
    anatomy world_religions human_aging medical_genetics high_school_government_and_politics computer_security sociology
    us_foreign_policy global_facts""".split()
_ASKS_FOR_CHOICES = re.compile(r"which of|following|_{2,}|all of the above|none of the above|both [AB]|except", re.I)
_REWRITE = "Say this politely, without changing what it says:\n\n"

# Lines of polite_pairs drawn with seed 41 and read by eye: those that state a fact, and those that do not (edits,
# calculations, free inventions). Left out: the words of a language (synonyms, tenses, translations, rhymes), and what
# orders or classifies things that are given, where the definition can be read either way.
_FACTS = (780, 789, 566, 785, 19, 510, 653, 527, 256, 202, 461, 218, 191, 471, 938, 949, 361, 284, 846, 174, 203, 451)
_FACTS += (840, 509, 772, 667, 960)
_NO_FACTS = (
    680,
    472,
    580,
    899,
    317,
    306,
    121,
    245,
    67,
    885,
    577,
    442,
    148,
    737,
    294,
    364,
    109,
    650,
    372,
    617,
    818,
    298,
)
_NO_FACTS += (
    833,
    44,
    175,
    276,
    159,
    822,
    871,
    572,
    659,
    81,
    223,
    261,
    495,
    941,
    921,
    169,
    565,
    567,
    603,
    903,
    336,
    369,
)
_NO_FACTS += (493, 1009, 673, 249, 786, 1019)


@dataclass(frozen=True)
class Row:
    """An example of a set with its label."""

    set: str
    example: Example
    fact: bool


@dataclass(frozen=True)
class LabelledSet:
    """The labelled rows of a set, and further rows of the same kind without labels."""

    name: str
    rows: list[Row]
    others: list[Example]


def labelled(name: str, rows: int, seed: int) -> LabelledSet:
    """`rows` labelled rows of a set, 100 at most and fewer where it is small: some must be left for demonstrations."""
    pairs = list(SETS[name]())
    random.Random(f"{name} {seed}").shuffle(pairs)
    known = [(example, fact) for example, fact in pairs if fact is not None]
    most = min(rows, MOST_ROWS, len(known) if len(pairs) > len(known) else len(known) - LEAST_OTHERS)
    rest = [example for example, fact in pairs if fact is None] + [
        example for example, _ in known[max(most, MOST_ROWS) :]
    ]
    if len(rest) < LEAST_OTHERS:
        rest = [example for example, _ in known[most:]]
    return LabelledSet(name, [Row(name, example, fact) for example, fact in known[:most]], rest[:OTHERS])


def example(prompt: str, output: str) -> Example:
    """A single turn."""
    return Example((Message("user", prompt),), output)


def lines(*path: str) -> list[dict]:
    """Rows of a JSONL file."""
    text = SHARED.joinpath(*path).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


Pairs = Iterator[tuple[Example, bool | None]]


def _xquad_closed() -> Pairs:
    for row in lines("xquad", "questions.jsonl"):
        yield example(row["prompt"], row["completion"]), True


def _xquad_open() -> Pairs:
    for row in lines("xquad", "questions.jsonl"):
        paragraph = (SHARED / "xquad" / "documents" / row["document"]).read_text(encoding="utf-8").strip()
        if len(paragraph) <= 1000:
            yield example(f"{paragraph}\n\n{row['prompt']}", row["completion"]), False


def _snips() -> Pairs:
    for row in lines("snips", "train.jsonl"):
        yield example(row["prompt"], row["completion"]), False


def _polite_rewriting() -> Pairs:
    for row in lines("polite_pairs", "pairs.jsonl"):
        yield example(_REWRITE + row["rejected"], row["chosen"]), False


def _requests() -> Pairs:
    for number, row in enumerate(lines("polite_pairs", "pairs.jsonl")):
        fact = True if number in _FACTS else False if number in _NO_FACTS else None
        yield example(row["prompt"], row["chosen"]), fact


def _banking() -> Pairs:
    for row in lines("banking77", "train.jsonl")[:2000]:
        yield example(row["prompt"], row["completion"]), False


def _gsm8k() -> Pairs:
    for row in lines("general", "gsm8k_test.jsonl"):
        yield example(row["question"], re.sub(r"<<.*?>>", "", row["answer"])), False


def _arc_open() -> Pairs:
    for row in lines("general", "arc_easy.jsonl") + lines("general", "arc_challenge.jsonl"):
        if not _ASKS_FOR_CHOICES.search(row["question"]):
            yield example(row["question"], _right(row)), True


def _arc_with_choices() -> Pairs:
    for row in lines("general", "arc_easy.jsonl"):
        yield (
            example(f"{row['question']}\n" + "\n".join(f"- {text}" for text in row["choices"]["text"]), _right(row)),
            True,
        )


def _right(row: dict) -> str:
    return row["choices"]["text"][row["choices"]["label"].index(row["answerKey"])]


def _mmlu_open() -> Pairs:
    for row in lines("general", "mmlu.jsonl"):
        answer = row["choices"][row["answer"]]
        asked = row["subject"] in _FACTUAL and len(row["question"]) <= 400
        if asked and not _ASKS_FOR_CHOICES.search(row["question"] + " " + answer):
            yield example(row["question"], answer), True


def _truthfulqa() -> Pairs:
    with (SHARED / "general" / "truthfulqa.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            about_itself = row["Category"].startswith(("Indexical Error", "Subjective"))
            if not about_itself and not row["Best Answer"].startswith("I have no comment"):
                yield example(row["Question"], row["Best Answer"]), True


def _winogrande() -> Pairs:
    for row in lines("general", "winogrande.jsonl"):
        yield example(f"{row['sentence']}\nWhat fills the gap?", row[f"option{row['answer']}"]), False


def _wikitext_opening() -> Pairs:
    text = (SHARED / "general" / "wikitext2_valid.txt").read_text(encoding="utf-8")
    for title, opening in re.findall(r"^ = ([^=\n]+) = \n \n ([^\n]+?[^.\n]{8}) \. ", text, re.M):
        if "<unk>" not in title + opening[:300] and len(opening) <= 400:
            yield example(f"Write the first sentence of an encyclopedia article: {title}", _plain(opening) + "."), True


def _wikitext_sentences() -> Pairs:
    text = (SHARED / "general" / "wikitext2_valid.txt").read_text(encoding="utf-8")
    title = ""
    for line in text.split("\n"):
        if heading := re.fullmatch(r" = ([^=]+) = ", line):
            title = heading.group(1).strip()
        sentence = next((s for s in line.strip().split(" . ")[1:] if "<unk>" not in s), "")
        words = _plain(sentence).split()
        if title and 12 <= len(words) <= 30 and not line.startswith(" ="):
            half = len(words) // 2
            yield example(f"Article: {title}\n\n{' '.join(words[:half])} ...", " ".join(words[half:]) + "."), True


def _plain(text: str) -> str:
    """WikiText puts spaces around marks."""
    text = re.sub(r" @(.)@ ", r"\1", text)
    text = re.sub(r" ([,.;:)\]'%])", r"\1", re.sub(r"([(\[]) ", r"\1", text))
    return re.sub(r'" ([^"]*) "', r'"\1"', text)


def _question_writing() -> Pairs:
    for row in lines("xquad", "questions.jsonl"):
        paragraph = (SHARED / "xquad" / "documents" / row["document"]).read_text(encoding="utf-8").strip()
        if len(paragraph) <= 1000:
            yield (
                example(
                    f"{paragraph}\n\nA question about this text whose answer is: {row['completion']}", row["prompt"]
                ),
                False,
            )


def _continuations() -> Pairs:
    for row in lines("general", "hellaswag.jsonl"):
        topic, _, text = row["query"].partition(": ")
        if "How to" not in text[:40] and len(topic) < 40:
            yield example(f"Continue the description.\n{text}", row["choices"][row["gold"]]), False


def _unasked_continuations() -> Pairs:
    for continuation, fact in _continuations():
        yield example(continuation.input_text.partition("\n")[2], continuation.output), fact


def _last_words() -> Pairs:
    for row in lines("general", "lambada.jsonl"):
        yield example(f"{row['context']}\n\nWhich word comes next?", row["continuation"]), False


def _tldr() -> Pairs:
    for row in lines("tldr", "examples.jsonl"):
        yield example(row["prompt"], row["completion"]), True


SETS: dict[str, Callable[[], Pairs]] = {
    "xquad closed": _xquad_closed,
    "xquad open": _xquad_open,
    "snips": _snips,
    "polite rewriting": _polite_rewriting,
    "arc open": _arc_open,
    "wikitext opening": _wikitext_opening,
    "wikitext sentences": _wikitext_sentences,
    "banking77": _banking,
    "gsm8k": _gsm8k,
    "truthfulqa": _truthfulqa,
    "mmlu open": _mmlu_open,
    "winogrande": _winogrande,
    "requests": _requests,
    "question writing": _question_writing,
    "continuations": _continuations,
    "unasked continuations": _unasked_continuations,
    "last words": _last_words,
    "tldr": _tldr,
    "arc with choices": _arc_with_choices,
}
