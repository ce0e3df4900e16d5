"""A task's folder with everything that was found and made in it: one method a verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.errors import EvidenceError, Problem, ReleaseError, WarrantError
from luthier.spec import Task, load_task

if TYPE_CHECKING:
    from fastapi import FastAPI

    # the bodies import what they need: `luthier --help` must load neither torch nor transformers
    from luthier.api._checking import Checked
    from luthier.api._data import Data
    from luthier.api._decisions import Decision
    from luthier.api._judging import Labelling
    from luthier.api._planning import Plan
    from luthier.api._refreshing import RefreshOutcome
    from luthier.api._state import ReportState
    from luthier.audit import Fixed, LearningCurve
    from luthier.decide import Bench, CurveMethod, CurveWork, Power, Verdict
    from luthier.release import GateReport, Release
    from luthier.store import Store
    from luthier.upkeep import WatchReport

Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Lived:
    """What a whole life gave: the verdict, and the gate and the release where it came to them."""

    verdict: Verdict
    gate: GateReport | None
    release: Release | None


def _silent(stage: str, done: int, total: int, remark: str) -> None:
    pass


class Project:
    """A task folder. Every verb of the command line is one method here.

    Args:
        folder: the folder that holds `luthier.yaml`, or the file itself.
        progress: called with (stage, done, total, remark) during long work.
        allow_outside: accept paths in the task that leave its folder.
        database: SQLAlchemy URL of the store; SQLite in `.luthier/` by default.

    Raises:
        SpecError: `luthier.yaml` is missing or wrong; all mistakes at once.
    """

    def __init__(
        self,
        folder: Path | str = ".",
        *,
        progress: Progress = _silent,
        allow_outside: bool = False,
        database: str | None = None,
    ) -> None:
        self.task: Task = load_task(Path(folder), allow_outside=allow_outside)
        self.progress = progress
        self._database = database

    @cached_property
    def store(self) -> Store:
        """Everything recorded for this folder."""
        from luthier.store import Store

        return Store.open(self.task.folder, self._database)

    @property
    def home(self) -> Path:
        """The folder `.luthier` of this task."""
        return self.task.folder / ".luthier"

    def check(self, *, deep: bool = False, show: int = 0) -> Checked:
        """Audit the data; rows that cannot be used are findings too.

        Args:
            deep: ask the sentence embedder and the base as well, which takes minutes.
            show: this many rows as they are trained, token by token.

        Raises:
            DataError: a file as a whole cannot be read.
            ModelError: `deep`, and the base cannot be loaded.
        """
        from luthier.api._checking import check

        with self.store.lock() if deep else nullcontext():
            return check(self.task, self.store, self.progress, deep=deep, show=show)

    def curve(
        self, method: CurveMethod = "few-shot", *, told: Callable[[CurveWork], None] = lambda _: None
    ) -> LearningCurve:
        """How the score grows with the number of training rows, and what more of them would bring.

        Args:
            method: `few-shot` looks up the nearest demonstrations, which is cheap; `lora` trains at every point.
            told: called with what it takes before it is spent.

        Raises:
            EvidenceError: too few training rows.
            ModelError, TrainingError: `lora`, and the base cannot be trained.
        """
        from luthier.api._curves import learn_curve

        with self.store.lock():
            return learn_curve(self._bench(), method, told)

    def fix(self, *, mask: bool = False) -> Fixed:
        """Write a corrected copy of the examples beside the original, with a log of every change.

        Args:
            mask: replace personal data and secrets that are known by their form with placeholders.
        """
        from luthier.audit import write_fixed

        return write_fixed(self.task, mask=mask)

    def plan(self) -> Plan:
        """Time, memory, disk and money of what `decide` and `tune` may spend, calibrated with a few answers and steps.

        Where the base's weights are not on this machine, they are not fetched, and times are unknown.
        """
        from luthier.api._planning import plan

        with self.store.lock():
            return plan(self._bench(fetch=False))

    def decide(self, *, everything: bool = False, train: bool = True) -> Verdict:
        """Climb the ladder on the held-out cases and give the verdict.

        Args:
            everything: measure every rung on every case instead of stopping when the answer is known.
            train: allow the fine-tuned rungs.
        """
        from luthier.api._decisions import take_decision

        with self.store.lock():
            data = self._data()
            return take_decision(self._bench(data), data, everything=everything, train=train).verdict

    def power(self) -> Power:
        """What the test cases can show under the task's rules, before a model is asked (see `luthier.decide.Power`).

        Raises:
            EvidenceError: there is nothing to say anything about.
        """
        from luthier.api._power import foresee

        return foresee(self.task, self._data())

    def replay(self) -> Verdict:
        """The verdict of the last decision computed again from stored evidence, with the task's present bar.

        Raises:
            EvidenceError: nothing was decided yet.
        """
        from luthier.api._decisions import replayed

        return replayed(self.decision(), self.task)

    def decision(self) -> Decision:
        """The last decision with all its evidence.

        Raises:
            EvidenceError: nothing was decided yet.
        """
        from luthier.api._decisions import last_decision

        found = last_decision(self.store)
        if found is None:
            raise EvidenceError("nothing has been decided in this folder yet", fix="luthier decide")
        return found

    @property
    def labelling(self) -> Labelling:
        """The labels of people that correct a judge: write the table, fill it in, take the verdict on it."""
        from luthier.api._judging import Labelling

        return Labelling(self)

    def tune(self, *, without_warrant: str | None = None, shard: bool = False) -> Mapping[str, Any]:
        """Fine-tune with the task's settings the base that the last verdict warrants; without one the task's first.

        Args:
            without_warrant: a reason to train all the same; recorded.
            shard: have each of several processes keep a part of every weight; done unasked where a whole copy would
                fill the memory of a device.

        In a group that a launcher made (`torchrun -m luthier tune`, `luthier tune --launch`), every process calls this:
        the first does all the rest, the others their share of the training.

        Returns:
            The chosen adapter with its development scores and training curve; nothing in a further process of a group.

        Raises:
            WarrantError: no verdict grants it and no reason is given.
            TrainingError: `shard` is asked of one process alone; and as `luthier.train.fine_tune`.
        """
        from luthier.api._decisions import base_to_tune, tune
        from luthier.decide import train_along
        from luthier.train import launched_group

        with launched_group() as group:
            if shard:
                group.refuse_alone()
            if not group.first:
                group.wait()  # until the data are split and the base is at hand
                train_along(self._bench(base=base_to_tune(self.task, self.store)), shard=shard)
                return {}
            granted = self.may_tune(without_warrant=without_warrant)
            with self.store.lock():
                if not granted:
                    self.store.put_document("tuned without a warrant", self.task.task, {"reason": without_warrant})
                bench = self._bench(base=base_to_tune(self.task, self.store))
                group.wait()
                return tune(bench, shard=shard)

    def may_tune(self, *, without_warrant: str | None = None) -> bool:
        """Whether the last verdict grants a warrant to fine-tune.

        Raises:
            WarrantError: it does not, and no reason to train without one is given.
        """
        from luthier.api._decisions import last_decision

        decision = last_decision(self.store)
        granted = decision is not None and decision.verdict.warrant.granted
        if not granted and without_warrant is None:
            why = "nothing was decided yet" if decision is None else decision.verdict.warrant.reason
            raise WarrantError(
                "fine-tuning is not warranted",
                why=why,
                fix='luthier decide, or: luthier tune --without-warrant "your reason"',
            )
        return granted

    def validate(self, *, rung: str | None = None, quick: bool = False) -> GateReport:
        """Behaviour, general capability and train/serve parity of the recommended system: one gate.

        Args:
            rung: another rung than the recommended one.
            quick: the small battery of general capability.
        """
        from luthier.api._releasing import validate

        with self.store.lock():
            return validate(self, self._data(), rung, quick).gate

    def promote(self, version: int | None = None) -> Release:
        """Make the validated system a release and the champion, or make an older version champion again.

        Raises:
            GateError: the system did not pass its gates.
            ReleaseError: nothing was validated, or there is no such version.
        """
        from luthier.api._releasing import promote
        from luthier.release import promote as make_champion

        with self.store.lock():
            if version is not None:
                return make_champion(self.store, self.task.task, version)
            return promote(self, self._data())

    def roll_back(self) -> Release:
        """Make the previous champion champion again."""
        from luthier.release import roll_back

        return roll_back(self.store, self.task.task)

    def releases(self) -> Sequence[Release]:
        """All releases, oldest first."""
        from luthier.release import releases

        return releases(self.store, self.task.task)

    def release(self, version: int | None = None) -> Release:
        """One release; the champion by default.

        Raises:
            ReleaseError: there is none, or no such version.
        """
        from luthier.release import champion, find_release

        if version is not None:
            return find_release(self.store, self.task.task, version)
        found = champion(self.store, self.task.task)
        if found is None:
            raise ReleaseError("nothing has been released in this folder yet", fix="luthier release promote")
        return found

    def verify(self, version: int | None = None) -> Sequence[Problem]:
        """Recompute the lock of a release; gives what does not fit (empty when everything does)."""
        from luthier.api._releasing import verify

        return verify(self, version)

    def export(self, out: Path, kind: Literal["peft", "merged", "system"], version: int | None = None) -> Path:
        """Write a release for other tools: the PEFT folder, merged safetensors, or the whole system."""
        from luthier.api._releasing import export_release

        return export_release(self, out, kind, version)

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        ready: Callable[[str], None] = lambda url: None,
    ) -> None:
        """Serve the champion behind an OpenAI-compatible endpoint until interrupted.

        Args:
            host: other than loopback needs a token.
            port: 0 takes any free one.
            token: bearer token that clients must send.
            ready: called with the base URL as soon as clients can connect.
        """
        from luthier.api._releasing import serve_release

        serve_release(self, host=host, port=port, token=token, ready=ready)

    def listen(self, app: FastAPI, *, port: int, ready: Callable[[str], None] = lambda url: None) -> None:
        """Serve a web application of this project on loopback until interrupted."""
        from luthier.release import serve

        serve(app, port=port, ready=ready)

    def watch(self) -> WatchReport:
        """Is the champion still good? Age, base, documents, test openings, drift of the logged inputs."""
        from luthier.api._releasing import watch_release

        return watch_release(self, self._data().split.train)

    def refresh(self, *, base: str | None = None) -> RefreshOutcome:
        """The whole recipe again on another base, or on the same one with new data; promoted only if not worse."""
        from luthier.api._refreshing import refresh_release

        with self.store.lock():
            return refresh_release(self, base)

    def run(self, *, everything: bool = False, quick: bool = False) -> Lived:
        """The whole life: check, decide (fine-tuning where warranted), validate, release."""
        from luthier.api._life import live

        return live(self, everything=everything, quick=quick)

    def state(self) -> ReportState:
        """Everything that the report and the dashboard show."""
        from luthier.api._state import report_state

        return report_state(self)

    def keep(self, name: str, text: str) -> Path:
        """Write a text into the folder `.luthier`, whole or not at all; gives its path."""
        from luthier.store import write_text_atomic

        write_text_atomic(self.home / name, text)
        return self.home / name

    def next_step(self) -> tuple[str, str]:
        """Where this folder stands, and the one command that comes next."""
        from luthier.api._next import next_step

        return next_step(self)

    def _data(self) -> Data:
        from luthier.api._data import read_data

        return read_data(self.task, self.store)

    def _bench(self, data: Data | None = None, base: str | None = None, *, fetch: bool = True) -> Bench:
        from luthier.api._bench import open_bench

        return open_bench(self.task, self.store, data or self._data(), self.progress, base=base, fetch=fetch)
