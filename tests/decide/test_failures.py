"""Why cases fail: one small task for each cause, with a scripted base that reads its prompt."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from luthier.api import Project
from luthier.data import Message
from luthier.decide import Bench, Climb, Evidence, Failures, Rules, climb, decide, plain_system
from luthier.decide._evidence import EVIDENCE_FORMAT
from luthier.decide._rungs import CHUNK_CHARS
from luthier.decide._system import Lookup, System
from luthier.decide.failures import _run as run
from luthier.decide.failures import cause_lines, remedy_lines
from luthier.decide.failures._form import mended
from luthier.errors import BudgetError, ScorerError, StoreError, TooLongError
from luthier.evaluate import Record, measure
from luthier.evaluate._scorers_json import JsonScorer
from luthier.evaluate._scorers_text import AnswerScorer, ExactScorer, LabelScorer
from luthier.models import Answer, Request, ScriptedModel
from luthier.retrieve import build_index

Row = tuple[str, str]
BINS = [
    f"{a}{b}" for a in ("red", "blue", "green", "grey", "black") for b in ("wheel", "bolt", "plate", "valve", "hose")
]
LABELS = ("refund", "parcel", "invoice")
SAID = {
    "refund": "money back repay return overcharged credit cancelled".split(),
    "parcel": "package sent courier delivery lost late track".split(),
    "invoice": "bill amount tax receipt total printed due".split(),
}
COMMON = "please my the order again from yesterday hello with was for and this of it".split()


def bench_of(
    folder: Path, train: Sequence[Row], test: Sequence[Row], say: Callable[[Request], str], **task: Any
) -> Bench:
    for name, rows in (("train", train), ("test", test)):
        lines = [json.dumps({"prompt": prompt, "completion": wanted}) for prompt, wanted in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "answers.json").write_text('{"*": "x"}', "utf-8")
    settings = {"task": "t", "goal": "Answer.", "examples": "train.jsonl", "test_examples": "test.jsonl"}
    settings |= {"score": {"kind": "exact"}, "base": f"scripted:{folder}/answers.json"} | task
    (folder / "luthier.yaml").write_text(json.dumps(settings), "utf-8")
    return replace(Project(folder)._bench(), base=ScriptedModel(say, identity="said"))


def diagnosed(bench: Bench, systems: Mapping[str, System], *, ask: bool = True) -> Failures:
    records = {name: measure(system, bench.test, bench.scorer, bench.store) for name, system in systems.items()}
    found = run.diagnose_failures(bench, systems, records, ask=ask)
    assert found is not None and sum(cluster.count for cluster in found.clusters) == found.examined
    return found


def only(found: Failures) -> tuple[str, str]:
    [kind] = {(cluster.cause, cluster.detail) for cluster in found.clusters}
    return kind


# facts ------------------------------------------------------------------------------------------------------------


def question(part: str) -> str:
    return f"Which bin holds the {part}?"


FACTS = {question(part): f"Q-{1000 + 37 * i}" for i, part in enumerate(BINS)}


def reader(request: Request) -> str:
    """Says the fact where the passage in its prompt holds it."""
    *passages, asked = request.messages[-1].content.split("\n\n")
    return FACTS[asked] if FACTS[asked] in " ".join(passages) else "none known"


def store_room(
    folder: Path, say: Callable[[Request], str], *, wanted: Mapping[str, str] = FACTS, gone: str = ""
) -> Bench:
    """Questions on bins; each bin has a document, but for the one that is gone."""
    (folder / "documents").mkdir()
    for part in BINS:
        if part != gone:
            text = f"Store room, shelf of the {part}. The bin that holds the {part} is {FACTS[question(part)]}."
            (folder / "documents" / f"{part}.txt").write_text(text, "utf-8")
    train = [(f"Which bin holds the spare part {i}?", f"Q-{5000 + 13 * i}") for i in range(60)]
    return bench_of(folder, train, list(wanted.items()), say, documents="documents")


def systems_of(bench: Bench, folder: Path, without: str = "", k: int = 1) -> dict[str, System]:
    """Closed-book, and with passages from an index that lacks a document."""
    items = [item for item in bench.documents(CHUNK_CHARS[0]).items if not item.key.startswith(f"{without}.")]
    index = build_index(items, folder / "index", embedder=None)
    plain = plain_system(bench, "prompt", "Answer.")
    setup = replace(plain.setup, method="retrieval", passages=Lookup(k, "lexical", None, index.identity))
    return {"prompt": plain, "retrieval": replace(plain, setup=setup, document_index=index)}


def test_a_fact_that_no_document_holds(tmp_path: Path) -> None:
    bench = store_room(tmp_path, reader, gone="redbolt")
    found = diagnosed(bench, systems_of(bench, tmp_path))
    assert (found.rung, found.failed, only(found)) == ("retrieval", 1, ("fact missing", "in no document"))
    assert found.clusters[0].samples[0].input == question("redbolt")
    assert "Q-1037" in found.clusters[0].samples[0].why
    [remedy] = remedy_lines(found)
    assert remedy.startswith("100 % of the failures lack a fact that no document holds: write it down")


def test_a_fact_that_was_not_found(tmp_path: Path) -> None:
    bench = store_room(tmp_path, reader)
    found = diagnosed(bench, systems_of(bench, tmp_path, without="redbolt"))
    assert found.failed == 1 and only(found)[0] == "not retrieved"
    assert found.probes >= 1  # the base was shown the passage, and used it


def test_a_fact_that_was_found_and_not_used(tmp_path: Path) -> None:
    def crowded(request: Request) -> str:
        several = request.messages[-1].content.count("\n\n") > 1
        return "none known" if several and "redbolt?" in request.messages[-1].content else reader(request)

    bench = store_room(tmp_path, crowded)
    found = diagnosed(bench, systems_of(bench, tmp_path, k=3))
    assert found.failed == 1 and only(found)[0] == "fact not used"


def test_a_fact_that_does_not_help_is_beyond_the_base(tmp_path: Path) -> None:
    def deaf(request: Request) -> str:
        return "none known" if "redbolt?" in request.messages[-1].content else reader(request)

    bench = store_room(tmp_path, deaf)
    found = diagnosed(bench, systems_of(bench, tmp_path))
    assert found.failed == 1 and only(found) == ("beyond this base", "also with the fact given")


def test_a_reference_that_the_documents_contradict(tmp_path: Path) -> None:
    bench = store_room(tmp_path, reader, wanted=FACTS | {question("redbolt"): "Q-9999"})
    found = diagnosed(bench, systems_of(bench, tmp_path))
    assert found.failed == 1 and only(found)[0] == "wrong reference"
    assert "'Q-1037'" in found.clusters[0].samples[0].why and not found.probes


def test_without_documents_facts_are_missing(tmp_path: Path) -> None:
    train = [(f"Which bin holds the spare part {i}?", f"Q-{5000 + 13 * i}") for i in range(60)]
    bench = bench_of(tmp_path, train, list(FACTS.items()), lambda request: "none known")
    found = diagnosed(bench, {"prompt": plain_system(bench, "prompt", "Answer.")})
    assert found.failed == len(FACTS) and only(found) == ("fact missing", "no documents are given")
    assert "name the file: documents: in luthier.yaml" in remedy_lines(found)[0]


# behaviour --------------------------------------------------------------------------------------------------------


def messages(count: int, kind: str) -> list[Row]:
    """Messages of words of their label among common ones."""
    rng = random.Random(kind)
    rows = []
    for _ in range(count):
        for label in LABELS:
            some = rng.sample(SAID[label], 3) + rng.sample(COMMON, 5)
            rng.shuffle(some)
            rows.append((" ".join(some), label))
    return rows


TESTED = messages(10, "test")


def sorter(request: Request) -> str:
    asked = request.messages[-1].content.split()
    return next(label for label in LABELS if any(word in asked for word in SAID[label]))


def labels(folder: Path, say: Callable[[Request], str], wrong: Mapping[str, str] | None = None, **task: Any) -> Bench:
    test = [(prompt, (wrong or {}).get(prompt, wanted)) for prompt, wanted in TESTED]
    return bench_of(folder, messages(60, "train"), test, say, **{"score": {"kind": "label"}} | task)


def shown(bench: Bench) -> dict[str, System]:
    plain = plain_system(bench, "prompt", "Sort it.")
    few = replace(plain, setup=replace(plain.setup, method="few-shot", demonstrations=tuple(bench.split.train[:2])))
    return {"prompt": plain, "few-shot": few}


def test_a_label_in_a_sentence_breaks_only_the_form(tmp_path: Path) -> None:
    def wordy(request: Request) -> str:
        label = sorter(request)
        return f"I would call this one: {label}, surely" if label == "refund" else label

    found = diagnosed(
        labels(tmp_path, wordy, max_answer_tokens=20), shown(labels(tmp_path, wordy, max_answer_tokens=20))
    )
    assert found.failed == 10 and only(found) == ("format", "words around the answer") and not found.probes
    [cluster] = found.clusters
    assert cluster.name == "wanted 'refund', answered 'i would call this one: refund, surely'"
    assert (cluster.share, len(cluster.samples)) == (1.0, 3) and 0.6 < cluster.low < 0.8


def test_labels_that_look_wrong(tmp_path: Path) -> None:
    wrong = {TESTED[i][0]: "invoice" for i in (1, 4)}
    bench = labels(tmp_path, sorter, wrong)
    found = diagnosed(bench, shown(bench))
    assert found.failed == 2 and only(found)[0] == "wrong reference"
    assert "labelled 'invoice', reads like rows of 'parcel'" in found.clusters[0].samples[0].why


def test_another_rung_that_gets_it_is_named(tmp_path: Path) -> None:
    def unlike(request: Request) -> str:
        """Demonstrations help with refunds, and confuse twice about parcels."""
        label, many = sorter(request), len(request.messages) > 2
        hard = label == "refund" if not many else request.messages[-1].content in (TESTED[1][0], TESTED[4][0])
        return "invoice" if hard else label

    bench = labels(tmp_path, unlike)
    found = diagnosed(bench, shown(bench))
    assert (found.rung, found.failed, only(found)) == ("few-shot", 2, ("another rung helps", "prompt"))


def test_demonstrations_that_would_help(tmp_path: Path) -> None:
    def imitator(request: Request) -> str:
        label = sorter(request)
        seen = any(m.content == label for m in request.messages if m.role == "assistant")
        return label if label != "refund" or seen else "invoice"

    bench = labels(tmp_path, imitator)
    plain = {"prompt": plain_system(bench, "prompt", "Sort it.")}
    found = diagnosed(bench, plain)
    assert found.failed == 10 and only(found) == ("demonstrations help", "nearest demonstrations")
    assert found.probes == 10 and "add few-shot nearest" in remedy_lines(found)[0]
    assert "luthier decide --all" in remedy_lines(found, {"prompt", "few-shot nearest"})[0]  # it is there already
    unasked = diagnosed(bench, plain, ask=False)
    assert only(unasked)[0] == "open" and not unasked.probes and not remedy_lines(unasked)


def test_what_nothing_helps_is_beyond_the_base(tmp_path: Path) -> None:
    def weak(request: Request) -> str:
        label = sorter(request)
        return "invoice" if label == "refund" else label

    bench = labels(tmp_path, weak)
    found = diagnosed(bench, shown(bench))
    assert found.failed == 10 and only(found)[0] == "beyond this base"
    assert found.clusters[0].name == "wanted 'refund', answered 'invoice'"
    assert "try a larger one: base: in luthier.yaml, or fine-tune" in remedy_lines(found)[0]
    assert remedy_lines(found, {"prompt", "fine-tune"})[0].endswith("try a larger one: base: in luthier.yaml")


def test_a_sample_bounds_what_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "EXAMINED", 4)
    bench = labels(tmp_path, lambda request: "invoice")
    systems = {"prompt": plain_system(bench, "prompt", "Sort it.")}
    found = diagnosed(bench, systems)
    assert (found.failed, found.examined) == (20, 4) and found.probes <= run.most_probes(30)
    assert diagnosed(bench, systems) == found  # the same sample, from kept answers


def test_a_probe_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    class Short(ScriptedModel):
        def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
            if any(len(request.messages) > 2 for request in requests):
                raise TooLongError("too long", fix="shorten it")
            return super().answer(requests)

    bench = replace(labels(tmp_path, sorter), base=Short({"*": "invoice"}))
    found = diagnosed(bench, {"prompt": plain_system(bench, "prompt", "Sort it.")})
    assert only(found)[0] == "beyond this base" and not found.probes


# the form ---------------------------------------------------------------------------------------------------------

RECORD = '{"intent": "Play", "slots": {"artist": "Nina Simone", "year": 1965}}'


@pytest.mark.parametrize(
    ("answer", "finish", "kind"),
    [
        (f"```json\n{RECORD}\n```\nHope this helps", "stop", "words around the JSON"),
        (f"Sure: {RECORD}", "stop", "words around the JSON"),
        (RECORD.replace('"', "'"), "stop", "not quite JSON"),
        (RECORD[:-1] + ",}", "stop", "not quite JSON"),
        (RECORD.replace("intent", "Intent").replace("1965", '"1965"'), "stop", "other keys or types"),
        (RECORD[:50], "length", "cut off at the token limit"),
        (RECORD.replace("Nina", "Tina"), "stop", None),
        (RECORD[:50].replace("Play", "Book"), "length", None),
        ("I cannot help with that", "stop", None),
    ],
)
def test_json_that_is_right_but_for_its_form(answer: str, finish: str, kind: str | None) -> None:
    assert form(answer, RECORD, JsonScorer(None, "exact"), finish) == kind


@pytest.mark.parametrize(
    ("answer", "finish", "kind"),
    [
        ("Card Arrival", "stop", "another case or spelling"),
        ("card_arival", "stop", "another case or spelling"),
        ("The label is: card arrival.", "stop", "words around the answer"),
        ("card_arrival_late", "stop", None),  # right as another label
        ("either card_arrival or refund", "stop", None),
        ("refund", "stop", None),
    ],
)
def test_labels_that_are_right_but_for_their_form(answer: str, finish: str, kind: str | None) -> None:
    assert form(answer, "card_arrival", LabelScorer(["card_arrival", "card_arrival_late", "refund"]), finish) == kind


@pytest.mark.parametrize(
    ("answer", "wanted", "finish", "kind"),
    [
        ("The answer is Ban Ki-moon.", "Ban Ki-moon", "stop", "words around the answer"),
        ("ban ki-moon", "Ban Ki-moon", "stop", "another case or spelling"),
        ("a long list of ports and add", "a long list of ports and addresses", "length", "cut off at the token limit"),
        ("Kofi Annan", "Ban Ki-moon", "stop", None),
        (" ".join(["word"] * 200) + " Ban Ki-moon", "Ban Ki-moon", "stop", None),  # found in a heap of words
    ],
)
def test_texts_that_are_right_but_for_their_form(answer: str, wanted: str, finish: str, kind: str | None) -> None:
    assert form(answer, wanted, ExactScorer(), finish) == kind


def test_a_graded_score_counts_from_the_bar() -> None:
    assert form("The answer is Ban Ki-moon, I think", "Ban Ki-moon", AnswerScorer("f1"), "stop") is not None


def form(answer: str, wanted: str, scorer: Any, finish: str) -> str | None:
    found = mended(Record("c", answer, 0.0, {}, 1, 0, 1, 0.0, finish), wanted, scorer, 0.9)
    return None if found is None else found.kind


# evidence and verdict ---------------------------------------------------------------------------------------------


def test_the_ladder_diagnoses_and_the_verdict_says_it(tmp_path: Path) -> None:
    def wordy(request: Request) -> str:
        return (
            f"It is about {sorter(request)}, I think, as far as I can see" if len(request.messages) < 3 else "nothing"
        )

    settings = {
        "bar": 0.9,
        "max_answer_tokens": 20,
        "decide": {"methods": ["prompt", "few-shot"], "development_cases": 8},
    }
    bench = labels(tmp_path, wordy, **settings)
    evidence = climb(bench, Climb(everything=True)).evidence
    assert evidence.failures is not None and evidence.failures.count("format") == evidence.failures.examined == 30
    again = Evidence.from_dict(json.loads(json.dumps(evidence.as_dict())))
    assert again == evidence
    verdict = decide(Rules(0.9, 0.03, 0.05, None), again)
    assert any("30 of 30 cases fail on prompt" in line and "break the form" in line for line in verdict.reasons)
    assert any("add constrained to decide.methods" in line for line in verdict.advice)
    failures = again.failures
    assert failures is not None
    unasked = replace(failures, clusters=tuple(replace(cluster, cause="open") for cluster in failures.clusters))
    assert not any(
        "cases fail" in line for line in decide(Rules(0.9, 0.03, 0.05, None), replace(again, failures=unasked)).reasons
    )


def test_evidence_of_the_first_format_loads(tmp_path: Path) -> None:
    bench = labels(tmp_path, sorter, bar=0.9, decide={"methods": ["prompt"], "development_cases": 8})
    evidence = climb(bench, Climb()).evidence
    saved = json.loads(json.dumps(evidence.as_dict()))
    old = {name: value for name, value in saved.items() if name != "failures"} | {"format": 1}
    loaded = Evidence.from_dict(old)
    assert loaded.failures is None and loaded.rungs == evidence.rungs
    rules = Rules(0.9, 0.03, 0.05, None)
    assert decide(rules, loaded).sentence == decide(rules, evidence).sentence
    with pytest.raises(StoreError, match=f"format {EVIDENCE_FORMAT + 1}"):
        Evidence.from_dict(saved | {"format": EVIDENCE_FORMAT + 1})


def test_sentences_name_shares_with_intervals(tmp_path: Path) -> None:
    bench = labels(tmp_path, lambda request: "invoice")
    found = diagnosed(bench, {"prompt": plain_system(bench, "prompt", "Sort it.")})
    assert Failures.from_dict(json.loads(json.dumps(asdict(found)))) == found
    [line] = cause_lines(found)
    assert line.startswith("100 % [84, 100] are beyond this base")


def test_a_fact_that_demonstrations_also_bring_out_is_still_one_that_was_not_retrieved(tmp_path: Path) -> None:
    def says_by_heart_too(request: Request) -> str:
        shown = len(request.messages) > 2
        return FACTS[request.messages[-1].content] if shown else reader(request)

    bench = store_room(tmp_path, says_by_heart_too)
    found = diagnosed(bench, systems_of(bench, tmp_path, without="redbolt"))
    assert found.failed == 1 and only(found)[0] == "not retrieved"


def test_a_fact_said_by_heart_is_still_missing_unless_an_example_tells_it(tmp_path: Path) -> None:
    def says_by_heart_too(request: Request) -> str:
        return FACTS[request.messages[-1].content] if len(request.messages) > 2 else reader(request)

    bench = store_room(tmp_path, says_by_heart_too, gone="redbolt")
    found = diagnosed(bench, systems_of(bench, tmp_path, without="redbolt"))
    assert found.failed == 1 and only(found)[0] == "fact missing"
    missing = question("redbolt")
    told = replace(bench.split.train[0], messages=(Message("user", f"Tell me: {missing}"),), output=FACTS[missing])
    split = replace(bench.split, train=(*bench.split.train, told))
    found = diagnosed(replace(bench, split=split), systems_of(bench, tmp_path / "again", without="redbolt"))
    assert found.failed == 1 and only(found)[0] == "demonstrations help"


def test_what_the_budget_did_not_allow_to_ask_stays_open(tmp_path: Path) -> None:
    answered: list[str] = []

    def until_it_is_spent(request: Request) -> str:
        if "spent" in answered:
            raise BudgetError("the budget is used up", fix="raise it")
        return "no"

    rows = [(f"word {i}", f"answer {i % 5}") for i in range(60)]
    bench = bench_of(tmp_path, rows[:40], [(f"other {i}", "yes") for i in range(20)], until_it_is_spent)
    plain = plain_system(bench, "prompt", "Answer.")
    records = {"prompt": measure(plain, bench.test, bench.scorer, bench.store)}
    answered.append("spent")
    found = run.diagnose_failures(bench, {"prompt": plain}, records, ask=True)
    assert found is not None and found.probes < found.examined
    assert only(found) == ("open", "the base was not asked")
    assert found.clusters[0].samples[0].why == "the budget is used up"


def test_a_scorer_that_fails_on_a_part_of_an_answer_does_not_end_the_diagnosis() -> None:
    class Particular(ExactScorer):
        def score(self, answer: str, wanted: str) -> Any:
            if "####" not in answer:
                raise ScorerError("no ####", fix="give it")
            return super().score(answer.split("####")[1], wanted.split("####")[1])

    record = Record("c", "Step one\nStep two\n#### 41", 0.0, {}, 1, 0, 1, 0.1, "stop")
    assert mended(record, "Step one\n#### 42", Particular(), 1.0) is None


def test_a_scorer_that_fails_on_answers_as_references_does_not_end_the_diagnosis(tmp_path: Path) -> None:
    class Particular(ExactScorer):
        def score(self, answer: str, wanted: str) -> Any:
            if "####" not in wanted:
                raise ScorerError("no ####", fix="give it")
            return super().score(answer.split("####")[-1], wanted.split("####")[1])

        def wanted_is_valid(self, wanted: str) -> str | None:
            return None if self.score(wanted, wanted).value > 0 else "no"

    rows = [(f"word {i}", f"#### {i % 5}") for i in range(60)]
    bench = bench_of(tmp_path, rows[:40], [(f"other {i}", "#### yes") for i in range(20)], lambda _: "no idea")
    bench = replace(bench, scorer=Particular())
    plain = plain_system(bench, "prompt", "Answer.")
    shown = replace(plain, setup=replace(plain.setup, instructions="Say it."))
    found = diagnosed(bench, {"prompt": plain, "few-shot": shown})
    assert found.failed == 20 and only(found)[0] == "beyond this base"
