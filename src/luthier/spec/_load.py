"""From `luthier.yaml` to a checked `Task`: all mistakes at once, each with its line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from luthier.errors import PathError, Problem, SpecError
from luthier.spec._explain import boolean_keys, dotted, explain
from luthier.spec._suggest import did_you_mean
from luthier.spec._task import Task
from luthier.spec._yaml import Parsed, Place, parse_yaml

FILE_NAME = "luthier.yaml"

_Kind = Literal["file", "folder", "either"]
_PATHS: dict[str, _Kind] = {
    "examples": "either",
    "test_examples": "either",
    "documents": "folder",
    "traffic": "either",
    "prices": "file",
}


def load_task(path: Path, *, allow_outside: bool = False) -> Task:
    """Read and check `luthier.yaml`, given as the file or as its folder.

    Paths become absolute, with links resolved. They must exist and lie inside the folder (also what a link in a folder
    points to) unless `allow_outside`; only `base`, which is a model and often shared, may lie anywhere. `instructions`
    that are one line ending in .md or .txt are replaced by that file's text.

    Raises:
        SpecError: anything is wrong; `problems` holds every mistake with its line.
        PathError: only paths are wrong.
    """
    file = _find(path)
    folder = file.parent.resolve()
    parsed = parse_yaml(file)
    _refuse_booleans(parsed.value, (), parsed)
    before = len(parsed.problems)
    _resolve_paths(parsed, folder, allow_outside)
    only_paths = before == 0
    task = None
    try:
        task = Task.model_validate(parsed.value, by_alias=True, by_name=False)
    except ValidationError as error:
        known = len(parsed.problems)
        explain(error, parsed)
        only_paths = only_paths and known == len(parsed.problems)
    if task is None or parsed.problems:
        raise _error(file, [problem for _, problem in parsed.problems], only_paths)
    task._folder = folder
    return task


def task_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `luthier.yaml`, for editors."""
    schema = Task.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": FILE_NAME}


def _find(path: Path) -> Path:
    try:
        if path.is_file():
            return path
        file = path / FILE_NAME
        if file.is_file():
            return file
        names = _names(path)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", fix="check the path and its permissions") from error
    if path.is_dir():
        raise SpecError(
            f"there is no {FILE_NAME} in {path.resolve()}{did_you_mean(FILE_NAME, names)}", fix="luthier init"
        )
    raise SpecError(f"{path} does not exist", fix="name luthier.yaml or its folder, or start a task with: luthier init")


def _error(file: Path, problems: list[Problem], only_paths: bool) -> SpecError | PathError:
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    problems = sorted(problems, key=lambda p: p.line or 0)
    if only_paths:
        fix = "correct the paths; they count from the folder of luthier.yaml, and what lies elsewhere is copied into it"
        return PathError(f"{count} in the paths of {file}", fix=fix, problems=problems)
    return SpecError(f"{count} in {file}", fix="correct the lines named above", problems=problems)


def _refuse_booleans(value: Any, place: Place, parsed: Parsed) -> None:
    """YAML reads a bare yes, no, on, off as true or false: `labels: [yes, no]` would be two booleans."""
    if isinstance(value, dict):
        for key, child in value.items():
            _refuse_booleans(child, (*place, key), parsed)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _refuse_booleans(child, (*place, index), parsed)
    elif isinstance(value, bool) and place[-1] not in boolean_keys():
        word = "true (or yes, on)" if value else "false (or no, off)"
        parsed.problem(
            place, f"{dotted(place)}: YAML reads this as {word}, not as text or a number; put text in quotes"
        )


def _resolve_paths(parsed: Parsed, folder: Path, allow_outside: bool) -> None:
    """Replace every path in the raw value by its absolute form, noting those that cannot be used."""
    for holder, key, place, kind in list(_raw_paths(parsed.value)):
        resolved = _resolve(holder[key], place, kind, parsed, folder, allow_outside)
        if resolved is not None:
            holder[key] = str(resolved)
    _resolve_text(parsed.value, ("instructions",), parsed, folder, allow_outside)
    _resolve_model(parsed.value, ("base",), parsed, folder)
    others, decide = parsed.value.get("other_bases"), parsed.value.get("decide")
    for index in range(len(others)) if isinstance(others, list) else ():
        _resolve_model(others, ("other_bases", index), parsed, folder)
    if isinstance(decide, dict):
        _resolve_model(decide, ("decide", "optimiser"), parsed, folder)
    score = parsed.value.get("score")
    if isinstance(score, dict) and score.get("kind") == "judge":
        _resolve_text(score, ("score", "rubric"), parsed, folder, allow_outside)
        _resolve_model(score, ("score", "model"), parsed, folder)
        _resolve_table(score, parsed, folder, allow_outside)


def _raw_paths(value: dict[str, Any]) -> Iterator[tuple[Any, str | int, Place, _Kind]]:
    """(container, key in it, place in the file, kind) of every path that is written as text."""
    for key, kind in _PATHS.items():
        if isinstance(value.get(key), str):
            yield value, key, (key,), kind
    score = value.get("score")
    wanted = {"json": "schema", "python": "file"}
    if isinstance(score, dict) and isinstance(score.get("kind"), str):
        key = wanted.get(score["kind"], "")
        if isinstance(score.get(key), str):
            yield score, key, ("score", key), "file"
    general = value.get("general")
    if isinstance(general, list):
        for index, item in enumerate(general):
            if isinstance(item, str):
                yield general, index, ("general", index), "file"


def _resolve(text: str, place: Place, kind: _Kind, parsed: Parsed, folder: Path, allow_outside: bool) -> Path | None:
    name = dotted(place)
    if not text.strip() or "\0" in text:
        parsed.problem(place, f"{name} names no file")
        return None
    try:
        path = (folder / text).resolve()
        if not allow_outside and not path.is_relative_to(folder):
            parsed.problem(place, f"{name}: {text} leaves the task's folder (it is {path}); copy it into {folder}")
            return None
        if why := _unusable(path, kind):
            near = did_you_mean(path.name, _names(path.parent)) if why == "does not exist" else ""
            parsed.problem(place, f"{name}: {text} {why}{near}")
            return None
        if not allow_outside and path.is_dir() and (link := _link_outside(path, folder)):
            parsed.problem(place, f"{name}: {link} is a link that leaves the task's folder; copy the file instead")
            return None
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        parsed.problem(place, f"{name}: {text[:60]} cannot be read ({error})")
        return None
    return path


def _unusable(path: Path, kind: _Kind) -> str:
    if not path.exists():
        return "does not exist"
    if kind == "file" and not path.is_file():
        return "is no file"
    if kind == "folder" and not path.is_dir():
        return "is no folder"
    return "" if os.access(path, os.R_OK) else "may not be read (permissions)"


def _names(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir()] if folder.is_dir() else []


def _link_outside(path: Path, folder: Path) -> Path | None:
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            inner = Path(parent, name)
            if inner.is_symlink() and not inner.resolve().is_relative_to(folder):
                return inner
    return None


def _resolve_text(holder: dict[str, Any], place: Place, parsed: Parsed, folder: Path, allow_outside: bool) -> None:
    """A text of one line ending in .md or .txt names a file, whose text takes its place."""
    text = holder.get(str(place[-1]))
    if not isinstance(text, str) or "\n" in text.strip() or not text.strip().endswith((".md", ".txt")):
        return
    path = _resolve(text.strip(), place, "file", parsed, folder, allow_outside)
    if path is None:
        return
    try:
        holder[str(place[-1])] = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        parsed.problem(place, f"{dotted(place)}: {text.strip()} is not UTF-8; save it as UTF-8")
    except OSError as error:
        parsed.problem(place, f"{dotted(place)}: {text.strip()} cannot be read: {error.strerror}")


def _resolve_model(holder: dict[str, Any] | list[Any], place: Place, parsed: Parsed, folder: Path) -> None:
    """A model that begins with `.` or `/`, or that lies in the folder, is a path; everything else is a name."""
    within: Any = holder
    key: Any = place[-1]
    name = dotted(place)
    text = within[key] if isinstance(within, list) else within.get(key)
    if not isinstance(text, str) or not text.strip() or "\0" in text or "://" in text:
        return
    try:
        path = (folder / text).resolve()
        if path.exists() and path != folder:
            within[key] = str(path)
        elif text.startswith((".", "/")):
            near = did_you_mean(path.name, _names(path.parent))
            parsed.problem(place, f"{name}: {text} does not exist{near}")
    except (OSError, RuntimeError) as error:
        parsed.problem(place, f"{name}: {text[:60]} cannot be read ({error})")


def _resolve_table(score: dict[str, Any], parsed: Parsed, folder: Path, allow_outside: bool) -> None:
    """The table of labels: it may be missing, for `luthier judge --sample` writes it; else as any other path."""
    text, place = score.get("calibration"), ("score", "calibration")
    if not isinstance(text, str):
        return
    try:
        path = (folder / text).resolve() if text.strip() and "\0" not in text else folder
        missing = not path.exists() and path.parent.is_dir() and (allow_outside or path.is_relative_to(folder))
    except (OSError, RuntimeError):
        missing = False
    found = path if missing else _resolve(text, place, "file", parsed, folder, allow_outside)
    if found is not None:
        score["calibration"] = str(found)
