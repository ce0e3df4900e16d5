"""Retrieval at its best, and told apart from its reader: searches are chosen by what they find, readers by answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.api import Project
from luthier.data import Example, Message, Source, content_hash
from luthier.decide import Bench, Climb, Lookup, Setup, System, climb, decide, rules_of
from luthier.decide import _passages as passages
from luthier.decide import _system as systems
from luthier.decide._open_book import open_book_rows
from luthier.decide._passages import stands_in
from luthier.decide._rungs import plain_system, retrieval, variant_count
from luthier.decide._tuning import tuned
from luthier.errors import ReleaseError
from luthier.models import Constraint, Request, ScriptedModel, load_folder
from luthier.retrieve import Hit, Index, IndexItem, build_index

PARTS = [
    f"{a}{b}" for a in ("red", "blue", "green", "grey", "black") for b in "wheel bolt plate valve hose lamp".split()
]
BINS = {part: f"Q-{1000 + 37 * i}" for i, part in enumerate(PARTS)}


def question(part: str) -> str:
    return f"Which bin holds the {part}?"


def asked(request: Request) -> tuple[str, str]:
    """Passages and question of the last turn."""
    *found, last = request.messages[-1].content.split("\n\n")
    return "\n\n".join(found), last


def bench_of(folder: Path, say: Callable[[Request], str], **task: Any) -> Bench:
    rows = [{"prompt": question(part), "completion": where} for part, where in BINS.items()]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "docs").mkdir()
    for part, where in BINS.items():
        text = f"About the {part}.\n\nIn our store the {part} lies in bin {where}, as everybody knows."
        (folder / "docs" / f"{part}.md").write_text(text, "utf-8")
    (folder / "answers.json").write_text('{"*": "x"}', "utf-8")
    settings = {"task": "t", "goal": "Answer.", "examples": "examples.jsonl", "documents": "docs"}
    settings |= {"score": {"kind": "contains"}, "base": f"scripted:{folder}/answers.json", "bar": 0.9}
    settings |= {"split": {"train": 0.4, "development": 0.2, "test": 0.4}} | task
    (folder / "luthier.yaml").write_text(json.dumps(settings), "utf-8")
    return replace(Project(folder)._bench(), base=ScriptedModel(say, identity="said"))


def reader(request: Request) -> str:
    found, last = asked(request)
    part = last.removeprefix("Which bin holds the ").rstrip("?")
    return BINS[part] if BINS[part] in found else "none known"


def only_q(request: Request) -> str:
    return "Q" if asked(request)[0] else "no"


METHODS = {"methods": ["prompt", "retrieval"]}


def test_a_reader_that_uses_what_is_found_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    for name, say, used in (("good", reader, "100%"), ("bad", only_q, "0%")):
        (tmp_path / name).mkdir()
        bench = bench_of(tmp_path / name, say, decide=METHODS)
        found = climb(bench, Climb())
        counts = found.evidence.knowledge["passages"]["retrieval"]
        assert counts["held"] == counts["retrieved"] == counts["cases"] == len(found.records["retrieval"])
        assert counts["used"] == sum(record.score == 1 for record in found.records["retrieval"])
        line = f"the passage with the answer was retrieved in 100% of {counts['cases']} cases"
        assert (
            f"retrieval: {line}; the reader used it in {used} of these"
            in decide(rules_of(bench.task), found.evidence).reasons
        )
        [rung] = [rung for rung in found.evidence.rungs if rung.rung == "retrieval"]
        assert rung.choices["retrieved"] == {"cases": len(bench.development), "retrieved": len(bench.development)}


def test_an_index_that_does_not_find_the_answer_is_told(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, reader)
    system = retrieval(bench, plain_system(bench, "prompt", "Answer.")).system
    other = Lookup(1, "lexical", None, system.setup.passages.index)
    blind = replace(system, setup=replace(system.setup, passages=other), document_index=_Blind(system.document_index))
    counts = passages.read(blind, bench.test, [], 1.0)
    assert counts["held"] == len(bench.test) and counts["retrieved"] == 0
    assert counts["words"] == f"the passage with the answer was retrieved in 0% of {len(bench.test)} cases"


class _Blind:
    """Finds the same item for every query: one that holds nothing."""

    def __init__(self, index: Index) -> None:
        self.items = index.items

    def search(self, query: str, k: int, *, mode: str) -> list[Hit]:
        return [Hit("k", "nothing to see here", 1.0)] * k


def test_nothing_is_said_where_answers_do_not_stand_in_the_documents(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, reader)
    labels = [replace(case, output="not in any document") for case in bench.split.train]
    bench = replace(bench, split=replace(bench.split, train=tuple(labels)))
    prepared = retrieval(bench, plain_system(bench, "prompt", "Answer."))
    assert "searches" not in prepared.choices and prepared.system.setup.passages.mode == "hybrid"
    assert not any("nearest" in row["candidate"] for row in prepared.choices["development"])
    wordless = [replace(case, output="?!") for case in bench.test]
    assert passages.read(prepared.system, wordless, [], 1.0) is None


def test_the_search_that_finds_more_is_taken_and_the_cheaper_one_of_equals(tmp_path: Path, monkeypatch) -> None:
    bench = bench_of(tmp_path, reader)
    index = bench.documents(700)
    rows = passages.asked_of_documents(bench, index)
    assert len(rows) == len(bench.split.train)
    finds = {"hybrid": 0.5, "scores": 0.5, "sentences": 1.0}

    def fake(index, query, lookup, reranker):
        place = [question(part) for part in BINS].index(query)
        where = list(BINS.values())[place] if place % 10 < 10 * finds[lookup.mode] else ""
        return [Hit("k", f"in bin {where}.", 1.0)]

    monkeypatch.setattr(passages, "looked_up", fake)
    lookup, table = passages.best_search(bench, index, 1, rows)
    assert lookup.mode == "sentences" and table[0]["search"] == "hybrid"
    assert table[2]["recall"] == 1.0 > table[0]["recall"] == table[1]["recall"]
    finds["sentences"] = 0.5
    assert passages.best_search(bench, index, 1, rows)[0].mode == "hybrid"
    assert passages.best_search(bench, index, 1, [])[0] == replace(lookup, mode="hybrid")


def test_nearest_demonstrations_show_their_passages(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, reader)
    system = plain_system(bench, "retrieval", "Answer.")
    index = bench.documents(700)
    near = Lookup(2, "hybrid", "minilm", bench.demonstrations.identity)
    setup = replace(system.setup, passages=replace(near, k=1, index=index.identity), nearest=near)
    system = replace(
        system, setup=setup, document_index=index, demonstration_index=bench.demonstrations, pool=bench.pool
    )
    case = bench.test[0]
    turns = [m.content for m in system.request(case.messages).messages if m.role == "user"]
    answers = [m.content for m in system.request(case.messages).messages if m.role == "assistant"]
    assert len(turns) == 3 and len(answers) == 2
    for turn, answer in zip(turns, [*answers, case.output], strict=True):
        assert answer in turn and turn.split("\n\n")[-1].startswith("Which bin")
    assert setup.format == 2 and Setup.from_dict(json.loads(json.dumps(setup.as_dict()))) == setup
    assert (
        variant_count("retrieval", bench)
        == len(retrieval(bench, plain_system(bench, "prompt", "x")).choices["development"]) - 3
    )  # of five candidates three go on to all cases


class Longest:
    """A reranker that likes long texts."""

    name, identity = "longest", "id of longest"

    def scores(self, query, texts):
        return np.array([len(text) for text in texts], float)


def test_a_reranker_orders_what_was_found_and_is_checked_when_a_system_is_loaded(tmp_path: Path, monkeypatch) -> None:
    items = [IndexItem("a", "fox"), IndexItem("b", "fox and hen"), IndexItem("c", "owl and hen and more of it")]
    index = build_index(items, tmp_path / "index", embedder=None)
    model = ScriptedModel({"*": "x"})
    lookup = Lookup(2, "lexical", None, index.identity, reranker="longest", reranking="id of longest")
    setup = Setup("retrieval", "scripted", model.identity, "Answer.", 8, passages=lookup)
    system = System(setup, model, document_index=index, reranker=Longest())
    assert system.passages("fox") == ["fox and hen", "fox"]
    system.save(tmp_path / "saved")
    monkeypatch.setattr(systems, "load_reranker", lambda name: Longest())

    def load() -> System:
        return System.load(tmp_path / "saved", lambda *_: model, lambda place, _: Index.open(place, None))

    again = load()
    assert again.identity == system.identity and again.passages("fox") == system.passages("fox")
    monkeypatch.setattr(Longest, "identity", "another")
    with pytest.raises(ReleaseError, match="the reranker longest is not the one"):
        load()


DEMO = Example((Message("user", "Where is it?"),), "shipping", group="g", source=Source("f.jsonl", 3))
GIVEN = {"base": "b", "base_identity": "bi", "instructions": "Answer.", "max_tokens": 16}
OLD = {  # as version 1 of the format gave them
    "4dc9e242f6efed9b1cbde489674f8dc428b33959345aa2d5f78d47d093293b83": Setup(method="prompt", **GIVEN),
    "81f4320c2714b7d6607e9e33774d8992e99bcfb1afb576f9686e31afc7db18be": Setup(
        method="constrained", constraint=Constraint(("a", "b"), None), **GIVEN
    ),
    "238576726853f143ce0d817f44d6a322f5238bbb6e0d3f29c720575c90b6de81": Setup(
        method="few-shot", demonstrations=(DEMO,), **GIVEN
    ),
    "030497699838827fadb566debd1d0edcaca0b0b59e45e3a7b412821757a9e30f": Setup(
        method="few-shot nearest", nearest=Lookup(4, "hybrid", "minilm", "i1"), **GIVEN
    ),
    "d3491a8ab163aed11e5d9ab6d38460cd74b89543cab148542b535b661c49442e": Setup(
        method="retrieval", passages=Lookup(1, "hybrid", "minilm", "i2"), demonstrations=(DEMO,), **GIVEN
    ),
    "5859b9466791a50b9d7d2e073e1b3aa635a8d7cb6dbad5fb0917cd3c7bb3f8e2": Setup(
        method="fine-tune", adapter="h", scale=0.75, **GIVEN
    ),
}


@pytest.mark.parametrize("identity", OLD)
def test_systems_of_the_first_format_keep_their_identity_and_are_still_read(identity: str) -> None:
    setup = OLD[identity]
    assert content_hash(setup.as_dict()) == identity and setup.as_dict()["format"] == 1
    assert content_hash(Setup.from_dict(json.loads(json.dumps(setup.as_dict()))).as_dict()) == identity


def test_a_system_of_a_format_to_come_is_refused() -> None:
    [first, *_] = OLD.values()
    with pytest.raises(ReleaseError, match="this system has format 9"):
        Setup.from_dict(first.as_dict() | {"format": 9})


# rows to train a reader on ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of(tmp_path_factory.mktemp("open"), reader, split={"train": 0.8, "development": 0.1, "test": 0.1})


def system_of(bench: Bench, k: int) -> System:
    index = bench.documents(700)
    plain = plain_system(bench, "fine-tune + retrieval", "Answer.")
    lookup = Lookup(k, "hybrid", "minilm", index.identity)
    return replace(plain, setup=replace(plain.setup, passages=lookup), document_index=index)


def holds(row) -> bool:
    return stands_in(row.output, [row.messages[-1].content])


@pytest.mark.parametrize("k", [1, 3])
def test_a_share_of_the_rows_loses_the_passage_and_keeps_as_many(stock: Bench, k: int) -> None:
    bench = stock
    system = system_of(bench, k)
    rows, counts = open_book_rows(bench, system, without=0.5)
    assert counts["rows"] == len(rows) == len(bench.split.train) == counts["found"] + counts["taken_out"]
    assert 0.2 * len(rows) <= counts["taken_out"] <= 0.8 * len(rows)
    assert sum(not holds(row) for row in rows) == counts["taken_out"]
    assert all(row.messages[-1].content.count("In our store") == k for row in rows)
    assert [row.output for row in rows] == [example.output for example in bench.split.train]


def test_without_a_share_the_rows_are_what_is_served(stock: Bench) -> None:
    bench = stock
    system = system_of(bench, 3)
    rows, counts = open_book_rows(bench, system, without=0.0)
    assert counts["found"] == len(rows) and counts["taken_out"] == 0
    assert [row.messages for row in rows] == [system.request(e.messages).messages for e in bench.split.train]


def test_the_same_bench_gives_the_same_rows_and_another_seed_others(stock: Bench) -> None:
    bench = stock
    system = system_of(bench, 1)
    one, two = open_book_rows(bench, system), open_book_rows(bench, system)
    other = open_book_rows(replace(bench, split=replace(bench.split, seed=bench.split.seed + 1)), system)
    assert one == two and one[0] != other[0]
    assert 0 < one[1]["taken_out"] < len(one[0]) / 2


def test_a_passage_that_the_search_missed_is_put_among_the_others(stock: Bench, monkeypatch) -> None:
    bench = stock
    system = system_of(bench, 3)
    first = next(iter(BINS))

    def misses(index, query, lookup, reranker, *, k=None):
        hits = index.search(query, 12, mode=lookup.mode)
        return [
            hit for hit in hits if first in hit.text or not any(part in query for part in BINS if part in hit.text)
        ][: k or lookup.k]

    monkeypatch.setattr("luthier.decide._system.looked_up", misses)
    monkeypatch.setattr("luthier.decide._open_book.looked_up", misses)
    rows, counts = open_book_rows(bench, system)
    assert counts["put_in"] >= len(rows) - 1 and counts["missing"] == 0
    assert sum(holds(row) for row in rows) >= counts["put_in"]
    assert all(row.messages[-1].content.count("In our store") == 3 for row in rows)
    places = {
        [
            stands_in(row.output, [text]) for text in row.messages[-1].content.split("\n\n") if "In our store" in text
        ].index(True)
        for row in rows
        if holds(row)
    }
    assert places == {0, 1, 2}


def test_where_answers_stand_in_no_document_rows_are_as_they_are_looked_up(stock: Bench) -> None:
    bench = stock
    labels = tuple(replace(example, output=f"label {i % 3}") for i, example in enumerate(bench.split.train))
    bench = replace(bench, split=replace(bench.split, train=labels))
    system = system_of(bench, 1)
    rows, counts = open_book_rows(bench, system, without=0.5)
    assert counts == {"rows": len(labels)}
    assert [row.messages for row in rows] == [system.request(e.messages).messages for e in labels]


def test_what_the_rows_showed_stands_in_the_choices_and_serving_looks_up(tmp_path: Path, tiny_model_folder) -> None:
    train = {"epochs": 1, "batch_size": 8}
    more = {"split": {"train": 0.8, "development": 0.1, "test": 0.1}, "max_answer_tokens": 4, "train": train}
    bench = bench_of(tmp_path, reader, decide={"development_cases": 4}, **more)
    bench = replace(bench, base=load_folder(tiny_model_folder, name="tiny"))
    prepared = tuned(bench, system_of(bench, 1))
    counts = prepared.choices["passages"]
    assert counts["rows"] == len(bench.split.train) == counts["found"] + counts["taken_out"] and counts["taken_out"]
    assert counts == open_book_rows(bench, system_of(bench, 1))[1]
    for case in bench.development:
        assert stands_in(case.output, [prepared.system.request(case.messages).messages[-1].content])
    assert prepared.system.setup.format == 1 and prepared.system.setup.adapter is not None
