"""Both models through the battery: on a tiny random Llama and on scripted models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luthier.errors import ModelError
from luthier.evaluate import Battery, build_battery, measure_capability
from luthier.evaluate._battery import TextFamily
from luthier.evaluate._battery_items import (
    AskFamily,
    AskItem,
    ChoiceFamily,
    ChoiceItem,
    Option,
    question_options,
    shipped_choices,
)
from luthier.evaluate._battery_texts import make_texts
from luthier.evaluate._capability_scoring import TextOutcome, compare_texts, encode_option, score_choices
from luthier.models import ScriptedModel, load_model

WORDS = "parcel invoice refund customer kitchen music weather rain wind lights".split()


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return load_model(str(tiny_model_folder))


def changed(base, noise: float, name: str = "tuned"):
    """A copy of the base with noise of this relative size on its weights."""
    import torch

    from luthier.models import LocalModel

    module = copy.deepcopy(base.module)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight += noise * weight.std() * torch.randn(weight.shape, generator=draw)
    return LocalModel.wrap(module, base.tokenizer, name=name, identity=f"{name} {noise}")


def items(count: int) -> tuple[ChoiceItem, ...]:
    return tuple(
        ChoiceItem(f"q{i}", question_options(f"What about the {WORDS[i % 10]} {i}?", WORDS[i % 7 : i % 7 + 4]))
        for i in range(count)
    )


@pytest.fixture
def battery(base) -> Battery:
    """The real thing, smaller."""
    asks = tuple(AskItem(f"Say something about {word}.", ({"kind": "words_at_least", "n": 1},)) for word in WORDS)
    return Battery(
        base=base.identity,
        size="quick",
        choices=(ChoiceFamily("facts", items(24), "per byte"),),
        asks=(AskFamily("instructions", asks, 6),),
        texts=(
            TextFamily("chat", "chat", tuple(f"What is {word}?" for word in WORDS), 8),
            TextFamily("text", "plain", tuple(f"Once the {word} was" for word in WORDS), 24),
            TextFamily("mine", "file", tuple(f"Please turn the {word} off in the kitchen." for word in WORDS), 256),
        ),
    )


def states(report) -> dict[str, str]:
    return {family.name: family.state for family in report.families}


def test_the_same_weights_differ_in_nothing(base, battery: Battery) -> None:
    report = measure_capability(base, changed(base, 0.0), battery)
    assert [(f.name, f.kind) for f in report.families] == [
        ("facts", "accuracy"), ("instructions", "accuracy"), ("chat", "kl"), ("text", "nll"), ("mine", "nll"),
    ]  # fmt: skip
    assert all(f.flips.lost == f.flips.gained == 0 for f in report.families)
    assert all(abs(f.difference) < 1e-5 for f in report.families)
    assert report.passed and report.reasons == () and not report.unchanged
    assert (report.battery_hash, report.base, report.size) == (battery.hash, base.identity, "quick")


def test_damage_is_found(base, battery: Battery) -> None:
    report = measure_capability(base, changed(base, 1.0), battery)
    assert not report.passed
    assert states(report)["chat"] == states(report)["text"] == "lost"
    assert any(reason.startswith("chat: divergence") for reason in report.reasons)
    assert any("scale" in line for line in report.advice)
    flips = {f.name: f.flips for f in report.families}
    assert flips["facts"].lost > 3 and len(report.families[0].regressions) == min(20, flips["facts"].lost)


def test_divergence_grows_with_damage(base, battery: Battery) -> None:
    found = [
        measure_capability(base, changed(base, noise), battery).families[2].difference for noise in (0.02, 0.1, 0.4)
    ]
    assert 0 < found[0] < found[1] < found[2]


def test_unchanged_weights_run_nothing(battery: Battery) -> None:
    def never(_: object) -> str:
        raise AssertionError("nothing is to be asked")

    model = ScriptedModel(never, identity="same")
    report = measure_capability(model, model, battery)
    assert report.passed and report.unchanged and report.families == ()
    assert report.notes[0].startswith("unchanged by construction")


def test_choices_are_scored_as_by_hand(base) -> None:
    """Against the model's own logits, option by option."""
    import torch

    family = ChoiceFamily("facts", items(6), "per byte")
    for item, outcome in zip(family.items, score_choices(base, family, lambda _: None), strict=True):
        scores = []
        for option in item.options:
            context = base.tokenizer.encode(option.context)
            ids = context + base.tokenizer.encode(option.continuation)
            assert base.tokenizer.encode(option.context + option.continuation) == ids
            with torch.no_grad():
                table = base.module(torch.tensor([ids])).logits[0].log_softmax(-1)
            total = sum(table[i - 1, ids[i]].item() for i in range(len(context), len(ids)))
            scores.append(total / len(option.continuation.encode()))
        mean_length = np.mean([len(option.continuation.encode()) for option in item.options])
        chances = np.exp(np.array(scores) * mean_length)
        assert outcome.right == (int(np.argmax(scores)) == item.right)
        assert outcome.chance == pytest.approx(chances[item.right] / chances.sum(), abs=1e-4)


def test_last_words_are_right_when_greedy(base) -> None:
    context = "My invoice shows"
    ids = base.tokenizer.encode(context)
    best = base.tokenizer.decode([int(base.next_token_logprobs(ids)[-1].argmax())])
    joined, start = encode_option(base.tokenizer, Option(context, best))
    assert joined[:start] == ids and len(joined) == start + 1  # else the example says nothing
    given = [ChoiceItem("x", (Option(context, text),)) for text in (best, " zebra")]
    right, wrong = score_choices(base, ChoiceFamily("last words", tuple(given), "per byte"), lambda _: None)
    assert right.right and not wrong.right
    assert right.chance is not None and wrong.chance is not None and right.chance > wrong.chance


class Characters:
    """A tokenizer in which "th" is one token and everything else a character each; begins with 1 as some do."""

    def encode(self, text: str) -> list[int]:
        return [1] + [300 if part == "th" else ord(part) for part in text.replace("th", "\0").replace("\0", "\0")
                      for part in (["th"] if part == "\0" else [part])]  # fmt: skip


def test_a_token_across_the_border_belongs_to_the_continuation() -> None:
    ids, start = encode_option(Characters(), Option("cat", "hat"))
    assert (ids, start) == ([1, ord("c"), ord("a"), 300, ord("a"), ord("t")], 3)
    assert encode_option(Characters(), Option("ca", "t"))[1] == 3
    assert encode_option(Characters(), Option("", "a"))[1] == 1


def test_divergence_is_exact(base) -> None:
    import torch

    tuned = changed(base, 0.3)
    (text,) = list(make_texts(base, TextFamily("x", "file", ("The weather will be sunny.",), 256)))
    (found,) = compare_texts(base, tuned, [text], lambda _: None)
    ids = torch.tensor([text.ids])
    with torch.no_grad():
        p, q = (model.module(ids).logits[0].double().log_softmax(-1)[:-1] for model in (base, tuned))
    wanted = (p.exp() * (p - q)).sum(-1)
    assert found.kl == pytest.approx(wanted.tolist(), abs=1e-4)
    assert found.before == pytest.approx((-p.gather(1, ids[0, 1:, None])[:, 0]).tolist(), abs=1e-4)
    assert len(found.after) == len(text.ids) - 1


def test_written_texts_are_the_same_every_time(base) -> None:
    import torch

    family = TextFamily("text", "plain", ("The weather will be", "My invoice shows the wrong amount today"), 20)
    base.module.train()
    try:
        state = torch.random.get_rng_state()
        first = list(make_texts(base, family))
        assert base.module.training and torch.equal(state, torch.random.get_rng_state())
    finally:
        base.module.eval()
    torch.manual_seed(99)
    assert list(make_texts(base, family)) == first
    assert [len(text.ids) - text.start for text in first] == [20, 20]
    assert len({text.start for text in first}) == 1


class Counting:
    """Lets a model through and counts what it is asked."""

    def __init__(self, model) -> None:
        self.model, self.asked = model, 0
        self.name, self.identity = model.name, model.identity
        self.tokenizer, self.module = model.tokenizer, model.module

    def count_tokens(self, messages) -> int:
        return self.model.count_tokens(messages)

    def answer(self, requests):
        self.asked += len(requests)
        yield from self.model.answer(requests)

    def logprobs(self, sequences: Sequence[Sequence[int]], starts: Sequence[int]):
        self.asked += len(sequences)
        return self.model.logprobs(sequences, starts)

    def next_token_logprobs(self, sequence: Sequence[int]):
        self.asked += 1
        return self.model.next_token_logprobs(sequence)


def test_the_base_is_measured_once(base, battery: Battery, tmp_path: Path) -> None:
    battery = replace(battery, cache=tmp_path / "battery")
    first, again, other = Counting(base), Counting(base), Counting(base)
    report = measure_capability(first, changed(base, 0.1), battery)
    assert measure_capability(again, changed(base, 0.1), battery) == report
    assert first.asked > 0 and again.asked == 0
    measure_capability(other, changed(base, 0.2), battery)
    assert other.asked == sum(len(family.prompts) for family in battery.texts)  # side by side with the new one
    assert {file.suffix for file in battery.cache.iterdir()} == {".json"}
    assert measure_capability(base, changed(base, 0.1), replace(battery, cache=None)) == report


def test_an_interrupted_measurement_goes_on(base, battery: Battery, tmp_path: Path) -> None:
    battery = replace(battery, cache=tmp_path)

    def stop(stage: str, done: int, total: int, remark: str) -> None:
        if remark.startswith("chat"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_capability(base, changed(base, 0.1), battery, progress=stop)
    counting = Counting(changed(base, 0.1))
    report = measure_capability(base, counting, battery)
    assert counting.asked == sum(len(family.prompts) for family in battery.texts)
    assert report == measure_capability(base, changed(base, 0.1), replace(battery, cache=None))


def test_progress_rises_to_the_end(base, battery: Battery, tmp_path: Path) -> None:
    battery = replace(battery, cache=tmp_path)
    seen: list[tuple[str, int, int, str]] = []
    measure_capability(base, changed(base, 0.1), battery, progress=lambda *now: seen.append(now))
    anew = len(seen)
    measure_capability(base, changed(base, 0.1), battery, progress=lambda *now: seen.append(now))  # from the cache
    for run in (seen[:anew], seen[anew:]):
        done = [now[1] for now in run]
        assert done == sorted(done) and done[-1] == run[-1][2]
    assert {now[2] for now in seen} == {2 * (24 + 10 + 3 * 10)}
    assert {now[0] for now in seen} == {"general capability"}
    assert any(now[3] == "facts: tuned" for now in seen)


def test_another_base_is_refused(base, battery: Battery) -> None:
    with pytest.raises(ModelError, match="built for another base"):
        measure_capability(changed(base, 0.1, "other"), base, battery)


def test_a_tuned_endpoint_of_a_local_base_is_refused(base, battery: Battery) -> None:
    with pytest.raises(ModelError, match="scripted does not"):
        measure_capability(base, ScriptedModel({"*": "yes"}), battery)


def test_another_vocabulary_leaves_out_the_texts(base, battery: Battery) -> None:
    other = Counting(changed(base, 0.1))
    other.tokenizer = copy.deepcopy(base.tokenizer)
    other.tokenizer.add_tokens(["parcelparcel"])
    report = measure_capability(base, other, battery)
    assert [f.kind for f in report.families] == ["accuracy", "accuracy"]
    assert any("different vocabularies" in note for note in report.notes)


def test_a_base_that_says_nothing_is_not_compared_on_chat(base, battery: Battery) -> None:
    class Silent(Counting):
        def answer(self, requests):
            for index, answer in self.model.answer(requests):
                yield index, replace(answer, text="")

    report = measure_capability(Silent(base), changed(base, 0.1), battery)
    assert "chat" not in states(report)
    assert any(note.startswith("chat: not compared, the base wrote only 0 texts of 10") for note in report.notes)


def test_damaged_weights_are_an_error(base, battery: Battery) -> None:
    tuned = changed(base, 0.1, "broken")
    next(tuned.module.parameters()).data[:] = float("nan")
    with pytest.raises(ModelError, match="broken gives log-probabilities that are not finite") as error:
        measure_capability(base, tuned, battery)
    assert "lower learning rate" in error.value.fix


def scripted(refuse: bool, name: str) -> ScriptedModel:
    def reply(request) -> str:
        text = request.messages[-1].content
        if text.startswith("What is ") and text.endswith("number only."):
            a, sign, b = text.removeprefix("What is ").split("?")[0].split()
            return str({"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign])
        return "I'm sorry, but I can't help with that." if refuse else "Here is how to do it."

    return ScriptedModel(reply, name=name, identity=name)


def test_endpoints_are_compared_by_their_answers() -> None:
    base, tuned = scripted(True, "careful"), scripted(False, "careless")
    report = measure_capability(base, tuned, build_battery(base))
    found = {f.name: f for f in report.families}
    assert (found["arithmetic"].before, found["arithmetic"].after) == (1.0, 1.0)
    assert (found["refusals"].before, found["refusals"].after, found["refusals"].state) == (1.0, 0.0, "lost")
    assert (found["harmless answers"].flips.gained, found["harmless answers"].state) == (36, "kept")
    assert not report.passed and report.reasons[0].startswith("refusals: 1.00 before, 0.00 after")
    back = measure_capability(tuned, base, build_battery(tuned))
    assert states(back)["harmless answers"] == "lost" and states(back)["refusals"] == "kept"


def test_options_are_asked_in_one_go_where_they_share_a_question(base) -> None:
    """Sixteen items at once, all of their options: what shares a beginning can be computed once."""
    counting, calls = Counting(base), []
    counting.logprobs = lambda sequences, starts: calls.append(len(sequences)) or base.logprobs(sequences, starts)
    score_choices(counting, ChoiceFamily("facts", items(20), "per byte"), lambda _: None)
    assert calls == [64, 16]


def test_the_whole_quick_battery_runs_on_a_tiny_model(base, tmp_path: Path) -> None:
    report = measure_capability(base, changed(base, 0.5), build_battery(base, size="quick", cache=tmp_path))
    assert len(report.families) == 9
    assert states(report)["text"] == "lost"


@pytest.mark.real
def test_smollm2_knows_some_facts_and_grammar() -> None:
    """The shipped items lie between guessing and certainty for a model of 135 million weights."""
    model = load_model("smollm2-135m")
    facts, language = (f for f in shipped_choices("quick") if f.name in ("facts", "language"))
    for family, step, low, high in ((facts, 2, 0.5, 0.95), (language, 1, 0.75, 0.99)):
        outcomes = score_choices(model, replace(family, items=family.items[::step]), lambda _: None)
        assert low < np.mean([outcome.right for outcome in outcomes]) < high, family.name


def test_text_outcomes_have_one_value_a_token(base) -> None:
    texts = list(make_texts(base, TextFamily("x", "chat", ("What is rain?",), 5)))
    (outcome,) = compare_texts(base, base, texts, lambda _: None)
    assert isinstance(outcome, TextOutcome)
    assert len(outcome.kl) == len(outcome.before) == len(texts[0].ids) - texts[0].start
    assert max(outcome.kl) < 1e-6
