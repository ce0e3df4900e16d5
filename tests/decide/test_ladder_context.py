"""A base with a short context: what does not fit is left out and said to be, the rest is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.api import Project
from luthier.decide import Bench, Climb, climb, decide, planned_rungs, rules_of
from luthier.decide._ladder import _ladder_hash
from luthier.errors import ModelError, TooLongError
from luthier.models import Answer, Request, ScriptedModel


class Short(ScriptedModel):
    """Says "paid" to everything that has at most `limit` words, and remembers the sizes of its batches."""

    def __init__(self, limit: int) -> None:
        super().__init__({"*": "paid"})
        self.limit = limit
        self.batches: list[int] = []

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        self.batches.append(len(requests))
        longest = max(self.count_tokens(request.messages) for request in requests)
        if longest > self.limit:
            raise TooLongError(f"a request has {longest} words, this model takes {self.limit}", fix="shorten it")
        return super().answer(requests)


def bench(folder: Path, base: ScriptedModel) -> Bench:
    rows = [{"prompt": f"invoice {i} of mine", "completion": "paid" if i % 2 else "due"} for i in range(120)]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    task = {
        "task": "invoices",
        "goal": "Say whether it is paid.",
        "examples": "examples.jsonl",
        "score": {"kind": "exact"},
        "bar": 0.9,
        "base": f"scripted:{folder}/answers.json",
        "decide": {"methods": ["prompt", "few-shot"], "development_cases": 12},
    }
    (folder / "answers.json").write_text('{"*": "paid"}', "utf-8")
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    return replace(Project(folder)._bench(), base=base)


def test_a_tracker_makes_no_new_ladder(tmp_path):
    plain = bench(tmp_path, Short(1000))
    watched, slower = (
        replace(plain, task=plain.task.model_copy(update={"train": plain.task.train.model_copy(update=changed)}))
        for changed in ({"track": "tensorboard"}, {"learning_rate": 1e-5})
    )
    hashes = [_ladder_hash(each, planned_rungs(each)) for each in (plain, watched, slower)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_variants_are_asked_together(tmp_path):
    base = Short(1000)
    found = climb(bench(tmp_path, base), Climb())
    [few_shot] = [rung for rung in found.evidence.rungs if rung.rung == "few-shot"]
    assert [row["cases"] for row in few_shot.choices["development"]] == [4, 4, 4, 12, 12]
    assert 3 * 4 in base.batches and 2 * 8 in base.batches  # a batch a round; the first round's answers are kept


def test_a_variant_that_does_not_fit_is_dropped(tmp_path):
    found = climb(bench(tmp_path, Short(45)), Climb())
    [few_shot] = [rung for rung in found.evidence.rungs if rung.rung == "few-shot"]
    assert not few_shot.skipped and few_shot.choices["chosen"].startswith("4 fixed")
    [dropped] = [row for row in few_shot.choices["development"] if row["score"] is None]
    assert dropped["candidate"].startswith("8 fixed") and "this model takes 45" in dropped["dropped"]


def test_a_rung_that_does_not_fit_is_left_out_and_the_verdict_says_so(tmp_path):
    at = bench(tmp_path, Short(15))
    found = climb(at, Climb())
    prompt, few_shot = found.evidence.rungs
    assert prompt.scores and not few_shot.scores
    assert "no variant of few-shot fits" in few_shot.skipped
    verdict = decide(rules_of(at.task), found.evidence)
    assert any("not run: few-shot (no variant of few-shot fits" in reason for reason in verdict.reasons)


def test_nothing_fits(tmp_path):
    with pytest.raises(TooLongError, match="no variant of prompt fits"):
        climb(bench(tmp_path, Short(3)), Climb())


def test_a_price_sheet_that_cannot_be_used_is_refused_before_anything_is_spent(tmp_path):
    at = bench(tmp_path, base := Short(1000))
    (tmp_path / "prices.yaml").write_text("{date: 2026-01-31, source: s, upkeep: {retune_hours: -1}}")
    at = replace(at, task=at.task.model_copy(update={"prices": tmp_path / "prices.yaml"}))
    with pytest.raises(ModelError, match="is not a price sheet"):
        climb(at, Climb())
    assert base.batches == []
    assert at.store.open_test(at.split.hash, "another ladder") == 1  # the test cases were not opened
