"""New instructions: written by a model from failures, or told by typical inputs of each label."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from luthier.data import Example, Message
from luthier.decide._bench import Bench
from luthier.evaluate import ask_all
from luthier.models import Request

FAILURES = 4  # shown with each proposal
SHOWN = 600  # characters of an input or an answer
ANSWER_TOKENS = 512
GEPA_TOKENS = 1024  # it asks for all that can be learnt from the cases, which takes room
LABELS = 30  # at most, that are told by an input each
LABEL_ROWS = 20  # of a label, among which its typical one is looked for
LABEL_CHARS = 100

_FENCE = re.compile(r"\A```[a-z]*\n(.*?)\n?```\Z", re.DOTALL)


def propose(
    bench: Bench, instructions: str, failures: Sequence[tuple[Example, str]], count: int, turn: int
) -> list[str]:
    """Up to `count` new instructions, each written with other failures in sight; those that are cut off are left out.

    Args:
        bench: whose base or optimiser writes.
        instructions: the present ones.
        failures: cases with the answers that were given.
        count: how many are asked for.
        turn: of the search; another turn shows other failures.

    Raises:
        ModelError: the model failed.
        BudgetError: it may not be asked any more.
    """
    questions = []
    for number in range(count):
        rng = random.Random(f"propose {bench.split.seed} {turn} {number}")
        some = rng.sample(list(failures), min(FAILURES, len(failures)))
        questions.append(_question(bench.task.goal, instructions, some))
    return [text for text in map(cleaned, write(bench, questions, ANSWER_TOKENS)) if text]


def write(bench: Bench, questions: Sequence[str], max_tokens: int) -> list[str]:
    """What the task's `decide.optimiser`, or else the base, writes to each question; empty where it was cut off.

    Answers are kept, so they are paid once.

    Raises:
        ModelError: the model failed.
        BudgetError: it may not be asked any more.
    """
    writer = bench.base if bench.optimiser is None else bench.optimiser
    requests = [Request((Message("user", question),), max_tokens) for question in questions]
    answers = ask_all(writer, requests, bench.store)
    return [answer.text if answer.finish == "stop" else "" for answer in answers]  # a weak model repeats itself


def by_label(bench: Bench, instructions: str) -> str:
    """The instructions with a typical training input of each label; empty where outputs are no labels, or too many.

    Typical is the input whose embedding is nearest to the others of its label (the medoid).
    """
    constraint = bench.scorer.constraint()
    labels = () if constraint is None or constraint.choices is None else constraint.choices
    rows: dict[str, list[str]] = defaultdict(list)
    for example in sorted(bench.split.train, key=lambda e: e.id):
        rows[example.output.strip()].append(example.input_text)
    known = [label for label in labels if rows[label]]
    if not known or len(labels) > LABELS:
        return ""
    lines = [f"- {label}: {cut(_typical(bench, rows[label][:LABEL_ROWS]), LABEL_CHARS)}" for label in known]
    return f"{instructions}\n\nA typical input of each label:\n" + "\n".join(lines)


def _typical(bench: Bench, texts: Sequence[str]) -> str:
    vectors = bench.embedder.embed(texts).astype(np.float64)
    return texts[int(np.round(vectors @ vectors.sum(axis=0), 6).argmax())]


def _question(goal: str, instructions: str, failures: Sequence[tuple[Example, str]]) -> str:
    shown = "\n\n".join(
        f"Input: {cut(case.input_text, SHOWN)}\nWanted: {cut(case.output, SHOWN)}\nAnswered: {cut(answer, SHOWN)}"
        for case, answer in failures
    )
    return (
        "You improve the instructions of a language model.\n\n"
        f"Its task: {goal}\n\nIts present instructions:\n{instructions}\n\n"
        f"With them it answered these inputs wrongly:\n\n{shown}\n\n"
        "Find out what these answers have in common with each other and not with the wanted ones. Write instructions "
        "that keep what is right in the present ones and add the general rules and the form of the answer that are "
        "missing. Do not repeat the inputs. Write the new instructions and nothing else."
    )


def cut(text: str, length: int) -> str:
    """A text in one line, and no longer than that."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length]}…"


def cleaned(text: str) -> str:
    """The instructions in an answer, out of the fence or the quotation marks that some models put around them."""
    plain = text.strip()
    fenced = _FENCE.match(plain)
    plain = fenced.group(1).strip() if fenced else plain
    return plain[1:-1].strip() if len(plain) > 1 and plain[0] == plain[-1] == '"' else plain
