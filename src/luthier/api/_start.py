"""Starting a task: from a data file of the user's, or from the example that ships."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

from luthier.data import read_examples, scan_examples
from luthier.errors import PathError
from luthier.store import write_text_atomic

EXAMPLE = "triage"


def init_example(folder: Path) -> list[Path]:
    """Write the shipped example task into a folder; gives the files written.

    Raises:
        PathError: one of the files is there already; nothing is written then.
    """
    with resources.as_file(resources.files("luthier.api") / "examples" / EXAMPLE) as source:
        names = sorted(p.relative_to(source) for p in source.rglob("*") if p.is_file())
        _refuse_existing([folder / name for name in names])
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
    return [folder / name for name in names]


def init_task(folder: Path, examples: Path, base: str) -> list[Path]:
    """Write a `luthier.yaml` for a data file, with score and goal as its outputs suggest; gives the files written.

    Rows that cannot be used do not stand in the way where others can: `check` names them, `check --fix` leaves them
    out. Data that lie outside the folder are copied into it: a task's files are moved and locked as one.

    Raises:
        DataError: the examples cannot be read, or no row can be used.
        PathError: there is a `luthier.yaml`, or a file of that name, already.
    """
    reading = scan_examples(examples, keep_rest=True)
    kinds = {str(rest["assert"]) for rest in reading.rest if "assert" in rest}
    if not reading.examples:
        read_examples(examples)  # says why none can be used
    inside = examples.resolve().is_relative_to(folder.resolve())
    target = examples.resolve() if inside else folder.resolve() / examples.name
    _refuse_existing([folder / "luthier.yaml", *([] if inside else [target])])
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "luthier.yaml"]
    if not inside:
        copy = shutil.copytree if examples.is_dir() else shutil.copyfile
        copy(examples, target)
        written.append(folder / examples.name)
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in folder.resolve().name).strip("-._") or "task"
    named = target.relative_to(folder.resolve())
    outputs = [row.output for row in reading.examples]
    score: str = "contains" if kinds == {"contains"} else _suggest_score(outputs)
    text = _TEMPLATE.format(name=name, goal=_GOALS[score], examples=named, score=score, base=base)
    write_text_atomic(folder / "luthier.yaml", text)
    return written


_TEMPLATE = """\
task: {name}
goal: {goal}   # say it in your words: it is the first prompt
examples: {examples}
score: {{kind: {score}}}
bar: 0.90                # mean score that is good enough
base: {base}
# documents: docs/       # knowledge that answers may need
# instructions: prompt.md
# volume: 100000         # requests a month
"""


# What can be said of a task from the form of its outputs alone; a user knows better, and is told to say it.
_GOALS = {
    "contains": "Answer the question.",
    "json": "Turn the input into one JSON object.",
    "label": "Give the label that fits the input.",
    "answer": "Answer as briefly as possible.",
    "chrf": "Write the answer to the input.",
}


def _suggest_score(outputs: list[str]) -> str:
    """The scorer that fits how the wanted outputs look; the user sees it in the file and can change it."""

    def is_object(text: str) -> bool:
        try:
            return isinstance(json.loads(text), dict)
        except ValueError:
            return False

    if all(is_object(text) for text in outputs):
        return "json"
    if len(set(outputs)) <= max(2, len(outputs) // 5) and max(map(len, outputs)) <= 80:
        return "label"
    words = sorted(len(text.split()) for text in outputs)
    return "answer" if words[len(words) // 2] <= 6 else "chrf"


def _refuse_existing(paths: list[Path]) -> None:
    there = [path for path in paths if path.exists()]
    if there:
        raise PathError(
            f"{there[0]} is there already",
            why="nothing of yours is overwritten",
            fix="take another folder: luthier init FOLDER --examples FILE",
        )
