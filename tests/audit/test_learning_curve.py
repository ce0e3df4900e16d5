"""The learning curve: its subsets, its fit, and how often its band holds what it should."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from luthier.api import Project
from luthier.api._curves import learn_curve
from luthier.audit import Point, fit_curve, nested_subsets
from luthier.audit._forms import FORMS, fit
from luthier.decide import Bench, forecast_curve, measure_curve
from luthier.errors import EvidenceError
from luthier.models import Answer, Request, ScriptedModel

SIZES = (100, 200, 400, 600, 800)

# error as a function of the number of rows
TRUTHS = {
    "power": lambda n: 0.05 + 2 * n**-0.5,
    "slow power": lambda n: 0.15 + n**-0.35,
    "steep": lambda n: min(1, 0.02 + 60 * n**-1.1),
    "logarithm": lambda n: 1.1 - 0.1 * np.log(n),
    "hill": lambda n: 0.1 + 0.8 / (1 + (n / 300) ** 1.5),
    "plateau": lambda n: 0.2 + 0.6 * np.exp(-n / 150),
    "flat": lambda n: 0.3,
    "perfect": lambda n: 0.004,
}


def measured(truth, size, difficulty, rng):
    """0 or 1 for each case: some cases are harder than others, and every subset is a little better or worse."""
    p = np.clip(1 - truth(float(size)) + 0.015 * rng.normal(), 0.002, 0.998)
    chances = 1 / (1 + np.exp(-(1.6 * np.log(p / (1 - p)) + difficulty)))
    return tuple((rng.random(len(difficulty)) < chances).astype(float))


def simulated(truth, cases, rng):
    """Points up to 800 rows, and the score that is measured on the same cases with 2,000."""
    difficulty = 1.5 * rng.normal(size=cases)
    points = [
        Point(size, repeat, measured(truth, size, difficulty, rng))
        for size in SIZES
        for repeat in range(3 if size < SIZES[-1] else 1)
    ]
    return points, float(np.mean(measured(truth, 2000, difficulty, rng)))


@pytest.mark.parametrize("cases", [48, 200])
def test_the_band_holds_the_score_with_more_rows(cases):
    rng = np.random.default_rng(0)
    held = {}
    for name, truth in TRUTHS.items():
        inside = 0
        for seed in range(12):
            points, score = simulated(truth, cases, rng)
            [at] = [e for e in fit_curve(points, seed=seed).expected if e.size == 2000]
            inside += at.low - 1e-9 <= score <= at.high + 1e-9
        held[name] = inside / 12
    assert np.mean(list(held.values())) >= 0.8, held
    assert min(held.values()) >= 0.5, held  # no kind of curve is missed as a rule


def points_of(scores, cases=400):
    """Points whose mean is the score, the cases in one order."""
    return [
        Point(size, repeat, tuple(float(i < round(cases * score)) for i in range(cases)))
        for size, score in zip(SIZES, scores, strict=True)
        for repeat in range(3)
    ]


def test_what_grows_helps_and_what_does_not_grow_does_not():
    grows = fit_curve(points_of([0.3, 0.4, 0.5, 0.56, 0.6]), bar=0.65)
    assert grows.kind == "more helps" and grows.sentence.startswith("800 more examples would bring the score from 0.60")
    assert grows.reach > 0.8 and 800 < grows.needed[0] <= grows.needed[1] <= 3200
    flat = fit_curve(points_of([0.6, 0.61, 0.6, 0.6, 0.6]), bar=0.7)
    assert flat.kind == "more of the same will not help" and flat.kind in flat.sentence
    assert flat.needed is None and flat.reach < 0.1 and "with probability 0.0" in flat.sentence
    assert fit_curve(points_of([0.6, 0.61, 0.6, 0.6, 0.6])).reach is None


def test_few_noisy_cases_leave_it_unknown():
    rng = np.random.default_rng(1)
    points, _ = simulated(TRUTHS["slow power"], 16, rng)
    found = fit_curve(points)
    assert found.kind == "unknown" and "collect twice as many, then fit again" in found.sentence
    assert max(e.size for e in found.expected) == 4 * SIZES[-1]  # no further


def test_other_cases_are_less_certain_than_these():
    points, _ = simulated(TRUTHS["power"], 48, np.random.default_rng(2))
    for expected in fit_curve(points).expected:
        assert expected.others_high - expected.others_low > expected.high - expected.low


def test_the_fit_finds_each_form_again():
    sizes = np.array(SIZES, dtype=float)
    shown = {
        "power": 0.1 + 0.3 * (sizes / 800) ** -0.5,
        "exponential": 0.2 + 0.5 * np.exp(-sizes / 200),
        "logarithm": 0.5 - 0.1 * np.log(sizes / 800),
        "constant": np.full(5, 0.3),
    }
    for form, errors in shown.items():
        found = fit(sizes, errors[None], np.full(5, 1e-4))
        place = FORMS.index(form)
        assert found.curves(sizes)[0, place] == pytest.approx(errors, abs=0.01), form
        assert found.weights[0, place] > 0.1 and found.weights.sum() == pytest.approx(1)


def test_a_curve_needs_four_sizes():
    with pytest.raises(ValueError, match="3 sizes are too few"):
        fit_curve([point for point in points_of([0.3] * 5) if point.size > 200])


def test_subsets_are_nested_within_a_repeat():
    subsets = nested_subsets(83, seed=3, repeat_all=False)
    assert sorted({s.size for s in subsets}) == [10, 21, 42, 62, 83]
    assert len(subsets) == 3 * 4 + 1  # all rows are one subset
    for repeat in range(3):
        chain = [set(s.rows) for s in subsets if s.repeat == repeat]
        assert all(small < large for small, large in pairwise(chain))
    assert len({s.rows for s in subsets}) == 13
    assert subsets == nested_subsets(83, seed=3, repeat_all=False) != nested_subsets(83, seed=4, repeat_all=False)
    assert len(nested_subsets(83, seed=3, repeat_all=True)) == 15


class Copying(ScriptedModel):
    """Answers what the last demonstration answers."""

    def __init__(self) -> None:
        super().__init__({"*": ""})
        self.asked = 0

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        for place, request in enumerate(requests):
            self.asked += 1
            said = [m.content for m in request.messages if m.role == "assistant"]
            yield place, Answer(said[-1] if said else "", 10, 1, 0.01, "stop")


def bench(folder, base, rows=240) -> Bench:
    """Each of 40 words has a label of its own: whoever shows an example with the word knows the answer."""
    rng = np.random.default_rng(0)
    drawn = [{"prompt": f"word{rng.integers(30)} said with number {place}", "completion": ""} for place in range(rows)]
    for row in drawn:
        row["completion"] = f"label{row['prompt'].split()[0][4:]}"
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in drawn), "utf-8")
    (folder / "answers.json").write_text('{"*": "x"}', "utf-8")
    task = {"task": "words", "goal": "Say the label.", "examples": "examples.jsonl", "score": {"kind": "exact"}}
    task |= {"base": f"scripted:{folder}/answers.json", "decide": {"development_cases": 30}, "bar": 0.9}
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return replace(Project(folder)._bench(), base=base)


def test_a_curve_is_measured_once_and_goes_on_where_it_stopped(tmp_path):
    base = Copying()
    at = bench(tmp_path, base)
    work = forecast_curve(at, "few-shot")
    assert (work.points, work.missing) == (13, 13)
    assert base.asked == 8  # to time them; they are kept
    points = measure_curve(at, "few-shot")
    asked = base.asked
    assert asked == 8 + work.answers < 13 * 30  # prompts that are the same are asked once
    by_size = {size: np.mean([p.mean for p in points if p.size == size]) for size in sorted({p.size for p in points})}
    assert list(by_size) == [21, 42, 84, 126, 168] and by_size[21] < by_size[168]
    assert measure_curve(at, "few-shot") == points and base.asked == asked
    again = forecast_curve(at, "few-shot")
    assert (again.missing, again.answers, again.seconds) == (0, 0, 0.0)
    changed = replace(at, task=at.task.model_copy(update={"instructions": "Say it in a word."}))
    assert forecast_curve(changed, "few-shot").missing == 13


def test_the_curve_is_kept_and_says_what_it_takes_first(tmp_path):
    at = bench(tmp_path, Copying())
    told = []
    found = learn_curve(at, "few-shot", told.append)
    assert told[0].answers > 0
    assert json.loads(json.dumps(at.store.get_document("curve", "few-shot")))["sentence"] == found.sentence
    assert found.cases == 30 and found.measured[0].repeats == 3 and found.measured[-1].repeats == 1


def test_too_few_rows_are_refused_before_anything_is_asked(tmp_path):
    base = Copying()
    with pytest.raises(EvidenceError, match=r"\d+ training rows are too few"):
        learn_curve(bench(tmp_path, base, rows=20), "few-shot", lambda _: None)
    assert base.asked == 0


@pytest.mark.parametrize("kind", ["text", "json"])
def test_the_command_prints_or_gives_json(tmp_path, kind):
    from click.testing import CliRunner

    from luthier.cli.check import command

    bench(tmp_path, Copying())
    done = CliRunner().invoke(command, ["-C", str(tmp_path), "--curve", *(["--json"] if kind == "json" else [])])
    assert done.exit_code == 0, done.output
    if kind == "json":
        found = json.loads(done.stdout)
        assert found["method"] == "few-shot" and found["kind"] == "more of the same will not help"  # always "x"
        assert found["work"]["points"] == 13
    else:
        assert "more of the same will not help" in done.stdout and "13 points, 0 known" in done.stderr


def test_the_figure_shows_points_and_band(tmp_path):
    from luthier.web._figures import learning_curve

    drawn = learning_curve(fit_curve(points_of([0.3, 0.4, 0.5, 0.56, 0.6]), bar=0.7).as_dict())
    assert "bar 0.7" in drawn and "1,600" in drawn and drawn.startswith("<svg")
