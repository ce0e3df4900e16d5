"""The running batch: prompts join while it runs, what they share is computed once, closed sets take one pass."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data import Message
from luthier.errors import ModelError
from luthier.models import Constraint, LocalModel, Request, load_model, render_prompt
from luthier.models import _engine as engine_module
from luthier.models._constrain import JSON_STYLE
from luthier.models._generate import generate
from luthier.models._jobs import Job
from luthier.models._plan import Limits
from luthier.models._rows import Rows


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return load_model(str(tiny_model_folder))


@pytest.fixture(scope="module")
def stopping(tiny_model_folder):
    """A model whose answers end at different places: some of the tokens it likes to say are made stop tokens."""
    found = load_model(str(tiny_model_folder))
    said = [token for token, _ in zip(greedy(found, (5, 6, 7), 12, stops=()), range(12), strict=False)]
    found.module.generation_config.eos_token_id = sorted({said[3], said[7], *range(40, 60)})
    return LocalModel(found.module, found.tokenizer, name="stopping", identity="stopping")


@pytest.fixture
def passes(monkeypatch):
    """Counts the passes over the model's layers by kind, and the rows of each step."""
    counted = {"steps": []}
    step = Rows.step

    def counting(self, tokens):
        counted["steps"].append(len(tokens))
        return step(self, tokens)

    monkeypatch.setattr(Rows, "step", counting)
    return counted


def limited(model, monkeypatch, **changes):
    given_limits = model._engine.limits()
    monkeypatch.setattr(model._engine, "limits", lambda: Limits(**(vars(given_limits) | changes)))


def greedy(model, prompt, most, stops=None):
    """Tokens one by one, the whole sequence run anew for each: no cache, no batch, transformers' plain attention."""
    ids, stops = list(prompt), model.stop_ids if stops is None else stops
    with torch.inference_mode():
        for _ in range(most):
            token = int(model.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token in stops:
                break
            ids.append(token)
    return ids[len(prompt) :]


def run(model, jobs):
    found = {i: generated for batch in generate(model._engine, jobs) for i, generated in batch}
    assert sorted(found) == list(range(len(jobs)))
    return [found[i] for i in range(len(jobs))]


PIECES = st.lists(st.integers(0, 3), min_size=0, max_size=3)  # of which prompts are made: they branch at every level


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    prompts=st.lists(PIECES, min_size=1, max_size=12),
    most=st.lists(st.integers(1, 14), min_size=12, max_size=12),
    rows=st.integers(1, 5),
    prefill=st.integers(1, 120),
    cache=st.integers(60, 400),
)
def test_random_trees_say_what_each_prompt_says_alone(stopping, prompts, most, rows, prefill, cache):
    pieces = [[(31 * p + 7 * i) % 500 + 60 for i in range(5 + 12 * p)] for p in range(4)]
    jobs = [
        Job((61, 62, *(token for piece in prompt for token in pieces[piece])), limit)
        for prompt, limit in zip(prompts, most, strict=False)
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        limited(stopping, monkeypatch, rows=rows, prefill=prefill, cache=cache)
        said = run(stopping, jobs)
    assert [generated.tokens for generated in said] == [greedy(stopping, job.prompt, job.max_tokens) for job in jobs]
    for generated, job in zip(said, jobs, strict=True):
        assert 0 <= generated.shared <= len(job.prompt)


def test_waiting_prompts_join_when_rows_end(model, monkeypatch, passes):
    limited(model, monkeypatch, rows=8)
    lengths = [3 + (17 * i) % 58 for i in range(40)]  # 3 to 60
    jobs = [Job((61, 62, 63 + i, *range(100, 100 + i % 9)), length) for i, length in enumerate(lengths)]
    stopless = LocalModel(model.module, model.tokenizer, name="m", identity="m")
    stopless._engine.stops = ()
    limited(stopless, monkeypatch, rows=8)
    said = run(stopless, jobs)
    assert [generated.count for generated in said] == lengths
    assert [generated.tokens for generated in said] == [greedy(model, j.prompt, j.max_tokens, stops=()) for j in jobs]
    work = sum(lengths) - len(lengths)  # the first token comes with the prompt
    without = sum(max(lengths[start : start + 8]) - 1 for start in range(0, 40, 8))
    assert max(passes["steps"]) == 8
    assert sum(passes["steps"]) < 1.25 * work
    assert len(passes["steps"]) < 0.8 * without


def test_answers_come_while_others_wait(model, ask, monkeypatch):
    limited(model, monkeypatch, rows=2)
    stream = model.answer([Request(r.messages, 2 + 9 * (i % 2)) for i, r in enumerate(ask(6))])
    seen = 0
    for _ in stream:
        seen += 1
        assert model.module.config._attn_implementation == "sdpa" and not torch.is_inference_mode_enabled()
    assert seen == 6


def test_beginnings_are_kept_within_a_bound_and_forgotten_with_the_weights(tiny_model_folder, ask, monkeypatch):
    found = load_model(str(tiny_model_folder))
    kept = found._engine.beginnings
    first, second = (dict(found.answer(ask(4))) for _ in range(2))
    assert first[0].text == second[0].text
    assert min(answer.shared_tokens for answer in first.values()) == 0
    assert min(answer.shared_tokens for answer in second.values()) > 20
    for number in range(6):
        list(found.answer(ask(3, 2, system=f"{number} " + "sunny rain evening west " * 9)))
    assert len(kept._kept) == 7
    limited(found, monkeypatch, cache=8 * 200)
    list(found.answer(ask(3, 2, system="now with less room " * 9)))
    assert 0 < sum(len(prefix.ids) for prefix in kept._kept) <= 200
    with torch.no_grad():
        found.module.model.layers[0].mlp.up_proj.weight.mul_(-1.0)
    fresh = LocalModel(found.module, found.tokenizer, name="m", identity="m")
    assert [a.text for _, a in sorted(found.answer(ask(3, 8, system="now with less room " * 9)))] == [
        a.text for _, a in sorted(fresh.answer(ask(3, 8, system="now with less room " * 9)))
    ]


def test_a_model_in_training_keeps_nothing(tiny_model_folder, ask):
    loaded = load_model(str(tiny_model_folder))
    wrapped = LocalModel.wrap(loaded.module, loaded.tokenizer, name="in training", identity="step 7")
    for _ in range(2):
        assert min(answer.shared_tokens for _, answer in wrapped.answer(ask(4))) == 0
        assert wrapped._engine.beginnings._kept == []
    stream = wrapped.answer(ask(40))
    next(stream)
    stream.close()
    assert wrapped._engine.beginnings._kept == []


def test_one_request_at_a_time_shares_from_the_second_on(tiny_model_folder, ask, by_transformers, tokens_of):
    found = load_model(str(tiny_model_folder))
    requests = ask(5)
    spared = [next(iter(found.answer([request])))[1].shared_tokens for request in requests]
    assert spared[0] == spared[1] == 0  # the second computes what it has in common with the first, and keeps it
    assert all(tokens > 20 for tokens in spared[2:])
    assert [tokens_of(found, [request])[0] for request in requests] == [by_transformers(found, r) for r in requests]


LABELS = st.lists(
    st.text(alphabet="abil ", min_size=1, max_size=9).map(str.strip).filter(bool), min_size=1, max_size=8, unique=True
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(labels=LABELS, words=st.lists(st.sampled_from(["parcel", "invoice", "rain", "bill"]), min_size=1, max_size=4))
def test_closed_sets_are_decided_as_token_by_token(model, labels, words):
    constraint = Constraint(choices=tuple(labels))
    requests = [Request((Message("user", " ".join(words[: i + 1])),), 24, constraint) for i in range(len(words))]
    said = []
    for overhead in (-1000, 100_000):  # what is run ahead has to be worth it: nothing, everything
        with pytest.MonkeyPatch.context() as monkeypatch:
            limited(model, monkeypatch, overhead=overhead)
            said.append([(g.tokens, g.count, g.finish) for g in run(model, model._jobs(requests))])
    assert said[0] == said[1]
    assert all(model.tokenizer.decode(tokens) in labels for tokens, _, _ in said[0])


def test_the_labels_of_banking77_are_decided_as_token_by_token(model, monkeypatch):
    data = Path(__file__).parents[2].parent / "shared" / "data" / "banking77" / "test.jsonl"
    if not data.is_file():
        pytest.skip("the shared data is not there")
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    labels = Constraint(choices=tuple(sorted({row["completion"] for row in rows})))
    assert len(labels.choices) == 77
    requests = [Request((Message("user", row["prompt"]),), 60, labels) for row in rows[:24]]
    said = []
    for overhead in (-1000, 1_000_000):
        limited(model, monkeypatch, overhead=overhead)
        said.append([(g.tokens, g.count, g.finish) for g in run(model, model._jobs(requests))])
    assert said[0] == said[1]
    texts = {model.tokenizer.decode(tokens) for tokens, _, _ in said[0]}
    assert len(texts) > 3 and texts <= set(labels.choices)


def test_a_closed_set_takes_one_pass(model, ask, monkeypatch, passes):
    """Labels that begin alike need more than one decision; those run ahead with the prompt.

    Each of these has only one spelling: the tokenizer knows no token of two such letters.
    """
    constraint = Constraint(choices=("zqz", "zqx", "xqz", "xqx"))
    assert len(model.tokenizer.encode("zqxz")) == 4
    requests = ask(6, 20, constraint=constraint)
    wanted = [(answer.text, answer.completion_tokens) for _, answer in sorted(model.answer(requests))]
    assert passes["steps"]
    passes["steps"].clear()
    limited(model, monkeypatch, overhead=100)
    assert [(answer.text, answer.completion_tokens) for _, answer in sorted(model.answer(requests))] == wanted
    assert not passes["steps"]


def test_likelihood_of_choices_is_that_of_the_whole_answer(model, ask):
    choices = ("billing", "bill", "größer")
    requests = ask(4, constraint=Constraint(choices=choices))
    found = model.choice_logprobs(requests)
    end = model.tokenizer.convert_tokens_to_ids("<|im_end|>")
    for request, got in zip(requests, found, strict=True):
        prompt = render_prompt(model.tokenizer, request.messages)
        for choice, value in zip(choices, got, strict=True):
            ids = [*prompt, *model.tokenizer.encode(choice, add_special_tokens=False), end]
            with torch.inference_mode():
                logprobs = model.module(torch.tensor([ids])).logits[0].log_softmax(-1)
            wanted = sum(float(logprobs[i - 1, ids[i]]) for i in range(len(prompt), len(ids)))
            np.testing.assert_allclose(value, wanted, atol=1e-4)
    with pytest.raises(ModelError, match="request 1 has no choices"):
        model.choice_logprobs([requests[0], ask(1)[0]])


def test_the_json_style_can_also_be_said_in_the_schema():
    """vLLM hands a schema to llguidance with its own defaults; what the schema itself says goes before them."""
    from llguidance import LLMatcher

    from luthier.models._constrain import _grammar

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    ours = json.loads(_grammar(Constraint(json_schema=json.dumps(schema))))
    theirs = json.loads(
        LLMatcher.grammar_from_json_schema(schema | {"x-guidance": JSON_STYLE}, defaults={"whitespace_flexible": True})
    )
    options = [grammar["grammars"][0]["json_schema"]["x-guidance"] for grammar in (ours, theirs)]
    assert options[0]["whitespace_pattern"] == options[1]["whitespace_pattern"] == " ?"


def test_the_engine_tries_sharing_out_before_it_relies_on_it(tiny_model_folder):
    assert load_model(str(tiny_model_folder))._engine.batching is engine_module.Batching.PREFIX
