"""What lies in a run's folder: its result, a checkpoint to go on from, or a run that is not this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.errors import Problem, StoreError, TrainingError
from luthier.store import clean_folder, hash_folder, read_json
from luthier.train._checkpoint import (
    BEFORE,
    CHECKPOINT_VERSION,
    FILES,
    FOLDER,
    HASHES,
    STATE,
    Checkpoint,
    RunState,
    hashes_of,
    save_checkpoint,
)
from luthier.train._files import read_tensors
from luthier.train._group import Group
from luthier.train._result import RESULT_FILE, CurvePoint, TrainResult, check_version
from luthier.train._setting import Setting

ROUNDING_ONLY = ("recipe.tokens_per_micro_batch",)  # inputs that may change while a run goes on


def finished_run(out: Path, inputs: Mapping[str, Any]) -> TrainResult | None:
    """The result that lies in `out`, if a run with these inputs is finished there.

    Raises:
        TrainingError: it is of other inputs, of a newer version, or its files are no longer what was trained.
    """
    if not (out / RESULT_FILE).is_file():
        return None
    result = TrainResult.from_dict(read_json(out / RESULT_FILE), out)
    refuse_other_inputs(out, result.inputs, inputs)
    if not result.folder.is_dir() or hash_folder(result.folder) != result.adapter_hash:
        raise TrainingError(
            f"{result.folder} is not what was trained",
            why=f"its files no longer have the hash that {RESULT_FILE} records",
            fix=f"remove the run (rm -r {out}) and run the same command again",
        )
    return result


def load_together(out: Path, inputs: Mapping[str, Any], group: Group) -> Checkpoint | None:
    """The checkpoint in `out`, for every process; the first one cleans up what a killed run left there."""
    found = load_checkpoint(out, inputs) if group.first else None
    group.wait()
    found = found if group.first else load_checkpoint(out, inputs)
    group.wait()
    return found


def load_checkpoint(out: Path, inputs: Mapping[str, Any]) -> Checkpoint | None:
    """The last checkpoint of a run, None where there is none. Call it as the folder's one writer.

    Where the last one is damaged, it is replaced by the one before, whose notes then say so.

    Raises:
        TrainingError: it belongs to another run, was written by a newer version, or all there are are damaged.
        DiskFullError, StoreError: a damaged one could not be replaced.
    """
    if not out.is_dir():
        return None
    clean_folder(out)
    damage: list[Problem] = []
    for folder in (out / FOLDER, out / BEFORE):
        if not folder.is_dir():  # not there yet; or killed just as the last one was renamed to the one before
            continue
        try:
            found = _read(folder, out, inputs)
        except _DamagedError as error:
            damage.append(error.problem)
            continue
        if damage:
            found = found.with_note(f"{damage[0]}; training went on from the checkpoint before it")
            save_checkpoint(out, found, before=None)
        return _under(found, inputs)
    if damage:
        folders = " ".join(str(Path(str(problem.file)).parent) for problem in damage)
        raise TrainingError(
            f"no checkpoint of the run in {out} can be used",
            why="they are not what luthier wrote: training on from them would give another result without saying so",
            fix=f"bring the files back from a copy, or begin this run anew (rm -r {folders}); then run the same "
            "command again",
            problems=damage,
        )
    return None


class _DamagedError(Exception):
    """A file of a checkpoint is missing, or not what was written."""

    def __init__(self, file: Path, what: str) -> None:
        self.problem = Problem(what, file)
        super().__init__(str(self.problem))


def _read(folder: Path, out: Path, inputs: Mapping[str, Any]) -> Checkpoint:
    try:
        saved = read_json(folder / STATE)
    except StoreError as error:
        raise _DamagedError(
            folder / STATE, "; ".join(p.what for p in error.problems) or "missing or unreadable"
        ) from error
    if not isinstance(saved, dict) or not isinstance(saved.get("version"), int):
        raise _DamagedError(folder / STATE, "does not hold the state of a run")
    check_version(saved, CHECKPOINT_VERSION, folder / STATE)
    if saved["version"] > 1 or (folder / HASHES).exists():
        _check_hashes(folder)
    refuse_other_inputs(out, saved["inputs"], inputs)
    state = saved["state"]
    curve, notes = tuple(CurvePoint(**point) for point in state.pop("curve")), tuple(state.pop("notes", ()))
    tensors = []
    for name in FILES[1:]:
        try:
            tensors.append(read_tensors(folder / name))
        except TrainingError as error:
            raise _DamagedError(folder / name, str(error.__cause__)) from error
    state = RunState(**state, curve=curve, notes=notes)
    return Checkpoint(saved["inputs"], Setting(**saved["setting"]), state, *tensors)


def _under(found: Checkpoint, inputs: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint under what is asked for now, which differs from what was by rounding at most."""
    for name in ROUNDING_ONLY:
        old, new = found.inputs.get(name), inputs.get(name)
        if old != new:
            found = found.with_note(f"{name} is {new} instead of {old}; the result is the same within rounding")
    return replace(found, inputs=inputs)


def _check_hashes(folder: Path) -> None:
    for name in FILES:
        if not (folder / name).is_file():
            raise _DamagedError(folder / name, "missing")
    try:
        recorded, found = (folder / HASHES).read_text("utf-8"), hashes_of(folder)
    except (OSError, UnicodeDecodeError) as error:
        raise _DamagedError(folder / HASHES, f"cannot be read: {error}") from error
    except StoreError as error:
        raise _DamagedError(folder, error.what) from error
    if found != recorded:
        wrong = [line[66:] for line in found.splitlines() if line not in recorded.splitlines()]
        raise _DamagedError(folder / (wrong or [HASHES])[0], f"damaged: its SHA-256 is not the one in {HASHES}")


def refuse_other_inputs(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A run goes on only with what it began with: other rows or another base would give a mixture of two runs.

    Raises:
        TrainingError: names what changed.
    """
    names = sorted({*before, *now} - {*ROUNDING_ONLY})
    changed = [_change(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)]
    if changed:
        raise TrainingError(
            f"{out} holds a run that began with other inputs: {', '.join(changed)} changed",
            why="going on would mix two runs into one adapter",
            fix="set back what changed to go on with that run, train into another folder, or remove what is there "
            f"(rm -r {out}); then run the same command again",
        )


def _change(name: str, before: Any, now: Any) -> str:
    """The name, with both values where a user knows them: base and rows are recorded as hashes."""
    return f"{name} ({before} before, {now} now)" if name == "engine" or name.startswith("recipe.") else name
