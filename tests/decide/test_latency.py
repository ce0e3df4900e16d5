"""A rung that is too slow is not recommended, however good; times are those of answers asked by themselves."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.decide import Climb, Evidence, Rules, RungEvidence, Timing, climb, decide
from luthier.decide._timing import timing_of
from luthier.errors import SpecError
from luthier.models import Answer, Request, ScriptedModel
from luthier.spec import LatencySettings, MethodName, load_task

N = 150
RULES = Rules(0.65, 0.03, 0.05, None, latency=LatencySettings(p95_seconds=2.0))
FAST, SLOW = Timing(0.5, 1.9, 20, True), Timing(0.5, 3.25, 20, True)


def rung(method: MethodName, right: int, timing: Timing | None) -> RungEvidence:
    return RungEvidence(method, method, "b", "s", (1.0,) * right + (0.0,) * (N - right), timing=timing)


def evidence(*rungs: RungEvidence) -> Evidence:
    cases = tuple(map(str, range(N)))
    return Evidence(cases, cases, rungs, True, "exact")


def test_a_cheaper_rung_that_is_too_slow_is_passed_over_and_named() -> None:
    shown = evidence(rung("prompt", 140, SLOW), rung("few-shot", 140, FAST))
    found = decide(RULES, shown)
    assert (found.kind, found.rung) == ("few-shot", "few-shot")
    assert found.sentence.endswith("; prompt, cheaper, is too slow.")
    said = "latency: prompt cannot be recommended: 3.25 s at p95, over 2 s, on 20 answers"
    assert said in found.reasons
    assert decide(replace(RULES, latency=LatencySettings()), shown).rung == "prompt"


def test_where_only_slow_rungs_meet_the_bar_none_is_recommended() -> None:
    found = decide(RULES, evidence(rung("prompt", 20, FAST), rung("few-shot", 140, SLOW)))
    assert (found.kind, found.rung) == ("no rung meets the bar", None)
    assert "few-shot: 3.25 s at p95, over 2 s, on 20 answers" in found.sentence
    assert any("latency:" in line for line in found.advice)


def test_a_slow_cheaper_rung_stands_in_the_way_of_no_warrant() -> None:
    shown = evidence(rung("prompt", 20, FAST), rung("few-shot", 140, SLOW), rung("fine-tune", 140, FAST))
    found = decide(RULES, shown)
    assert found.kind == "fine-tune" and found.warrant.reason == "every cheaper rung falls short of 0.65 or is too slow"
    slow = decide(RULES, evidence(rung("prompt", 20, FAST), rung("fine-tune", 140, SLOW)))
    assert slow.kind == "no rung meets the bar" and not slow.warrant.granted


@pytest.mark.parametrize("timing", [None, Timing(0.1, 0.2, 150, False)])
def test_times_that_are_unknown_or_shares_of_batches_keep_no_limit(timing: Timing | None) -> None:
    found = decide(RULES, evidence(rung("prompt", 140, timing)))
    assert found.kind == "not enough evidence"
    assert "how long an answer takes by itself was not measured: luthier decide" in found.sentence


def test_without_a_bar_the_yardstick_is_a_rung_that_is_fast_enough() -> None:
    rules = replace(RULES, bar=None, margin=0.05)
    found = decide(rules, evidence(rung("prompt", 40, FAST), rung("few-shot", 110, FAST), rung("retrieval", 145, SLOW)))
    assert found.rung == "few-shot"


def test_both_limits_are_kept_or_said() -> None:
    rules = replace(RULES, latency=LatencySettings(p50_seconds=0.4, p95_seconds=3.0))
    found = decide(rules, evidence(rung("prompt", 140, SLOW)))
    assert any("0.5 s at p50, over 0.4 s and 3.25 s at p95, over 3 s" in line for line in found.reasons)


def test_percentiles() -> None:
    found = timing_of([*range(1, 21), 100.0], alone=True)
    assert (found.p50, found.p95, found.answers) == (11, 20, 21)


class Waits(ScriptedModel):
    """Always right; takes its time for a request that comes alone, longer with demonstrations."""

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        if len(requests) == 1:
            time.sleep(0.002 if len(requests[0].messages) < 4 else 0.02)
        for index, answer in super().answer(requests):
            odd = int(requests[index].messages[-1].content.split()[1]) % 2
            yield index, replace(answer, text="paid" if odd else "due")


def test_a_climb_times_answers_one_by_one_and_goes_on_past_a_rung_that_is_too_slow(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("ladder", Path(__file__).with_name("test_ladder_context.py"))
    assert spec is not None and spec.loader is not None
    ladder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ladder)
    at = ladder.bench(tmp_path, Waits({"*": "paid"}))
    plain = climb(at, Climb(everything=True)).evidence
    assert [r.timing.alone for r in plain.rungs if r.timing is not None] == [False, False]
    limited = replace(at, task=at.task.model_copy(update={"latency": LatencySettings(p95_seconds=9.0)}))
    found = climb(limited, Climb(everything=True)).evidence
    prompt, few = (r.timing for r in found.rungs)
    assert prompt is not None and few is not None and prompt.alone and prompt.answers == min(20, len(found.cases))
    assert 0.002 <= prompt.p50 <= prompt.p95 and few.p50 >= 0.02

    easy = {"bar": 0.5, "latency": LatencySettings(p95_seconds=0.0001)}
    slow = climb(replace(at, task=at.task.model_copy(update=easy)), Climb()).evidence
    assert all(r.scores for r in slow.rungs)  # the first meets the bar, too late
    easy["latency"] = LatencySettings(p95_seconds=9.0)
    quick = climb(replace(at, task=at.task.model_copy(update=easy)), Climb()).evidence
    assert [bool(r.scores) for r in quick.rungs] == [True, False]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{p95_second: 2}", "did you mean `p95_seconds`?"),
        ("{p95_seconds: 0}", "`latency.p95_seconds` must be greater than 0"),
        ("{p50_seconds: .nan}", "`latency.p50_seconds`"),
        ("2", "`latency` must be a mapping"),
    ],
)
def test_limits_that_are_none(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "luthier.yaml").write_text(
        f"task: t\ngoal: g\nexamples: rows.jsonl\nscore: {{kind: exact}}\nbase: b\nlatency: {text}\n"
    )
    with pytest.raises(SpecError) as caught:
        load_task(tmp_path)
    assert told in str(caught.value)
