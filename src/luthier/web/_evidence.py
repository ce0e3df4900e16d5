"""The evidence for other tools: every case, rung, answer, score, tokens and seconds, as Parquet or as Inspect logs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier import __version__

if TYPE_CHECKING:
    from luthier.api import ReportState

FORMAT = 1
INSPECT_VERSION = 2  # of Inspect's log format; read back with inspect_ai 0.3.285
_STOPS = {"stop": "stop", "length": "max_tokens", "content_filter": "content_filter", "tool_calls": "tool_calls"}


def evidence_table(state: ReportState) -> Any:
    """The evidence as an Arrow table, a row for each answer; texts stand there as they were given.

    In its metadata, under `luthier`: the format, the rules and the verdict as JSON.
    """
    import pyarrow as pa

    decision = state.decision
    assert decision is not None  # asked for by the caller, who says what to do where there is none
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    fields = [(name, text) for name in ("rung", "method", "base", "system", "case", "group", "source")]
    fields += [(name, text) for name in ("input", "wanted", "answer")]
    fields += [("score", real), ("details", text), ("prompt_tokens", whole), ("shared_tokens", whole)]
    fields += [("completion_tokens", whole), ("seconds", real), ("finish", text), ("cost_usd", real)]
    about = {"format": FORMAT, "task": state.task.task, "decision": decision.key, "created": decision.created}
    about |= {"luthier": __version__, "scorer": decision.evidence.scorer, "verdict": decision.verdict.as_dict()}
    schema = pa.schema(fields, metadata={"luthier": json.dumps(about)})
    return pa.Table.from_pylist(_rows(decision), schema=schema)


def _rows(decision: Any) -> list[dict[str, Any]]:
    groups = dict(zip(decision.evidence.cases, decision.evidence.groups, strict=True))
    cases = {case["id"]: case for case in decision.cases}
    rows = []
    for rung in decision.evidence.rungs:
        about = {"rung": rung.rung, "method": rung.method, "base": rung.base, "system": rung.system}
        for record in decision.records.get(rung.rung, ()):
            case = cases[record.case]
            row = {name: case[name] for name in ("input", "wanted", "source")}
            row |= {"case": record.case, "group": groups[record.case], "answer": record.answer}
            row |= {"score": record.score, "details": json.dumps(dict(record.details))}
            for name in ("prompt_tokens", "shared_tokens", "completion_tokens", "seconds", "finish"):
                row[name] = getattr(record, name)
            rows.append(about | row | {"cost_usd": record.cost})
    return rows


def inspect_logs(state: ReportState) -> dict[str, dict[str, Any]]:
    """A log of Inspect for each measured rung, by file name; a rung is what Inspect calls a task on a model."""
    decision = state.decision
    assert decision is not None  # asked for by the caller, who says what to do where there is none
    measured = [rung for rung in decision.evidence.rungs if decision.records.get(rung.rung)]
    return {_file_name(decision, rung): _log(state, decision, rung, place) for place, rung in enumerate(measured)}


def _file_name(decision: Any, rung: Any) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", rung.rung.lower()).strip("-")
    return f"{decision.created.replace(':', '-')}_{name}_{decision.key}.json"


def _log(state: ReportState, decision: Any, rung: Any, place: int) -> dict[str, Any]:
    records, scorer = decision.records[rung.rung], decision.evidence.scorer
    judged = next(v for v in decision.verdict.rungs if v.rung == rung.rung)
    usage = {rung.base: _usage(records)}
    spec = {
        "eval_id": f"{decision.key}-{place}",
        "run_id": decision.key,
        "created": decision.created,
        "task": f"{state.task.task}: {rung.rung}",
        "task_id": f"{state.task.task}-{place}",
        "task_version": 0,
        "dataset": {
            "name": state.task.examples.name,
            "samples": len(decision.evidence.cases),
            "sample_ids": list(decision.evidence.cases),
            "shuffled": True,
        },
        "model": rung.base,
        "config": {"epochs": 1},
        "packages": {"luthier": __version__},
        "metadata": {"rung": rung.rung, "method": rung.method, "system": rung.system, "split": decision.split},
        "scorers": [{"name": scorer}],
    }
    return {
        "version": INSPECT_VERSION,
        "status": "success",
        "eval": spec,
        "plan": {"name": rung.rung, "steps": [{"solver": rung.method, "params": dict(rung.choices or {})}]},
        "results": {
            "total_samples": len(records),
            "completed_samples": len(records),
            "scores": [
                {"name": scorer, "scorer": scorer, "scored_samples": len(records), "metrics": _metrics(records)}
            ],
            "metadata": {"state": str(judged.state), "low": judged.low, "high": judged.high, "p": judged.p},
        },
        "stats": {"started_at": decision.created, "completed_at": decision.created, "model_usage": usage},
        "samples": _samples(decision, rung, scorer),
    }


def _metrics(records: Sequence[Any]) -> dict[str, Any]:
    scores = [record.score for record in records]
    mean = math.fsum(scores) / len(scores)
    metrics = {"mean": {"name": "mean", "value": mean}}
    if len(scores) > 1:
        spread = math.sqrt(math.fsum((s - mean) ** 2 for s in scores) / (len(scores) - 1) / len(scores))
        metrics["stderr"] = {"name": "stderr", "value": spread}
    return metrics


def _samples(decision: Any, rung: Any, scorer: str) -> list[dict[str, Any]]:
    cases = {case["id"]: case for case in decision.cases}
    groups = dict(zip(decision.evidence.cases, decision.evidence.groups, strict=True))
    samples = []
    for record in decision.records[rung.rung]:
        case, usage = cases[record.case], _usage([record])
        said = {"role": "assistant", "content": record.answer, "source": "generate", "model": rung.base}
        stop = _STOPS.get(record.finish, "unknown")
        samples.append(
            {
                "id": record.case,
                "epoch": 1,
                "input": case["input"],
                "target": case["wanted"],
                "messages": [{"role": "user", "content": case["input"], "source": "input"}, said],
                "output": {
                    "model": rung.base,
                    "choices": [{"message": said, "stop_reason": stop}],
                    "completion": record.answer,
                    "usage": usage,
                    "time": record.seconds,
                },
                "scores": {scorer: {"value": record.score, "answer": record.answer, "metadata": dict(record.details)}},
                "metadata": {"group": groups[record.case], "source": case["source"]},
                "model_usage": {rung.base: usage},
                "total_time": record.seconds,
            }
        )
    return samples


def _usage(records: Sequence[Any]) -> dict[str, Any]:
    """Tokens as Inspect counts them: those that a kept beginning spared are not input tokens but read from a cache."""
    prompt, shared = sum(r.prompt_tokens for r in records), sum(r.shared_tokens for r in records)
    answered = sum(r.completion_tokens for r in records)
    usage = {"input_tokens": prompt - shared, "input_tokens_cache_read": shared, "output_tokens": answered}
    costs = [r.cost for r in records]
    priced = {} if any(cost is None for cost in costs) else {"total_cost": math.fsum(costs)}
    return usage | {"total_tokens": prompt + answered} | priced


def write_parquet(state: ReportState, out: Path) -> None:
    """Write the table, whole or not at all."""
    import pyarrow.parquet as pq

    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f"{out.name}.new")
    try:
        pq.write_table(evidence_table(state), fresh)
        fresh.replace(out)
    finally:
        fresh.unlink(missing_ok=True)
