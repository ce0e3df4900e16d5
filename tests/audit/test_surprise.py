"""Answers of other rows are found by how they fit; right ones are not; what is asked shows no row its own answer."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.audit import Dataset, Finding, Instruments
from luthier.audit.surprise import check_surprise
from luthier.audit.surprise._asked import READ, Asker
from luthier.audit.surprise._doubt import Doubts, doubts
from luthier.audit.surprise._trials import OTHERS, SHOWN, Rows, Trial
from luthier.data import Example, Message, Source
from luthier.models import LocalModel, ScriptedModel, load_folder, render_example
from luthier.spec import Task
from luthier.store import Store

ROWS = 90


def example(prompt: str, output: str, line: int = 0) -> Example:
    return Example((Message("user", prompt),), output, source=Source("d.jsonl", line))


def name(i: int) -> str:
    """A word of its own for each row."""
    return "".join(chr(ord("a") + int(digit, 16)) for digit in hashlib.sha256(str(i).encode()).hexdigest()[:6])


def rows(moved: dict[int, int] | None = None) -> list[Example]:
    """Row i asks about its own name, and its answer holds it; a moved row has the answer of another one."""
    wanted = {i: i for i in range(ROWS)} | (moved or {})
    return [
        example(f"Who keeps the {name(i)} of hall {i}?", f"The keeper of {name(j)}", i + 1) for i, j in wanted.items()
    ]


def swaps(*pairs: tuple[int, int]) -> dict[int, int]:
    return {i: j for pair in pairs for i, j in (pair, pair[::-1])}


def quiet(stage: str, done: int, total: int, remark: str) -> None:
    pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> LocalModel:
    return load_folder(tiny_model_folder, name="tiny")


class Reader:
    """Finds an answer likely whose last word stands in the last turn of its prompt; `blind`: any as likely."""

    def __init__(self, model: LocalModel, *, blind: bool = False) -> None:
        self.tokenizer, self.max_length, self.count_tokens = model.tokenizer, model.max_length, model.count_tokens
        self.identity = f"reader {blind}"
        self.blind, self.calls, self.breaks_at = blind, 0, -1

    def likelihoods(self, sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> list[Any]:
        self.calls += 1
        if self.calls == self.breaks_at:
            raise KeyboardInterrupt
        found = []
        for ids, start in zip(sequences, starts, strict=True):
            turn = self.tokenizer.decode(ids[:start]).rpartition("user")[2]
            answer = self.tokenizer.decode(ids[start:], skip_special_tokens=True)
            noise = np.random.default_rng(int.from_bytes(hashlib.sha256((turn + answer).encode()).digest()[:4], "big"))
            knows = not self.blind and answer.split()[-1] in turn
            mean = (-1.0 if knows else -4.0) + 0.4 * noise.normal()
            found.append(np.full((len(ids) - start, 2), mean, np.float32))
        return found


class Letters:
    """Vectors of the letters of texts."""

    identity = "letters"

    def embed(self, texts: Sequence[str]) -> Any:
        counts = np.array([[text.count(chr(97 + i)) + 0.01 for i in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def task(**more: Any) -> Task:
    values = {"task": "t", "goal": "g", "examples": Path("/nowhere/d.jsonl"), "score": {"kind": "chrf"}, "base": "b"}
    return Task.model_validate(values | more)


def deep(some: list[Example], model: object, store: Store, **more: Any) -> dict[str, Finding]:
    instruments = Instruments(task(**more), store, quiet)
    vars(instruments).update(model=model, embedder=Letters())
    return {f.code: f for f in check_surprise(Dataset(task(**more), some), instruments)}


def test_swapped_answers_are_found_and_no_others(model: LocalModel, store: Store) -> None:
    moved = swaps((3, 40), (11, 71), (25, 60))
    found = deep(rows(moved), Reader(model), store)
    assert list(found) == ["surprising-answer"]
    told = found["surprising-answer"]
    assert told.severity == "harms"
    assert {row.line - 1 for row in told.rows} == set(moved)
    assert "90 of 90 rows" in told.reason and "95% interval" in told.reason
    assert all("likelier here" in sample.remark for sample in told.samples)


def test_nothing_is_said_of_right_answers(model: LocalModel, store: Store) -> None:
    assert deep(rows(), Reader(model), store) == {}


def test_a_base_that_cannot_tell_says_so_and_names_no_row(model: LocalModel, store: Store) -> None:
    found = deep(rows(swaps((3, 40))), Reader(model, blind=True), store)
    assert list(found) == ["answers-not-judged"]
    assert found["answers-not-judged"].severity == "note"
    assert found["answers-not-judged"].count == 0


def test_rows_that_all_have_the_answer_above_are_not_taken_for_right(model: LocalModel, store: Store) -> None:
    found = deep(rows({i: (i - 1) % ROWS for i in range(ROWS)}), Reader(model), store)
    assert list(found) == ["answers-not-judged"]
    assert "belong to other rows" in found["answers-not-judged"].reason


def test_a_hosted_base_is_told_apart(store: Store) -> None:
    found = deep(rows(), ScriptedModel({"*": "x"}), store)
    assert list(found) == ["answers-not-judged"]
    assert "machine" in found["answers-not-judged"].fix


def test_labels_and_few_rows_are_left_to_other_checks(store: Store) -> None:
    labelled = [example(f"{name(i)}?", ("yes", "no")[i % 2], i) for i in range(ROWS)]
    assert deep(labelled, object(), store) == {}
    assert deep(rows(), object(), store, score={"kind": "label"}) == {}
    assert deep(rows()[:30], object(), store) == {}


def test_rows_that_are_too_long_are_neither_judged_nor_tried(model: LocalModel, store: Store) -> None:
    some = rows(swaps((3, 40)))
    some[7] = example("word " * 600 + name(7), f"The keeper of {name(7)}", 8)
    found = deep(some, Reader(model), store)
    assert {row.line - 1 for row in found["surprising-answer"].rows} == {3, 40}
    assert "89 of 90 rows" in found["surprising-answer"].reason


def asked(some: Sequence[Example], families: Sequence[int]) -> tuple[Rows, list[int], list[Trial]]:
    together = Rows(some, families, Letters().embed([e.input_text for e in some]))
    chosen = together.sample(0)
    return together, chosen, together.trials(chosen)


def test_no_row_is_shown_itself_its_near_duplicates_or_an_answer_that_is_tried() -> None:
    some = [*rows(), *(example(e.input_text + "!", e.output + "!", ROWS + 1 + i) for i, e in enumerate(rows()[:30]))]
    families = [*range(ROWS), *range(30)]
    family = {e.id: number for e, number in zip(some, families, strict=True)}
    _, chosen, trials = asked(some, families)
    assert len({families[i] for i in chosen}) == len(chosen) == ROWS
    for trial in trials:
        own = family[trial.row.id]
        shown = [family[e.id] for e in trial.shown]
        assert len(set(shown)) == SHOWN and own not in shown
        answers = [some[chosen[i]].output for i in trial.others]
        assert not {trial.row.output, *(e.output for e in trial.shown)} & set(answers)
        assert own not in {families[chosen[i]] for i in trial.others}


def test_the_nearest_row_stands_last_and_every_answer_is_tried() -> None:
    together, chosen, trials = asked(rows(), range(ROWS))
    cosines = together.vectors @ together.vectors.T
    for i, trial in zip(chosen, trials, strict=True):
        best = max((j for j in range(ROWS) if j != i), key=lambda j: float(cosines[i, j]))
        assert cosines[i, together.examples.index(trial.shown[-1])] == pytest.approx(cosines[i, best])
    tried = Counter(i for trial in trials for i in trial.others)
    assert min(tried[i] for i in range(len(chosen))) >= OTHERS - 2


def test_the_score_is_the_mean_over_content_tokens(model: LocalModel, store: Store) -> None:
    shown = example("Is it sunny?", "It is, from the west.")
    row, other = example("Is there wind?", "Some; in the evening."), "No: 12 -- 13."
    [scores] = Asker(model, "Answer.", store, quiet).ask([Trial(row, (shown,), (0,))], [other], "ask")
    assert scores is not None
    messages = (Message("system", "Answer."), *shown.messages, Message("assistant", shown.output), *row.messages)
    for answer, told in ((row.output, scores.own), (other, scores.others[0])):
        rendered = render_example(model.tokenizer, messages, answer)
        [logprobs] = model.logprobs([rendered.ids], [rendered.prompt_length])
        texts = [model.tokenizer.decode([i]) for i in rendered.ids[rendered.prompt_length :]]
        content = [any(c.isalnum() for c in text) and "<|" not in text for text in texts]
        assert 0 < sum(content) < len(texts)
        assert told == pytest.approx(float(logprobs[np.array(content)].mean()), abs=1e-3)


def test_of_a_long_answer_only_the_beginning_is_read(model: LocalModel, store: Store) -> None:
    trials = [Trial(example("Say it.", "word " * n), (), ()) for n in (READ, READ + 40)]
    short, long = Asker(model, "", store, quiet).ask(trials, [], "ask")
    assert short == long


def test_demonstrations_make_room_for_the_question(model: LocalModel, store: Store) -> None:
    long, short = example("x " * 400, "long"), example("Why?", "So.")
    row = example("Is there wind?", "Some.")
    both = Asker(model, "", store, quiet).ask([Trial(row, (long, short), ()), Trial(row, (short,), ())], [], "ask")
    assert both[0] == both[1]


def test_what_was_asked_is_not_asked_again(model: LocalModel, store: Store) -> None:
    _, chosen, trials = asked(rows(), range(ROWS))
    answers = [rows()[i].output for i in chosen]
    reader = Reader(model)
    reader.breaks_at = 21
    with pytest.raises(KeyboardInterrupt):
        Asker(reader, "", store, quiet).ask(trials, answers, "ask")  # type: ignore[arg-type]  # does what is needed
    first = Asker(reader, "", store, quiet).ask(trials, answers, "ask")  # type: ignore[arg-type]
    assert reader.calls == 21 + ROWS - 16  # two batches of 8 were kept
    assert Asker(reader, "", store, quiet).ask(trials, answers, "ask") == first  # type: ignore[arg-type]
    assert reader.calls == 21 + ROWS - 16


def simulated(rate: float, better: float, seed: int, more: float = 0, size: int = 200) -> tuple[Doubts, Any]:
    """Scores with effects of prompt and answer; right ones are better by so many standard deviations, some by more."""
    rng = np.random.default_rng(seed)
    prompt, answer = rng.normal(0, 1, size), rng.normal(0, 2, size)
    wrong = rng.random(size) < rate
    right = better + more * (rng.random(size) < 0.4)
    own = prompt + answer + rng.normal(np.where(wrong, 0, right), 1)
    others = [[(i + step) % size for step in (-4, -3, -2, -1, 1, 2, 3, 4, 5)] for i in range(size)]
    tried = [[prompt[i] + answer[j] + rng.normal() for j in row] for i, row in enumerate(others)]
    return doubts(own.tolist(), tried, others), wrong


@pytest.mark.parametrize(("more", "found_at_least"), [(0, 0.6), (5, 0.4)])
def test_the_share_lies_in_its_interval_and_lists_are_as_right_as_promised(more: float, found_at_least: float) -> None:
    covered, listed, right, planted = 0, 0, 0, 0
    for seed in range(12):
        found, wrong = simulated(0.08, 4, seed, more)
        covered += found.low <= wrong.mean() <= found.high
        planted += int(wrong.sum())
        listed += len(found.listed)
        right += int(wrong[list(found.listed)].sum())
    assert covered >= 10  # of 12 at 95 %: fewer than this one time in fifty
    assert right / listed >= 0.8  # as promised
    assert right / planted >= found_at_least


def test_no_list_without_wrong_answers_or_without_skill() -> None:
    assert sum(bool(simulated(0, 3, seed)[0].listed) for seed in range(6)) == 0
    assert all(simulated(1, 3, seed)[0].skill < 0.6 for seed in range(3))
    assert simulated(0, 4, 0)[0].skill > 0.95


def test_the_worse_an_answer_fits_the_more_probably_it_is_wrong() -> None:
    found, _ = simulated(0.1, 3, 0)
    order = np.argsort(found.fits)
    assert (np.diff(found.wrong[order]) <= 0).all()


def test_scores_that_hardly_differ_tell_nothing() -> None:
    size = 60
    others = [[(i + 1) % size, (i + 2) % size, (i + 3) % size] for i in range(size)]
    found = doubts([-2.0] * size, [[-2.0] * 3] * size, others)
    assert found.listed == () and found.skill <= 0.5


def test_rows_are_drawn_with_the_seed() -> None:
    some = [example(f"{i}?", f"answer {i}", i) for i in range(500)]
    together = Rows(some, range(500), np.ones((500, 2), np.float32))
    assert together.sample(0) == together.sample(0) != together.sample(1)
    assert len(together.sample(0)) == 200
