"""The instructions that the prompt rung tries: the user's own, and the same with the format said."""

from __future__ import annotations

import json
from collections.abc import Sequence

from luthier.data import Example
from luthier.evaluate import Scorer
from luthier.spec import Task


def wordings(task: Task, scorer: Scorer, train: Sequence[Example]) -> dict[str, str]:
    """Instruction texts by name, the user's own first. Texts that would be the same are given once."""
    own = task.instructions.strip() or task.goal
    hint = format_hint(task, scorer, train)
    tried = {"as given": own}
    if hint:
        tried["with the format"] = f"{own}\n\n{hint}"
        tried["goal with the format"] = f"{task.goal}\n\n{hint}"
    return {name: text for i, (name, text) in enumerate(tried.items()) if text not in list(tried.values())[:i]}


def format_hint(task: Task, scorer: Scorer, train: Sequence[Example]) -> str:
    """One or two sentences that say what an answer looks like, taken from the scorer and the training outputs only."""
    constraint = scorer.constraint()
    if constraint is not None and constraint.choices is not None:
        return "Answer with exactly one of these labels and nothing else:\n" + "\n".join(constraint.choices)
    if task.score.kind == "json":
        if constraint is not None and constraint.json_schema is not None:
            keys = json.loads(constraint.json_schema).get("properties", {})
            named = f" with the keys {', '.join(keys)}" if keys else ""
            return f"Answer with one JSON object{named} and nothing else. For example: {_typical(train)}"
        return f"Answer with one JSON object and nothing else. For example: {_typical(train)}"
    if task.score.kind in ("exact", "answer", "number", "contains", "regex"):
        return f"Answer as briefly as possible, with the answer only. For example: {_typical(train)}"
    return ""


def _typical(train: Sequence[Example]) -> str:
    """A training output of median length: an illustration of the form."""
    ordered = sorted({e.output for e in train}, key=lambda text: (len(text), text))
    return ordered[len(ordered) // 2]
