"""The four libraries behind `_track`. What leaves this machine, and for where, is set up in the library's own way."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from luthier.train._track import Opening

PROJECT = "luthier"


class TensorBoard:
    """Event files in the folder, one for each process that worked on the run."""

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """What goes wrong is the disk."""
        return (OSError,)

    def __init__(self, opening: Opening) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.failures = self.errors()
        self.id = opening.known or _new_id(opening.name)
        place = str(opening.folder / self.id)
        self.logged = _last_event(place) if opening.known else 0
        self._writer = SummaryWriter(place, purge_step=self.logged + 1)
        if not opening.known:
            told: Any = self._writer.file_writer  # torch's annotations hold it for None
            for summary in hparams(dict(opening.parameters), {"loss": 0.0}):  # type: ignore[no-untyped-call]  # torch's
                told.add_summary(summary)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write at once, the loss last: a step that has one is whole."""
        for name, value in sorted(values.items(), key=lambda item: item[0] == "loss"):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, finished: bool) -> None:
        """Close the event file."""
        self._writer.close()


class MLflow:
    """A run on the server that `MLFLOW_TRACKING_URI` names, or in `mlflow.db` in the folder."""

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """MLflow wraps those of its server and database."""
        from mlflow.exceptions import MlflowException

        return (MlflowException, OSError)

    def __init__(self, opening: Opening) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.failures = self.errors()
        folder = opening.folder.resolve()
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        self._client: Any = MlflowClient(tracking_uri=place)
        if opening.known:
            self.id = opening.known
            self._client.update_run(self.id, status="RUNNING")
            self.logged = max((m.step for m in self._client.get_metric_history(self.id, "loss")), default=0)
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = self._client.get_experiment_by_name(name)
        at_home = None if os.environ.get("MLFLOW_TRACKING_URI") else (folder / "mlflow-artifacts").as_uri()
        key = experiment.experiment_id if experiment else self._client.create_experiment(name, at_home)
        self.id, self.logged = self._client.create_run(key, run_name=opening.name).info.run_id, 0
        self._client.log_batch(self.id, params=[Param(k, str(v)) for k, v in opening.parameters.items()])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One request a step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def close(self, finished: bool) -> None:
        """A stopped run stands there as killed until it goes on."""
        self._client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


class WeightsAndBiases:
    """A run as the environment says (`WANDB_MODE`, `WANDB_PROJECT`, ...); what is kept here lies in the folder.

    Offline, every process that works on a run leaves a folder with all of its steps, as no server knows the others:
    `wandb sync` the latest.
    """

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """Its own, and those of the connection to its process."""
        import wandb

        return (wandb.Error, OSError)

    def __init__(self, opening: Opening) -> None:
        import wandb

        self.failures = self.errors()
        self.id = opening.known or _new_id(opening.name)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=opening.name,
            id=self.id,
            resume="allow",
            dir=str(opening.folder),
            config=dict(opening.parameters),
            reinit="create_new",  # a run that the caller may have is left alone
            settings=wandb.Settings(console="off"),
        )
        self.logged = max(0, self._run.starting_step - 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Handed to W&B's own process."""
        self._run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        """Wait until everything is written or sent."""
        self._run.finish(exit_code=0 if finished else 1)


class Trackio:
    """A run in Trackio's own database (`TRACKIO_DIR`), or where `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` says.

    Trackio catches its own errors and warns.
    """

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """Those of names that it refuses, and of the disk."""
        import trackio  # noqa: F401  # a missing part of it is to show here

        return (ValueError, OSError)

    def __init__(self, opening: Opening) -> None:
        import trackio

        self.failures = self.errors()
        self.id = opening.known or _new_id(opening.name)
        with redirect_stdout(sys.stderr):  # it prints, and what we print may be JSON
            self._run: Any = trackio.init(
                project=PROJECT, name=self.id, config=dict(opening.parameters), resume="allow", embed=False
            )
        self.logged = _last_step(self.id) if opening.known else 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Handed to Trackio's own thread."""
        self._run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        """Wait until everything is written."""
        with redirect_stdout(sys.stderr):
            self._run.finish()


def _last_event(place: str) -> int:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(place, size_guidance={"scalars": 1}).Reload()  # 1: the last one is kept
    return reader.Scalars("loss")[-1].step if "loss" in reader.Tags()["scalars"] else 0


def _last_step(name: str) -> int:
    from trackio.sqlite_storage import SQLiteStorage

    return SQLiteStorage.get_max_step_for_run(PROJECT, name) or 0


def _new_id(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


TRACKERS = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WeightsAndBiases, "trackio": Trackio}
