"""Releases of a task: made whole or not at all, numbered, and one of them the champion."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.data import Example, Message, content_hash, messages_from
from luthier.decide import System, read_setup
from luthier.errors import Problem, ReleaseError
from luthier.evaluate import Record
from luthier.release._card import render_card
from luthier.release._croissant import describe_data
from luthier.release._lock import Provenance, check_format, data_files, make_lock, verify
from luthier.release._parity import PARITY_CASES
from luthier.store import ReleaseRow, hash_folder, new_folder, read_json, write_json, write_text_atomic

if TYPE_CHECKING:
    from luthier.store import Store

CHAMPION = "champion"


@dataclass(frozen=True)
class StoredCase:
    """A test case as it lies in a release: what was asked, and what the released system answered."""

    id: str
    messages: tuple[Message, ...]
    answer: str


@dataclass(frozen=True)
class Release:
    """A system that passed its gate, with its lock. `folder` holds all its files; `champion` is the one in service."""

    task: str
    version: int
    created: dt.datetime
    folder: Path
    lock: Mapping[str, Any]
    champion: bool

    @property
    def name(self) -> str:
        """How clients and people name it."""
        return f"{self.task}@{self.version}"

    @property
    def review_by(self) -> dt.date:
        """The day by which it must be measured again."""
        return dt.date.fromisoformat(self.lock["review_by"])

    def document(self, name: str) -> dict[str, Any] | None:
        """`evidence`, `verdict`, `gate` or `capability` as it was saved; None where the release has none.

        Raises:
            StoreError: the file cannot be read.
        """
        path = self.folder / f"{name}.json"
        return dict(read_json(path)) if path.is_file() else None

    def cases(self) -> list[StoredCase]:
        """Test cases with the measured answers: what an export or a new place is checked with."""
        lines = (self.folder / "cases.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [StoredCase(row["id"], messages_from(row["messages"]), row["answer"]) for row in rows]


def publish(
    store: Store, system: System, made_from: Provenance, cases: Sequence[Example], records: Sequence[Record]
) -> Release:
    """Make a release of a gated system. The folder appears whole, the store's row last; interrupted, there is neither.

    Args:
        store: of the task's folder.
        system: what is released.
        made_from: everything that made it; its gate must have passed, and for this system.
        cases: test cases; some are kept in the release with the measured answers.
        records: the measurement.

    Raises:
        GateError: the gate did not pass.
        ReleaseError: the gate looked at another system, or the saved system is not the measured one.
        DiskFullError, StoreError: it cannot be written.
    """
    made_from.gate.demand()
    if made_from.gate.system != system.identity:
        raise ReleaseError(
            "the gate looked at another system than the one to release",
            why=f"gated {made_from.gate.system[:12]}, to release {system.identity[:12]}",
            fix="luthier validate",
        )
    task = made_from.task.task
    with store.lock(f"release {task}"):
        version = max((row.version for row in store.releases(task)), default=0) + 1
        final = store.artefact_path("releases", f"{task}-{version}")
        with new_folder(final) as folder:
            _write_parts(folder, system, made_from, cases, records)
            now = dt.datetime.now(dt.UTC)
            write_json(folder / "croissant.json", describe_data(made_from, data_files(made_from.task), now))
            lock = make_lock(folder, system, made_from, version=version, now=now)
            write_json(folder / "lock.json", lock)
            write_text_atomic(folder / "README.md", render_card(lock, _documents(made_from)))
        recorded = store.add_release(task, final.relative_to(store.folder).as_posix(), lock)
        if recorded != version:
            raise ReleaseError(
                f"the release was recorded as {recorded}, but its folder is {final.name}",
                why="another process released at the same moment, against the folder's lock",
                fix="luthier release verify, then release again",
            )
    return find_release(store, task, version)


def releases(store: Store, task: str) -> list[Release]:
    """All releases of a task, oldest first."""
    champion_version = store.alias(task, CHAMPION)
    return [_release(store, task, row, champion_version) for row in store.releases(task)]


def find_release(store: Store, task: str, version: int) -> Release:
    """One release.

    Raises:
        ReleaseError: there is no such version, or a newer luthier made it.
    """
    row = store.release(task, version)
    check_format(row.lock)
    return _release(store, task, row, store.alias(task, CHAMPION))


def champion(store: Store, task: str) -> Release | None:
    """The release in service, None if there is none."""
    version = store.alias(task, CHAMPION)
    return None if version is None else find_release(store, task, version)


def promote(store: Store, task: str, version: int) -> Release:
    """Make a release the champion, after a look at its files.

    Raises:
        ReleaseError: there is no such version, or its files are not what they were.
    """
    release = find_release(store, task, version)
    _demand_intact(release)
    if not release.champion:
        store.set_alias(task, CHAMPION, version)
    return find_release(store, task, version)


def roll_back(store: Store, task: str) -> Release:
    """Make the champion before this one champion again; a second time goes one further back.

    Raises:
        ReleaseError: there was none before, or its files are not what they were.
    """
    history = store.alias_history(task, CHAMPION)
    line = _line_of_champions(store, task, [version for _, version in history])
    if len(line) < 2:
        what = "nothing has been released in this folder yet" if not line else f"no champion came before {line[-1]}"
        raise ReleaseError(what, fix="luthier release list, then: luthier release promote VERSION")
    with store.lock(f"roll back {task}"):
        _demand_intact(find_release(store, task, line[-2]))
        # recorded before the move: if this process dies in between, the note speaks of a move that was not made
        store.put_document("rollback", f"{task} {len(history)}", {"to": line[-2]})
        store.set_alias(task, CHAMPION, line[-2])
    return find_release(store, task, line[-2])


def verify_release(release: Release, base: Path | None) -> list[Problem]:
    """Compute every hash of a release's lock again and say what differs; empty when all is as it was.

    Args:
        release: from the store, whose copy of the lock is the one that counts.
        base: the folder of the base model; None leaves the base out.
    """
    return verify(release.folder, release.lock, base)


def _write_parts(
    folder: Path, system: System, made_from: Provenance, cases: Sequence[Example], records: Sequence[Record]
) -> None:
    system.save(folder)
    saved = read_setup(folder)
    same = content_hash(saved.as_dict()) == system.identity
    if not same or (saved.adapter is not None and hash_folder(folder / "adapter") != saved.adapter):
        raise ReleaseError(
            "what was saved is not the system that was measured",
            why="its adapter or its setup changed after it was measured",
            fix="luthier decide, luthier validate, then release again",
        )
    for name, document in _documents(made_from).items():
        write_json(folder / f"{name}.json", document)
    answers = {record.case: record.answer for record in records}
    rows = [
        {"id": case.id, "messages": [m.as_dict() for m in case.messages], "answer": answers[case.id]}
        for case in [case for case in cases if case.id in answers][:PARITY_CASES]
    ]
    write_text_atomic(folder / "cases.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _documents(made_from: Provenance) -> dict[str, dict[str, Any]]:
    documents = {
        "evidence": made_from.evidence.as_dict(),
        "verdict": made_from.verdict.as_dict(),
        "gate": made_from.gate.as_dict(),
    }
    if made_from.capability is not None:
        documents["capability"] = asdict(made_from.capability)
    return documents


def _release(store: Store, task: str, row: ReleaseRow, champion_version: int | None) -> Release:
    folder = store.folder / row.folder
    return Release(task, row.version, row.created, folder, row.lock, row.version == champion_version)


def _demand_intact(release: Release) -> None:
    problems = verify_release(release, None)
    if problems:
        raise ReleaseError(
            f"release {release.version} cannot go into service: its files are not what they were",
            problems=problems,
            fix=f"restore {release.folder} from a copy, or take another version: luthier release list",
        )


def _line_of_champions(store: Store, task: str, moves: Sequence[int]) -> list[int]:
    """The champions that a roll back walks along: a promotion adds one, a roll back takes the last away."""
    line: list[int] = []
    for number, version in enumerate(moves):
        note = store.get_document("rollback", f"{task} {number}")
        if note is not None and note["to"] == version and line[-2:-1] == [version]:
            line.pop()
        else:
            line.append(version)
    return line
