"""What `decide --power` says before anything is spent."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from luthier.api import Project
from luthier.cli import main
from luthier.decide import Power, Rules, power_of
from luthier.decide._power_judged import Judged
from luthier.errors import EvidenceError
from luthier.evaluate import settled_chances

RUNGS = ("prompt", "few-shot", "few-shot nearest", "fine-tune")


def power(n: int, bar: float | None = 0.8, *, sources: int | None = None, binary: bool = True) -> Power:
    groups = [f"s{i % (sources or n)}" for i in range(n)]
    return power_of(Rules(bar, 0.03, 0.05, None), sorted(groups), binary=binary, rungs=RUNGS)


def test_the_sentence_says_what_the_table_says() -> None:
    found = power(120)
    by_truth = {outlook.truth: outlook for outlook in found.outlooks}
    assert sorted(by_truth) == [0.6, 0.7, 0.75, 0.8, 0.82, 0.85, 0.9, 0.95, 1.0]
    exact = settled_chances(120, 0.9, bar=0.8, alpha=0.05 / 4)
    assert by_truth[0.9].meets == exact.meets
    total = by_truth[0.9].total
    assert total is not None
    assert settled_chances(total, 0.9, bar=0.8, alpha=0.05 / 4).meets >= 0.8
    said = f"one that is 0.90 in {exact.meets:.0%}: {total - 120} more cases would make that 80 %".replace("%:", " %:")
    assert (
        "With 120 cases a rung that is truly 0.95 is shown to meet 0.80 in over 99 % of the tries" in found.summary[1]
    )
    assert said in found.summary[1]
    assert found.how == "exact"


def test_meeting_is_as_good_as_never_shown_of_a_rung_at_the_bar() -> None:
    at_bar = next(outlook for outlook in power(300).outlooks if outlook.truth == 0.8)
    assert at_bar.meets <= 0.05 / 4
    assert at_bar.falls_short <= 0.05 / 4
    assert at_bar.total is None


def test_twelve_cases_get_honest_words() -> None:
    found = power(12)
    assert all(outlook.meets == 0 for outlook in found.outlooks)
    assert "no result of these cases shows that a rung meets the bar" in found.summary[1]
    flawless = power(12, 0.5)
    assert [outlook.meets for outlook in flawless.outlooks][-1] == 1.0
    assert flawless.summary[1] == "Fewer than 20 cases show nothing but a flawless record."


def test_one_source_shows_nothing() -> None:
    found = power(60, sources=1)
    assert all(outlook.meets == outlook.falls_short == 0 for outlook in found.outlooks)
    assert "at least 8 independent sources, and there is one" in found.summary[1]
    assert len(found.summary) == 2


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for a few more cases only: what is tried out takes its time."""
    monkeypatch.setattr("luthier.decide._power_tries.MOST_TIMES", 2.0)


@pytest.mark.usefixtures("brief")
def test_few_sources_bind_more_than_many_cases() -> None:
    found = power(64, sources=16)
    assert found.unit == "sources"
    best = found.outlooks[-1]
    assert best.truth == 1.0
    assert best.meets == 0.0  # 0.8 ** 16 is more than the error budget, however many cases each source has
    assert best.total is not None
    assert 20 <= best.total <= 22  # 0.8 ** 21 is not
    assert "more independent sources would make that 80 %" in found.summary[1]
    assert "correlation of 0.2" in " ".join(found.assumed)


def test_a_bar_of_1_and_a_bar_of_0() -> None:
    found = power(60, 1.0)
    assert all(outlook.meets == 0 and outlook.total is None for outlook in found.outlooks)
    assert found.summary[1].startswith("No number of cases can show a mean score of 1")
    with pytest.raises(EvidenceError, match="a bar of 0 is met by any answer"):
        power(60, 0.0)
    with pytest.raises(EvidenceError, match="no test cases"):
        power_of(Rules(0.8, 0.03, 0.05, None), [], binary=True, rungs=RUNGS)


def test_without_a_bar_it_is_about_being_no_worse_than_the_best() -> None:
    found = power(120, None)
    assert found.outlooks == ()
    pair = next(pair for pair in found.pairs if pair.discordant == 0.2)
    assert pair.not_worse is not None
    assert pair.not_worse < 0.1
    assert pair.not_worse_total == pytest.approx(0.2 * (2.2414 + 0.8416) ** 2 / 0.03**2, rel=0.05)
    assert f"{pair.not_worse_total - 120:,} more cases" in found.summary[1]


@pytest.mark.usefixtures("brief")
def test_grades_show_more_than_pass_or_fail() -> None:
    graded, binary = power(60, binary=False), power(60)
    assert graded.how.startswith("300 tries")
    for a, b in zip(graded.outlooks, binary.outlooks, strict=True):
        assert a.meets >= b.meets - 0.08
    assert sum(a.meets for a in graded.outlooks) > sum(b.meets for b in binary.outlooks)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(900)]
    rows = [{"prompt": " ".join(rng.sample(words, 12)), "completion": "ab"[i % 2]} for i in range(200)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    text = "task: t\ngoal: Answer.\nexamples: rows.jsonl\nscore: {kind: label}\nbar: 0.8\nbase: no-such-model\n"
    (tmp_path / "luthier.yaml").write_text(text, "utf-8")
    return tmp_path


def test_no_model_is_needed_and_all_ways_to_ask_say_the_same(task: Path) -> None:
    found = Project(task).power()
    assert found.rungs == ("prompt", "constrained", "few-shot", "few-shot nearest", "fine-tune")
    run = CliRunner().invoke(main, ["decide", "--power", "--json", "-C", str(task)])
    assert run.exit_code == 0, run.output
    assert json.loads(run.output)["power"] == json.loads(json.dumps(found.as_dict()))
    text = CliRunner().invoke(main, ["decide", "--power", "-C", str(task)]).output
    for sentence in found.summary:
        assert sentence in text


def test_power_stands_alone_on_the_command_line(task: Path) -> None:
    run = CliRunner().invoke(main, ["decide", "--power", "--replay", "-C", str(task)])
    assert run.exit_code == 2
    assert "stands alone" in run.output


def test_a_hosted_base_is_planned_without_training(task: Path) -> None:
    file = task / "luthier.yaml"
    file.write_text(file.read_text().replace("no-such-model", "http://127.0.0.1:9/v1#m"), "utf-8")
    assert "fine-tune" not in Project(task).power().rungs


def judge(n: int, labels: int = 30, bar: float | None = 0.8, *, binary: bool = True) -> Judged:
    return Judged(Rules(bar, 0.03, 0.05, None), tuple(f"s{i}" for i in range(n)), 1, binary, labels)


def test_with_a_judge_it_is_labels_that_are_short() -> None:
    groups = [f"s{i}" for i in range(200)]
    found = power_of(Rules(0.8, 0.03, 0.05, None), groups, binary=True, rungs=("prompt",), labels=30)
    assert (found.unit, found.have, found.labels) == ("labels", 30, 30)
    above = next(outlook for outlook in found.outlooks if outlook.truth == 0.9)
    more = judge(200, 120).outlook(0.9)
    alone = settled_chances(200, 0.9, bar=0.8, alpha=0.05)
    assert above.meets < more.meets <= alone.meets + 0.05
    assert above.total is not None and 30 < above.total <= 200
    assert judge(200, above.total).outlook(0.9).meets >= 0.8 - 0.08  # searched with 100 tries
    assert f"{above.total - 30:,} more labels of each rung would make that 80 %" in found.summary[1]
    assert any("J = 0.7" in line for line in found.assumed)
    good, usual, weak = found.judges
    assert (good.j, usual.j, weak.j) == (0.9, 0.7, 0.5) and good.truth == 0.9
    assert good.meets > weak.meets  # a better judge needs fewer labels
    assert good.total is not None and (weak.total is None or good.total < weak.total)
    assert f"J = 0.9 in {good.meets:.0%}".replace("%", " %") in found.summary[-1]


def test_a_rung_at_the_bar_is_not_adopted_with_any_judge() -> None:
    for labels in (30, 100):
        at_bar = judge(150, labels).outlook(0.8)
        assert at_bar.meets <= 0.05 + 0.03 and at_bar.total is None  # 300 tries: standard error 0.013


def test_with_a_label_for_every_answer_no_judge_is_needed() -> None:
    assert len({outlook.meets for outlook in judge(60, 60).judges()}) == 1
    few = judge(20, 20)
    assert few.outlook(1.0).total is None  # a rung takes 30 labels


def test_grades_of_a_judge_and_no_bar() -> None:
    few, all_of_them = (judge(80, labels, None, binary=False).pair(0.1) for labels in (30, 80))
    assert few.detectable is None and all_of_them.detectable == pytest.approx(0.075, abs=0.015)
    assert few.not_worse is not None and all_of_them.not_worse is not None
    assert few.not_worse < all_of_them.not_worse < 0.5 and few.totals["0.05"] is None and few.totals["0.1"] == 50
    assert judge(80, 60, None).judges() == ()
