"""What is trained is shown in a tracker: every step once, also after a stop; a tracker never stops a training."""

import importlib.machinery
import importlib.util
import logging
import os
import signal
import sys
from types import ModuleType, SimpleNamespace

import pytest

from luthier.errors import TrainingError
from luthier.store import read_json
from luthier.train import Recipe, Tracking, fine_tune, require_tracker
from luthier.train._track import FILE

RECIPE = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=2.0, batch_size=8, evaluate_every=2, layers=("q_proj",))
NAMES = {
    "loss",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "effective_tokens_per_second",
    "saved_share",
    "development_score",
}


def rising():
    """A development score that gets better with every call."""
    scores = iter(range(1, 1000))
    return lambda model: float(next(scores))


def interrupted_after(step):
    def stop(progress):
        if progress.step == step and progress.dev_score is None:
            os.kill(os.getpid(), signal.SIGINT)

    return stop


def shown(library, folder):
    return Tracking(library, "triage", folder)


class Fake:
    """A library that records how it is called."""

    def __init__(self, name, monkeypatch, **parts):
        self.calls = []
        self.module = ModuleType(name)
        self.module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        for key, value in parts.items():
            setattr(self.module, key, value)
        monkeypatch.setitem(sys.modules, name, self.module)

    def steps(self):
        return [step for step, _ in self.calls]


# --- TensorBoard, really -------------------------------------------------------------------------------------------


def events(folder):
    """The scalars that TensorBoard itself reads back: [(step, value)] by name; and its reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = folder.iterdir()
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    return {name: [(e.step, e.value) for e in reader.Scalars(name)] for name in reader.Tags()["scalars"]}, reader


def test_tensorboard_reads_back_the_curve_and_the_recipe(base, rows, tmp_path):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    result = fine_tune(
        base,
        rows,
        RECIPE,
        tmp_path / "out",
        score=rising(),
        replay=rows[:4],
        track=shown("tensorboard", tmp_path / "t"),
    )
    found, reader = events(tmp_path / "t")
    assert set(found) == NAMES | {"drift"}
    for name, of_point in {
        "loss": "loss",
        "learning_rate": "lr",
        "gradient_norm": "gradient_norm",
        "drift": "drift",
    }.items():
        assert [step for step, _ in found[name]] == [1, 2, 3, 4, 5]
        assert [v for _, v in found[name]] == pytest.approx([getattr(p, of_point) for p in result.curve], rel=1e-6)
    assert found["development_score"] == [(p.step, p.dev_score) for p in result.curve if p.dev_score is not None]
    assert [v for _, v in found["saved_share"]] == pytest.approx([1 - p.tokens / p.row_tokens for p in result.curve])
    for (_, run), (_, effective), point in zip(
        found["tokens_per_second"], found["effective_tokens_per_second"], result.curve, strict=True
    ):
        assert (run, effective) == pytest.approx((point.tokens / point.seconds, point.row_tokens / point.seconds))
    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["rank"].number_value == 4 and told["method"].string_value == "lora"
    assert told["layers"].string_value == '["q_proj"]'
    (run,) = (tmp_path / "t").iterdir()
    assert run.name.startswith("triage-") and read_json(tmp_path / "out" / FILE) == {"tensorboard": run.name}


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_run_that_goes_on_is_one_run_with_every_step_once(step, base, rows, tmp_path):
    track = shown("tensorboard", tmp_path / "t")
    score = rising()
    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, track=track, progress=interrupted_after(step))
    result = fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, track=track)
    found, _ = events(tmp_path / "t")
    assert [s for s, _ in found["loss"]] == [1, 2, 3, 4, 5]
    assert found["development_score"] == [(p.step, p.dev_score) for p in result.curve if p.dev_score is not None]


def test_what_a_killed_run_had_shown_too_much_is_not_shown_again(base, rows, tmp_path):
    track = shown("tensorboard", tmp_path / "t")

    class Killed(BaseException):
        pass

    def kill(progress):
        if progress.step == 4:
            raise Killed

    with pytest.raises(Killed):  # step 2 is in the checkpoint, 3 is shown
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=lambda m: 1.0, track=track, progress=kill)
    assert read_json(tmp_path / "out" / "checkpoint" / "state.json")["state"]["step"] == 2
    assert events(tmp_path / "t")[0]["loss"][-1][0] == 3
    fine_tune(base, rows, RECIPE, tmp_path / "out", score=lambda m: 1.0, track=track)
    found, _ = events(tmp_path / "t")
    assert [s for s, _ in found["loss"]] == [1, 2, 3, 4, 5]


def test_a_tracker_that_joins_a_run_later_is_shown_all_of_it(base, rows, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=rising(), progress=interrupted_after(3))
    fine_tune(base, rows, RECIPE, tmp_path / "out", score=rising(), track=shown("tensorboard", tmp_path / "t"))
    assert [s for s, _ in events(tmp_path / "t")[0]["loss"]] == [1, 2, 3, 4, 5]


def test_the_adapter_does_not_depend_on_who_looks_on(base, rows, tmp_path):
    alone = fine_tune(base, rows, RECIPE, tmp_path / "alone", score=rising())
    track = shown("tensorboard", tmp_path / "t")
    assert (
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=rising(), track=track).adapter_hash == alone.adapter_hash
    )


# --- the others, by what they are told -----------------------------------------------------------------------------


@pytest.fixture
def wandb(monkeypatch):
    class Error(Exception):
        pass

    fake = Fake("wandb", monkeypatch, Error=Error, Settings=lambda **how: how)
    fake.runs = []

    def init(**how):
        seen = [step for run in fake.runs if run.id == how["id"] for step, _ in run.calls]
        run = SimpleNamespace(id=how["id"], how=how, calls=[], starting_step=max(seen) + 1 if seen else 0, codes=[])
        run.log = lambda values, step: run.calls.append((step, values))
        run.finish = lambda exit_code: run.codes.append(exit_code)
        fake.runs.append(run)
        return run

    fake.module.init = init
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return fake


def test_wandb(wandb, base, rows, tmp_path):
    track, score = shown("wandb", tmp_path / "t"), rising()
    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, track=track, progress=interrupted_after(3))
    result = fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, track=track)
    first, second = wandb.runs
    assert first.id == second.id and first.codes == [1] and second.codes == [0]
    assert [s for s, _ in first.calls] == [1, 2] and [s for s, _ in second.calls] == [3, 4, 5]
    assert first.how["name"] == "triage" and first.how["resume"] == "allow" and "mode" not in first.how
    assert first.how["config"]["rank"] == 4 and first.how["dir"] == str(tmp_path / "t")
    calls = [*first.calls, *second.calls]
    assert [values["loss"] for _, values in calls] == [p.loss for p in result.curve]
    assert [values.get("development_score") for _, values in calls] == [p.dev_score for p in result.curve]


def test_a_tracker_that_fails_on_the_way_is_given_up_once(wandb, base, rows, tmp_path, caplog):
    init = wandb.module.init

    def failing(**how):
        run = init(**how)
        log = run.log

        def fail_at_three(values, step):
            if step == 3:
                raise wandb.module.Error("the network is gone")
            log(values, step)

        run.log = fail_at_three
        return run

    wandb.module.init = failing
    with caplog.at_level(logging.WARNING):
        result = fine_tune(base, rows, RECIPE, tmp_path / "out", score=rising(), track=shown("wandb", tmp_path / "t"))
    assert result.stopped == "done" and len(result.curve) == 5
    assert [s for s, _ in wandb.runs[0].calls] == [1, 2]
    (record,) = caplog.records
    assert "no longer tracked (step 3 on)" in record.getMessage() and "the network is gone" in record.getMessage()


def test_an_error_that_is_not_the_trackers_is_not_swallowed(wandb, base, rows, tmp_path):
    def broken(**how):
        return SimpleNamespace(id="x", starting_step=0, log=lambda *_, **__: 1 / 0, finish=lambda exit_code: None)

    wandb.module.init = broken
    with pytest.raises(ZeroDivisionError):
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=rising(), track=shown("wandb", tmp_path / "t"))


@pytest.fixture
def trackio(monkeypatch):
    fake = Fake("trackio", monkeypatch)
    fake.opened = []

    def init(**how):
        print("* Trackio project initialized")
        fake.opened.append(how)
        return SimpleNamespace(log=lambda values, step: fake.calls.append((step, values)), finish=lambda: None)

    class SQLiteStorage:
        @staticmethod
        def get_max_step_for_run(project, run):
            assert project == fake.opened[-1]["project"] and run == fake.opened[-1]["name"]
            return max(fake.steps(), default=None)

    fake.module.init = init
    Fake("trackio.sqlite_storage", monkeypatch, SQLiteStorage=SQLiteStorage)
    return fake


def test_trackio(trackio, base, rows, tmp_path, capsys):
    track, score = shown("trackio", tmp_path / "t"), rising()
    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, track=track, progress=interrupted_after(2))
    fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, track=track)
    first, second = trackio.opened
    assert first == second and first["name"].startswith("triage-") and first["resume"] == "allow"
    assert first["config"]["learning_rate"] == 1e-2
    assert trackio.steps() == [1, 2, 3, 4, 5]
    assert capsys.readouterr().out == ""


@pytest.fixture
def mlflow(monkeypatch):
    class MlflowException(Exception):
        pass

    fake = Fake("mlflow", monkeypatch)
    fake.runs, fake.places, fake.experiments, fake.error = {}, [], {}, MlflowException

    class MlflowClient:
        def __init__(self, tracking_uri):
            fake.places.append(tracking_uri)

        def get_experiment_by_name(self, name):
            return SimpleNamespace(experiment_id=fake.experiments[name]) if name in fake.experiments else None

        def create_experiment(self, name, artifact_location):
            fake.experiments[name] = "7"
            return "7"

        def create_run(self, experiment_id, run_name):
            assert experiment_id == "7"
            fake.runs["r1"] = {"name": run_name, "params": {}, "metrics": [], "status": ["RUNNING"]}
            return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

        def update_run(self, run_id, status):
            fake.runs[run_id]["status"].append(status)

        def get_metric_history(self, run_id, key):
            return [m for m in fake.runs[run_id]["metrics"] if m.key == key]

        def log_batch(self, run_id, metrics=(), params=()):
            fake.runs[run_id]["metrics"] += metrics
            fake.runs[run_id]["params"] |= {p.key: p.value for p in params}

        def set_terminated(self, run_id, status):
            fake.runs[run_id]["status"].append(status)

    fake.module.MlflowClient = MlflowClient
    Fake(
        "mlflow.entities",
        monkeypatch,
        Metric=lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step),
        Param=lambda key, value: SimpleNamespace(key=key, value=value),
    )
    Fake("mlflow.exceptions", monkeypatch, MlflowException=MlflowException)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return fake


def test_mlflow(mlflow, base, rows, tmp_path):
    track, score = shown("mlflow", tmp_path / "t"), rising()
    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, track=track, progress=interrupted_after(3))
    result = fine_tune(base, rows, RECIPE, tmp_path / "out", score=score, track=track)
    run = mlflow.runs["r1"]
    assert run["name"] == "triage" and run["params"]["rank"] == "4" and run["params"]["max_length"] == "null"
    assert run["status"] == ["RUNNING", "KILLED", "RUNNING", "FINISHED"]
    assert [(m.step, m.value) for m in run["metrics"] if m.key == "loss"] == [(p.step, p.loss) for p in result.curve]
    assert mlflow.places == [f"sqlite:///{tmp_path / 't' / 'mlflow.db'}"] * 2


def test_a_tracker_that_cannot_be_opened_ends_it_before_the_first_step(mlflow, base, rows, tmp_path):
    def refuse(*_, **__):
        raise mlflow.error("nobody listens at http://127.0.0.1:1")

    mlflow.module.MlflowClient.create_run = refuse
    with pytest.raises(TrainingError, match="nobody listens") as caught:
        fine_tune(
            base,
            rows,
            RECIPE,
            tmp_path / "out",
            score=rising(),
            track=shown("mlflow", tmp_path / "t"),
            progress=pytest.fail,
        )
    assert "remove track:" in caught.value.fix
    assert not (tmp_path / "out" / FILE).exists()


# --- before anything is spent --------------------------------------------------------------------------------------


@pytest.fixture
def missing(monkeypatch):
    """No tracker is installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "luthier.train._track.find_spec", lambda name: None if name in ("wandb", "mlflow") else find(name)
    )


@pytest.mark.parametrize("library", ["wandb", "mlflow"])
def test_a_missing_package_is_named_before_rows_are_even_read(library, missing, base, tmp_path):
    with pytest.raises(TrainingError, match=f"package {library} is not installed") as caught:
        fine_tune(base, [], RECIPE, tmp_path / "out", score=rising(), track=shown(library, tmp_path / "t"))
    assert f"pip install {library}" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_cannot_be_imported_is_an_error_too(monkeypatch, base, rows, tmp_path):
    Fake("mlflow", monkeypatch)  # has no part `exceptions`
    with pytest.raises(TrainingError, match="cannot be imported"):
        fine_tune(base, rows, RECIPE, tmp_path / "out", score=rising(), track=shown("mlflow", tmp_path / "t"))


def test_no_tracker_needs_no_package(missing):
    require_tracker(None)


def test_the_recipe_is_the_same_one_whoever_looks_on():
    from luthier.spec import TrainSettings

    recipe = [Recipe.for_task(TrainSettings(track=track), 100, 135_000_000) for track in (None, "wandb")]
    assert recipe[0] == recipe[1]
