"""The search by GEPA: what it finds is kept only if better, it asks no more than it may, and nothing twice."""

from __future__ import annotations

import importlib.util
import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.api import Project
from luthier.api._planning import plan
from luthier.decide import Bench, Climb, climb, planned_rungs
from luthier.decide._choose import Candidate, Prepared
from luthier.decide._contest import Contest
from luthier.decide._gepa import PART, Adapter, _Enough, feedback
from luthier.decide._ladder import _ladder_hash
from luthier.decide._rungs import few_shot, plain_system, prompt
from luthier.errors import BudgetError, EndpointError, SpecError, TooLongError
from luthier.evaluate import Record, make_scorer
from luthier.models import Answer, Request, ScriptedModel
from luthier.spec import JsonScore

WORDS = {"refund": "money repay credit", "parcel": "courier lost late", "invoice": "bill tax receipt"}
ASKED = "I provided an assistant with the following instructions"
Knows = Callable[[Request], bool]
Writes = Callable[[int, str], str]


def label_of(text: str) -> str:
    return next(label for label, words in WORDS.items() if any(word in text for word in words.split()))


class Base(ScriptedModel):
    """Gets a case right where `knows` says so; writes by `writes`; `stops` raises before the n-th answer."""

    def __init__(self, knows: Knows, writes: Writes | None = None, identity: str | None = None) -> None:
        super().__init__(self._said, identity=identity or f"base {random.random()}")
        self.knows, self.writes = knows, writes
        self.asked: list[Request] = []
        self.questions: list[str] = []
        self.stops: Callable[[int, Request], None] = lambda number, request: None

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        for index, request in enumerate(requests):
            self.stops(len(self.asked), request)
            self.asked.append(request)
            [(_, answer)] = super().answer([request])
            yield index, answer

    def _said(self, request: Request) -> str:
        if is_question(request):
            assert self.writes is not None
            self.questions.append(request.messages[-1].content)
            return self.writes(len(self.questions), self.questions[-1])
        return label_of(request.messages[-1].content) if self.knows(request) else "none of them"


def is_question(request: Request) -> bool:
    return request.messages[-1].content.startswith(ASKED)


def fenced(text: str) -> str:
    return f"Here they are:\n```\n{text}\n```"


def told(word: str) -> Knows:
    return lambda request: word in request.messages[0].content


def bench_of(folder: Path, base: ScriptedModel, optimise: int = 300, **decide: Any) -> Bench:
    rng = random.Random(0)
    rows = []
    for i in range(240):
        label = list(WORDS)[i % 3]
        rows.append({"prompt": f"message {i}: {rng.choice(WORDS[label].split())}", "completion": label})
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "answers.json").write_text('{"*": "x"}', "utf-8")
    task = {"task": "t", "goal": "Sort.", "examples": "examples.jsonl", "score": {"kind": "label"}, "bar": 0.9}
    task |= {"base": f"scripted:{folder}/answers.json", "split": {"train": 0.6, "development": 0.2, "test": 0.2}}
    task["decide"] = {"optimise": optimise, "development_cases": 36, "methods": ["prompt"], "search": "gepa"} | decide
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return replace(Project(folder)._bench(), base=base)


def tried(found: Prepared) -> dict[str, Any]:
    result: dict[str, Any] = found.choices["optimised"]
    return result


def test_a_rewriting_that_helps_is_found_kept_and_shown(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n, asked: fenced(f"Follow the RULE {n}" if n > 3 else f"Sort well, {n}"))
    found = prompt(bench_of(tmp_path, base))
    assert found.system.setup.instructions == "Follow the RULE 4"
    assert tried(found)["kept"] == found.choices["chosen"] == "rewritten by GEPA, 4"
    assert tried(found)["search"].startswith("gepa 0.1.") and tried(found)["asked"] <= 300
    rows = {row["candidate"]: row for row in tried(found)["candidates"] if "judged" not in row}
    assert list(rows) == ["the plain one", *(f"rewritten by GEPA, {n}" for n in range(1, 5))]
    assert [row["cases"] for row in rows.values()] == [
        12,
        3,
        3,
        3,
        12,
    ]  # no further where the first three are no better
    assert rows["rewritten by GEPA, 4"]["score"] == 1 and rows["rewritten by GEPA, 1"]["instructions"] == "Sort well, 1"
    assert rows["rewritten by GEPA, 4"]["made"] == "rewritten from the plain one"
    [judged] = [row for row in tried(found)["candidates"] if "judged" in row]
    assert judged["difference"] == 1.0 and judged["cases"] == 24


def test_rewriting_goes_on_from_what_was_better(tmp_path: Path) -> None:
    """Each RULE makes another label right, and only what holds one RULE is given the next."""

    def knows(request: Request) -> bool:
        place = list(WORDS).index(label_of(request.messages[-1].content))
        return f"RULE {place}" in request.messages[0].content

    def writes(number: int, asked: str) -> str:
        present = asked.split("```")[1].strip()
        have = [place for place in range(3) if f"RULE {place}" in present]
        return fenced(f"{present} RULE {len(have)}" if len(have) < 3 else present)

    found = prompt(bench_of(tmp_path, Base(knows, writes), optimise=400))
    assert all(f"RULE {place}" in found.system.setup.instructions for place in range(3))
    made = {row["made"] for row in tried(found)["candidates"] if row.get("made")}
    assert any(text.startswith("rewritten from rewritten by GEPA") for text in made)


def test_what_is_no_better_is_not_kept(tmp_path: Path) -> None:
    base = Base(lambda request: "Sort badly" not in request.messages[0].content and "bill" in str(request.messages))
    base.writes = lambda n, asked: fenced(f"Sort badly, {n}")
    bench = bench_of(tmp_path, base)
    found = prompt(bench)
    assert base.questions and "badly" not in found.system.setup.instructions and tried(found)["kept"] is None
    assert tried(found)["note"] == "no candidate did better than the plain one on the cases it was made from"


def test_what_only_helps_on_the_cases_it_was_made_from_is_not_kept(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Base(told("")))
    seen = {case.messages[-1].content for case in bench.development[:12]}

    def knows(request: Request) -> bool:
        return "RULE" in request.messages[0].content and request.messages[-1].content in seen

    found = prompt(replace(bench, base=Base(knows, lambda n, asked: fenced(f"RULE {n}"))))
    assert "RULE" not in found.system.setup.instructions and tried(found)["kept"] is None
    assert tried(found)["note"].startswith("none kept: on 24 cases that it was not made from")


@pytest.mark.parametrize("allowed", [120, 121, 133, 150, 300])
@pytest.mark.parametrize("kind", ["better", "worse", "mixed"])
def test_no_more_is_asked_than_allowed_and_test_cases_never(tmp_path: Path, allowed: int, kind: str) -> None:
    def knows(request: Request) -> bool:
        helped = {"better": "Try" in request.messages[0].content, "worse": False, "mixed": True}[kind]
        return helped and random.Random(str(request.messages)).random() < 0.6

    base = Base(knows, lambda n, asked: fenced(f"Try {n}"))
    bench = bench_of(tmp_path, base, optimise=allowed)
    without = bench.task.decide.model_copy(update={"optimise": 0, "search": "built-in"})
    prompt(replace(bench, task=bench.task.model_copy(update={"decide": without})))
    before = len(base.asked)
    first = prompt(bench)
    assert 0 < len(base.asked) - before <= tried(first)["asked"] <= allowed
    assert base.questions
    shown = str([request.messages for request in base.asked])
    assert not any(case.messages[-1].content in shown for case in bench.test)


def test_known_answers_do_not_make_a_second_run_another_one(tmp_path: Path) -> None:
    def knows(request: Request) -> bool:
        return random.Random(str(request.messages)).random() < 0.5

    base = Base(knows, lambda n, asked: fenced(f"Try {random.Random(asked).random()}"))
    bench = bench_of(tmp_path, base)
    first, asked = prompt(bench), len(base.asked)
    assert len(base.questions) > 3
    assert prompt(bench).choices == first.choices and len(base.asked) == asked


@pytest.mark.parametrize("by_writer", [True, False])
def test_the_budget_stops_it_and_a_later_run_goes_on(tmp_path: Path, by_writer: bool) -> None:
    def knows(request: Request) -> bool:
        return "RULE 3" in request.messages[0].content or random.Random(str(request.messages)).random() < 0.4

    def writes(number: int, asked: str) -> str:
        present = asked.split("```")[1]
        return fenced(f"RULE {1 + int(present.split('RULE ')[1][0])}" if "RULE " in present else "RULE 1")

    def run(folder: str, stops: Callable[[int, Request], None] | None = None) -> tuple[Base, dict[str, Any]]:
        (tmp_path / folder).mkdir(exist_ok=True)
        base = Base(knows, writes, "the same base")
        base.stops = stops or base.stops
        return base, prompt(bench_of(tmp_path / folder, base)).choices

    straight, expected = run("straight")
    at = next(i for i, request in enumerate(straight.asked) if is_question(request)) + 6

    def stops(number: int, request: Request) -> None:
        if number >= at and (is_question(request) or not by_writer):
            raise BudgetError("enough of it", fix="raise it")

    first, stopped = run("stopped", stops)
    assert stopped["optimised"]["note"] == "stopped: enough of it" and stopped["optimised"]["kept"] is None
    assert len(first.asked) >= at and len(stopped["optimised"]["candidates"]) >= 2
    second, found = run("stopped")
    assert found == expected and len(first.asked) + len(second.asked) == len(straight.asked)


def test_a_failing_writer_is_not_passed_over(tmp_path: Path) -> None:
    class Failing(ScriptedModel):
        error: Exception = EndpointError("it is down", fix="wait")
        times = 0

        def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
            self.times += 1
            raise self.error

    for number, error in enumerate((EndpointError("it is down", fix="wait"), ZeroDivisionError("a slip"))):
        writer = Failing({"*": "x"}, name=f"writer {number}")
        writer.error = error
        bench = replace(bench_of(tmp_path, Base(told("RULE"))), optimiser=writer)
        with pytest.raises(type(error)):
            prompt(bench)
        assert writer.times == 1
    writer = Failing({"*": "x"}, name="small")
    writer.error = TooLongError("the question is too long", fix="another")
    found = prompt(replace(bench_of(tmp_path, Base(told("RULE"))), optimiser=writer))
    assert tried(found)["note"] == "no more was written: the question is too long" and writer.times == 1


def test_the_named_optimiser_writes_and_the_base_does_not(tmp_path: Path) -> None:
    base, writer = Base(told("RULE")), ScriptedModel({"*": fenced("The RULE")}, name="writer")
    found = prompt(replace(bench_of(tmp_path, base), optimiser=writer))
    assert found.system.setup.instructions == "The RULE" and not base.questions


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("the RULE", "the RULE"),
        ('"the RULE"', "the RULE"),
        ("```\nthe RULE", "the RULE"),
        ("the RULE\n```", "the RULE"),
        ("```markdown\nthe RULE\n```\nI hope that helps.", "the RULE"),
    ],
)
def test_instructions_are_read_from_any_form(tmp_path: Path, answer: str, text: str) -> None:
    found = prompt(bench_of(tmp_path, Base(told("RULE"), lambda n, asked: answer)))
    assert found.system.setup.instructions == text


@pytest.mark.parametrize("answer", ["", "  \n", "``````", "```\n```", '""', "the RULE and " * 600])
def test_answers_that_are_empty_or_cut_off_are_left_out_and_end_the_search(tmp_path: Path, answer: str) -> None:
    base = Base(told("RULE"), lambda n, asked: answer)
    found = prompt(bench_of(tmp_path, base))
    assert tried(found)["kept"] is None and [row["cases"] for row in tried(found)["candidates"]] == [12]
    assert len(base.questions) == 10 and tried(found)["note"] == "10 rewritings in a row brought nothing new"


def test_garbage_is_a_candidate_like_others_and_is_not_kept(tmp_path: Path) -> None:
    garbage = ["I cannot do that.", "```", "{}", "``` ``` ```\n\n```", "\x00\ud7ff ☃", "<curr_param> <side_info>"]
    base = Base(told("RULE"), lambda n, asked: garbage[n % len(garbage)])
    found = prompt(bench_of(tmp_path, base))
    assert tried(found)["kept"] is None and 10 < len(base.questions) < 20


def test_the_same_text_again_and_again_ends_the_search(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n, asked: fenced("Sort well."))
    found = prompt(bench_of(tmp_path, base, optimise=1000))
    assert len(base.questions) == 11 and "brought nothing new" in tried(found)["note"]


def test_where_nothing_fails_nothing_is_written(tmp_path: Path) -> None:
    base = Base(lambda request: True, lambda n, asked: fenced("x"))
    found = prompt(bench_of(tmp_path, base))
    assert not base.questions and tried(found)["kept"] is None
    assert tried(found)["note"] == "the best instructions fail at none of the cases to learn from"


def test_instructions_that_are_too_long_for_the_base_are_dropped(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n, asked: fenced(f"the RULE is long, {n}" if n < 4 else "the RULE"))

    def stops(number: int, request: Request) -> None:
        if "long" in request.messages[0].content and not is_question(request):
            raise TooLongError("it does not fit", fix="shorten it")

    base.stops = stops
    found = prompt(bench_of(tmp_path, base))
    dropped = [row for row in tried(found)["candidates"] if "dropped" in row]
    assert found.system.setup.instructions == "the RULE" and len(dropped) == 3
    assert all(row["score"] is None and row["dropped"] == "it does not fit" for row in dropped)


def test_instructions_that_do_not_fit_some_case_are_dropped_whichever_it_is(tmp_path: Path) -> None:
    for place in (0, 20):  # of the cases that it is made from, and of those that it is judged on
        base = Base(told("RULE"), lambda n, asked: fenced(f"the RULE, {n}"))
        (tmp_path / str(place)).mkdir()
        bench = bench_of(tmp_path / str(place), base)
        longest = bench.development[place].messages[-1].content

        def stops(number: int, request: Request, longest: str = longest) -> None:
            if "RULE" in request.messages[0].content and longest == request.messages[-1].content:
                raise TooLongError("it does not fit", fix="shorten it")

        base.stops = stops
        found = prompt(bench)
        rows = [row for row in tried(found)["candidates"] if "dropped" in row]
        assert "RULE" not in found.system.setup.instructions and tried(found)["kept"] is None
        assert {row["cases"] for row in rows} & ({12} if place == 0 else {0})
    assert tried(found)["note"] == "none kept: with the best the other cases do not fit the model"


def test_a_round_begins_only_where_it_can_be_paid_for_and_may_bring_something(tmp_path: Path) -> None:
    def adapter_with(asked: int) -> Adapter:
        contest = Contest(bench, plain, 200, "instructions")
        contest.enter([Candidate("the plain one", plain.system)], "")
        contest.asked = asked
        return Adapter(contest)

    bench = bench_of(tmp_path, Base(told("RULE")), optimise=200)
    plain = Prepared(plain_system(bench, "prompt", "Sort."), {"chosen": "x"})
    enough = 200 - 3 * 24 - (1 + 12)
    assert not adapter_with(enough).is_over(None) and adapter_with(enough + 1).is_over(None)
    idle = adapter_with(enough)
    assert [idle.is_over(None) for _ in range(121)] == [False] * 120 + [True]


def test_the_seed_of_the_split_draws_the_cases(tmp_path: Path) -> None:
    def questions(seed: int) -> list[str]:
        base = Base(told("RULE"), lambda n, asked: fenced(f"Try {n}"))
        other = replace(bench, base=base, split=replace(bench.split, seed=seed))
        vars(other)["development"] = bench.development  # its order depends on the seed too
        prompt(other)
        return base.questions

    bench = bench_of(tmp_path, Base(told("")))
    assert questions(0) == questions(0) != questions(1)


def test_more_than_is_left_is_refused_whatever_the_search_would_do(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n, asked: fenced("Try it."))
    bench = bench_of(tmp_path, base, optimise=200)
    contest = Contest(bench, Prepared(plain_system(bench, "prompt", "Sort."), {"chosen": "x"}), 200, "instructions")
    adapter = Adapter(contest)
    first = list(contest.first)
    known = adapter.evaluate(first, {PART: "Sort."})
    assert contest.asked == 0 and len(known.scores) == 12 and known.trajectories is not None
    notes = adapter.make_reflective_dataset({PART: "Sort."}, known, [PART])
    assert adapter.rewritten({PART: "Sort."}, notes, [PART]) == {PART: "Try it."} and contest.asked == 1
    contest.asked = 200 - 3 * len(contest.rest) - 2
    with pytest.raises(_Enough):
        adapter.evaluate(first[:3], {PART: "Try it."})
    adapter.evaluate([first[0], first[1], first[0]], {PART: "Try it."})
    assert contest.left == 0
    asked = len(base.asked)
    assert adapter.rewritten({PART: "Sort."}, notes, [PART]) == {} and len(base.asked) == asked


def test_the_writer_reads_inputs_answers_and_what_the_scorer_notes(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n, asked: fenced("the RULE"))
    bench = bench_of(tmp_path, base)
    prompt(bench)
    case = bench.development[0]
    asked = next(text for text in base.questions if "message" in text)
    assert asked.count("## Inputs") == 3 and asked.count("none of them") >= 3
    assert "The wanted answer: " in asked and "is not one of the labels: " in asked
    scorer = make_scorer(JsonScore(kind="json"), ())
    record = Record(case.id, '{"a": ', 0.0, scorer.score('{"a": ', '{"a": 1}').details, 1, 0, 1, 0.0, "length")
    wanted = replace(case, output='{"a": 1}')
    said = feedback(wanted, record, scorer)
    assert "valid 0.00" in said and "It was cut off" in said and "Its form is wrong: " in said and '{"a": 1}' in said
    assert feedback(wanted, replace(record, score=1.0), scorer) == "This answer is right."


def test_nothing_is_printed_and_no_file_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    bench = bench_of(tmp_path / "task", Base(told("RULE"), lambda n, asked: fenced("the RULE")))
    before = sorted(tmp_path.rglob("*"))
    with caplog.at_level(logging.INFO):
        assert tried(prompt(bench))["kept"]
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and ".luthier" not in path.parts] == []


def test_progress_is_shown(tmp_path: Path) -> None:
    shown: list[tuple[str, int, int, str]] = []
    bench = bench_of(tmp_path, Base(told("RULE"), lambda n, asked: fenced("the RULE")))
    prompt(replace(bench, progress=lambda *what: shown.append(what)))
    steps = [what for what in shown if what[3] == "rewritten by GEPA, 1"]
    assert len(steps) == 2 and all(stage == "optimising instructions" and of == 300 for stage, _, of, _ in steps)


def test_demonstrations_are_drawn_as_before(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n, asked: fenced("the RULE"))
    bench = bench_of(tmp_path, base, optimise=800, methods=["prompt", "few-shot"])
    found = few_shot(bench, plain_system(bench, "prompt", "Sort."))
    assert not base.questions and "search" not in tried(found)
    assert {row["made"] for row in tried(found)["candidates"] if row.get("made")} >= {"drawn"}


def test_without_its_package_it_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Base(told("RULE"), lambda n, asked: fenced("the RULE"))
    bench = bench_of(tmp_path, base)
    find = importlib.util.find_spec
    monkeypatch.setattr("luthier.decide._optimise.find_spec", lambda name: None if name == "gepa" else find(name))
    for start in (lambda: climb(bench, Climb()), lambda: plan(bench)):
        with pytest.raises(SpecError) as error:
            start()
        assert "pip install 'luthier[gepa]'" in error.value.fix and not base.asked
    built_in = bench.task.decide.model_copy(update={"search": "built-in"})
    climb(replace(bench, task=bench.task.model_copy(update={"decide": built_in}), base=Base(told(""))), Climb())


@pytest.mark.parametrize(
    ("decide", "said"),
    [
        ({"optimise": 0}, "search has nothing to do while optimise is 0: say how many answers it may ask for"),
        ({"search": "gepal"}, "did you mean `gepa`?"),
        ({"optimiser": "gepa"}, "gepa is no model but a way to search: write `search: gepa`"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(tmp_path: Path, decide: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as error:
        bench_of(tmp_path, Base(told("")), **decide)
    assert said in str(error.value.problems)


def test_another_search_is_another_ladder(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Base(told("")))
    built_in = bench.task.decide.model_copy(update={"search": "built-in"})
    other = replace(bench, task=bench.task.model_copy(update={"decide": built_in}))
    assert _ladder_hash(bench, planned_rungs(bench)) != _ladder_hash(other, planned_rungs(other))


def test_a_plan_counts_the_same_as_may_be_asked_and_says_that_instructions_are_long(tmp_path: Path) -> None:
    def planned(**decide: Any) -> tuple[int, str]:
        found = plan(bench_of(tmp_path, ScriptedModel({"*": "refund"}), **decide))
        return int(found.steps[0].amount.split()[0]), "\n".join(found.notes)

    plain, searched = planned(optimise=0, search="built-in"), planned(optimise=300)
    assert searched[0] == plain[0] + 300 and planned(optimise=300, search="built-in")[0] == searched[0]
    assert "are instructions, up to 1,024 tokens each, by scripted: they take longer" in searched[1]
    assert "are instructions" not in plain[1]
