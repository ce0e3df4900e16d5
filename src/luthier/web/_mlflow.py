"""The decision as runs of MLflow: one for the decision, one below it for each measured rung. By MLflow itself."""

from __future__ import annotations

import os
import re
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier import __version__
from luthier.errors import ReportError

if TYPE_CHECKING:
    from luthier.api import ReportState

EXPERIMENT = "luthier"
_TAG = "luthier.decision"


def log_decision(state: ReportState, home: Path, files: list[Path]) -> str:
    """Log the last decision, unless it is there already; gives where: the tracking address and the run.

    The place is that of `MLFLOW_TRACKING_URI`, else `mlflow.db` in `home`. `files` become artifacts.

    Raises:
        ReportError: MLflow is not installed, or refuses.
    """
    if find_spec("mlflow") is None:
        raise ReportError(
            "the Python package mlflow is not installed",
            why="the run is written by MLflow itself",
            fix="pip install mlflow",
        )
    from mlflow.exceptions import MlflowException

    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(home / 'mlflow.db').resolve()}"
    shown = re.sub(r"//[^/@]*@", "//", place)  # a name and a password in it are nobody's business
    try:
        return f"{shown}#{_logged(state, place, home, files)}"
    except (MlflowException, OSError) as error:
        why = str(error).replace(place, shown)
        fix = "check MLFLOW_TRACKING_URI and that its server answers"
        raise ReportError(f"MLflow could not keep the run at {shown}", why=why, fix=fix) from error


def _logged(state: ReportState, place: str, home: Path, files: list[Path]) -> str:
    from mlflow import MlflowClient

    decision = state.decision
    assert decision is not None  # asked for by the caller, who says what to do where there is none
    client: Any = MlflowClient(tracking_uri=place)
    key = _experiment(client, home)
    known = client.search_runs([key], filter_string=f"tags.`{_TAG}` = '{decision.key}'", max_results=1)
    if known:
        return str(known[0].info.run_id)
    verdict = decision.verdict
    parent = client.create_run(key, run_name=f"{state.task.task}: {verdict.kind}").info.run_id
    params = {"task": state.task.task, "base": state.task.base, "scorer": decision.evidence.scorer, "bar": verdict.bar}
    params |= {"kind": verdict.kind, "rung": verdict.rung, "warrant": verdict.warrant.granted, "luthier": __version__}
    metrics = {"cases": len(decision.evidence.cases), "answers_saved": verdict.answers_saved}
    _fill(client, parent, params, metrics)
    client.set_tag(parent, "mlflow.note.content", verdict.sentence)
    for rung in decision.evidence.rungs:
        if rung.scores:
            _child(client, key, parent, decision, rung)
    for file in files:
        client.log_artifact(parent, str(file))
    client.set_tag(parent, _TAG, decision.key)  # last: a run that broke off is not taken for whole
    client.set_terminated(parent, "FINISHED")
    return str(parent)


def _experiment(client: Any, home: Path) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    at_home = None if os.environ.get("MLFLOW_TRACKING_URI") else (home.resolve() / "mlflow-artifacts").as_uri()
    return str(client.create_experiment(name, at_home))


def _child(client: Any, experiment: str, parent: str, decision: Any, rung: Any) -> None:
    judged = next(v for v in decision.verdict.rungs if v.rung == rung.rung)
    tags = {"mlflow.parentRunId": parent, "luthier.rung": rung.rung}
    run = client.create_run(experiment, run_name=rung.rung, tags=tags).info.run_id
    records = decision.records.get(rung.rung, ())
    params = {"rung": rung.rung, "method": rung.method, "system": rung.system, "state": str(judged.state)}
    params["chosen"] = (rung.choices or {}).get("chosen")
    metrics = {"score": judged.mean, "low": judged.low, "high": judged.high, "p": judged.p, "answered": judged.answered}
    metrics["prompt_tokens"] = sum(r.prompt_tokens for r in records)
    metrics["completion_tokens"] = sum(r.completion_tokens for r in records)
    metrics["seconds"] = sum(r.seconds for r in records)
    if rung.cost is not None:
        metrics |= {"usd_per_1000": rung.cost.per_1000, "usd_per_month": rung.cost.per_month}
    _fill(client, run, params, metrics)
    client.set_terminated(run, "FINISHED")


def _fill(client: Any, run: str, params: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Parameters and figures that are known; MLflow keeps 6,000 characters of a parameter at most."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(name, float(value), now, 0) for name, value in metrics.items() if value is not None],
        params=[Param(name, str(value)[:500]) for name, value in params.items() if value is not None],
    )
