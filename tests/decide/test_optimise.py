"""Better instructions and demonstrations: searched for within a budget, on development cases, kept only if better."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.api import Project
from luthier.api._planning import plan
from luthier.data import content_hash
from luthier.decide import Bench, Climb, climb, optimiser_answers, planned_rungs
from luthier.decide._ladder import _ladder_hash
from luthier.decide._propose import by_label, cleaned
from luthier.decide._rungs import constrained, few_shot, prompt
from luthier.errors import BudgetError, SpecError, TooLongError
from luthier.models import Answer, Request, ScriptedModel

WORDS = {"refund": "money repay credit", "parcel": "courier lost late", "invoice": "bill tax receipt"}
ASKED = "You improve the instructions"


def label_of(text: str) -> str:
    return next(label for label, words in WORDS.items() if any(word in text for word in words.split()))


class Base(ScriptedModel):
    """Gets a case right where `knows` says so; writes instructions by `writes`; remembers what it was asked."""

    def __init__(self, knows: Callable[[Request], bool], writes: Callable[[int], str] | None = None) -> None:
        super().__init__(self._said, identity=f"base {random.random()}")
        self.knows, self.writes = knows, writes
        self.asked: list[Request] = []
        self.proposals = 0

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        self.asked += requests
        return super().answer(requests)

    def _said(self, request: Request) -> str:
        if request.messages[-1].content.startswith(ASKED):
            assert self.writes is not None
            self.proposals += 1
            return self.writes(self.proposals)
        return label_of(request.messages[-1].content) if self.knows(request) else "none of them"


def bench_of(folder: Path, base: ScriptedModel, optimise: int, **decide: Any) -> Bench:
    rng = random.Random(0)
    rows = []
    for i in range(240):
        label = list(WORDS)[i % 3]
        rows.append({"prompt": f"message {i}: {rng.choice(WORDS[label].split())}", "completion": label})
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "answers.json").write_text('{"*": "x"}', "utf-8")
    task = {"task": "t", "goal": "Sort.", "examples": "examples.jsonl", "score": {"kind": "label"}, "bar": 0.9}
    task |= {"base": f"scripted:{folder}/answers.json", "split": {"train": 0.6, "development": 0.2, "test": 0.2}}
    task |= {"decide": {"optimise": optimise, "development_cases": 36, "methods": ["prompt", "few-shot"]} | decide}
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return replace(Project(folder)._bench(), base=base)


def told(word: str) -> Callable[[Request], bool]:
    return lambda request: word in request.messages[0].content


def test_without_a_budget_nothing_changes(tmp_path: Path) -> None:
    base = Base(told("never"))
    found = prompt(bench_of(tmp_path, base, 0))
    assert "optimised" not in found.choices and base.proposals == 0
    assert found.choices["chosen"] in ("as given", "with the format", "goal with the format")


def test_a_rewriting_that_helps_is_kept_and_shown_with_all_that_was_tried(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n: f'"Follow the RULE {n}"' if n > 4 else f"Sort well, {n}")
    bench = bench_of(tmp_path, base, 1000)
    found = prompt(bench)
    tried = found.choices["optimised"]
    assert found.system.setup.instructions.startswith("Follow the RULE") and tried["kept"] == found.choices["chosen"]
    assert tried["kept"].startswith("rewritten, round 2")
    rewritten = [row for row in tried["candidates"] if row["candidate"].startswith("rewritten") and "judged" not in row]
    assert len(rewritten) == base.proposals and all(row["instructions"] for row in rewritten)
    [kept] = [row for row in tried["candidates"] if row.get("judged") and row["candidate"] == tried["kept"]]
    assert kept["difference"] == 1.0 and kept["cases"] == 24
    assert few_shot(bench, found.system).system.setup.instructions == found.system.setup.instructions


def test_what_only_helps_on_the_cases_it_was_made_from_is_not_kept(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Base(told("")), 1000)
    seen = {case.messages[-1].content for case in bench.development[:12]}

    def knows(request: Request) -> bool:
        return "RULE" in request.messages[0].content and request.messages[-1].content in seen

    bench = replace(bench, base=(base := Base(knows, lambda n: f"RULE {n}")))
    found = prompt(bench)
    assert base.proposals and "RULE" not in found.system.setup.instructions
    assert found.choices["optimised"]["kept"] is None
    assert found.choices["optimised"]["note"].startswith("none kept: on 24 cases that it was not made from")


@pytest.mark.parametrize("allowed", [250, 330, 1000])
def test_no_more_is_asked_than_allowed_and_test_cases_never(tmp_path: Path, allowed: int) -> None:
    base = Base(told("RULE"), lambda n: f"Sort well, {n}")
    bench = bench_of(tmp_path, base, allowed)
    plain_bench = replace(
        bench, task=bench.task.model_copy(update={"decide": bench.task.decide.model_copy(update={"optimise": 0})})
    )
    few_shot(plain_bench, prompt(plain_bench).system)
    before = len(base.asked)
    first = prompt(bench)
    second = few_shot(bench, first.system)
    spent = first.choices["optimised"]["asked"] + second.choices["optimised"]["asked"]
    assert 0 < len(base.asked) - before <= spent <= allowed
    assert optimiser_answers("prompt", bench) + optimiser_answers("few-shot", bench) == allowed
    test = {case.messages[-1].content for case in bench.test}
    assert not test & {request.messages[-1].content for request in base.asked}
    again = len(base.asked)
    assert prompt(bench).choices == first.choices and len(base.asked) == again  # all answers are kept


def test_a_budget_that_is_too_small_is_said_and_nothing_is_asked(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n: "RULE")
    found = prompt(bench_of(tmp_path, base, 60))
    assert base.proposals == 0 and found.choices["optimised"]["asked"] == 0
    assert found.choices["optimised"]["note"] == "30 answers are too few: 120 are the least (decide.optimise)"


def test_a_better_set_of_demonstrations_is_kept(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Base(lambda request: True), 800)
    plain = prompt(replace(bench, base=Base(lambda request: False, lambda n: ""))).system
    lucky = bench.split.train[0].messages[-1].content

    def lucky_one(request: Request) -> bool:
        return any(m.content == lucky for m in request.messages[:-1])

    bench = replace(bench, base=Base(lucky_one))
    found = few_shot(bench, replace(plain, model=bench.base))
    shown = [e.messages[-1].content for e in found.system.setup.demonstrations]
    tried = found.choices["optimised"]
    sets = [row for row in tried["candidates"] if "judged" not in row]
    assert len(sets) > 6 and (lucky in shown) == any(row["score"] == 1 for row in sets + found.choices["development"])


def test_labels_are_told_by_their_most_typical_input(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, Base(told("")), 1000)
    lines = by_label(bench, "Sort.").split("\n")
    assert lines[:3] == ["Sort.", "", "A typical input of each label:"] and len(lines) == 6
    train = {e.messages[-1].content: e.output for e in bench.split.train}
    for line in lines[3:]:
        label, text = line.removeprefix("- ").split(": ", 1)
        assert train[text] == label
    found = prompt(replace(bench, base=Base(told("A typical input of each label"), lambda n: "")))
    assert found.choices["optimised"]["kept"] == "with an input of each label"


def test_the_named_optimiser_writes_and_the_base_does_not(tmp_path: Path) -> None:
    base, writer = Base(told("RULE")), ScriptedModel({"*": "```\nThe RULE\n```"}, name="writer")
    found = prompt(replace(bench_of(tmp_path, base, 1000), optimiser=writer))
    assert found.system.setup.instructions == "The RULE" and base.proposals == 0
    (tmp_path / "luthier.yaml").write_text(
        (tmp_path / "luthier.yaml").read_text().replace('"optimise": 1000', '"optimiser": "scripted:answers.json"')
    )
    with pytest.raises(SpecError) as error:
        Project(tmp_path)
    assert "say how many answers it may ask for" in str(error.value.problems)


def test_a_writer_that_may_not_be_asked_or_cannot_read_leaves_the_rung_as_it_was(tmp_path: Path) -> None:
    class Stopped(ScriptedModel):
        error: type[BudgetError | TooLongError] = BudgetError

        def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
            raise self.error("enough of it", fix="raise it")

    for kind, said in ((BudgetError, "stopped: enough of it"), (TooLongError, "no more was written: enough of it")):
        writer = Stopped({"*": "x"}, name=kind.__name__)
        writer.error = kind
        bench = replace(bench_of(tmp_path, Base(told("RULE")), 1000), optimiser=writer)
        found = prompt(bench)
        assert found.choices["optimised"]["note"] == said and found.choices["optimised"]["kept"] is None


def test_constrained_answers_try_the_instructions_that_were_found(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n: "RULE")
    bench = bench_of(tmp_path, base, 1000, methods=["prompt", "constrained"])
    found = climb(bench, Climb(everything=True))
    assert {r.choices["chosen"][:9] for r in found.evidence.rungs} == {"rewritten", "as found "}
    assert optimiser_answers("prompt", bench) == 1000 and optimiser_answers("few-shot", bench) == 0
    assert "as found" not in str(constrained(bench).choices)


def test_a_ladder_without_the_search_keeps_its_hash(tmp_path: Path) -> None:
    plain = bench_of(tmp_path, Base(told("")), 0)
    task = plain.task
    as_before = content_hash(
        [
            ["prompt", "few-shot"],
            plain.base.identity,
            sorted(e.id for e in plain.split.train),
            task.instructions,
            task.bar,
            plain.score_hash,
            task.train.model_dump(mode="json", exclude={"micro_batch_tokens", "track", "seeds", "prompt"}),
            {"embedding": "minilm"},
        ]
    )
    assert _ladder_hash(plain, planned_rungs(plain)) == as_before
    other = task.decide.model_copy(update={"optimise": 100})
    searched = replace(plain, task=task.model_copy(update={"decide": other}))
    assert _ladder_hash(searched, planned_rungs(searched)) != as_before


def test_a_rewriting_that_has_no_end_is_left_out(tmp_path: Path) -> None:
    base = Base(told("RULE"), lambda n: "the RULE and " * 300)
    found = prompt(bench_of(tmp_path, base, 1000))
    assert base.proposals and found.choices["optimised"]["kept"] is None
    assert not any("instructions" in row for row in found.choices["optimised"]["candidates"])


def test_what_a_model_puts_around_instructions_is_taken_off() -> None:
    assert Counter(map(cleaned, ["```text\nDo it.\n```", '"Do it."', " Do it.\n"])) == {"Do it.": 3}


def test_a_plan_counts_what_the_search_and_the_votes_may_ask(tmp_path: Path) -> None:
    def amounts(optimise: int, **decide: Any) -> dict[str, int]:
        steps = plan(bench_of(tmp_path, ScriptedModel({"*": "refund"}), optimise, **decide)).steps
        return {step.name: int(step.amount.split()[0]) for step in steps}

    methods = ["prompt", "few-shot", "self-consistency"]
    plain, more = (amounts(n, methods=methods, votes=7) for n in (0, 501))
    assert more["measure prompt"] == plain["measure prompt"] + 251
    assert more["measure few-shot"] == plain["measure few-shot"] + 250
    assert more["measure self-consistency"] == plain["measure self-consistency"]
    assert plain["measure self-consistency"] % 7 == 0 and plain["measure self-consistency"] > plain["measure few-shot"]
