import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from luthier.data import Message
from luthier.errors import ModelError
from luthier.models import Constraint, LocalModel, Request, load_model, render_prompt
from luthier.models import _engine as engine_module
from luthier.models._plan import Limits


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return load_model(str(tiny_model_folder))


@pytest.fixture
def stopping(tiny_model_folder, ask, tokens_of):
    """A model whose answers end at different places: tokens that it likes to say are made stop tokens."""
    said = tokens_of(load_model(str(tiny_model_folder)), ask(8, 12))
    found = load_model(str(tiny_model_folder))
    found.module.generation_config.eos_token_id = [said[0][3], said[2][6], said[5][1]]
    return LocalModel(found.module, found.tokenizer, name="stopping", identity="stopping")


def limited(monkeypatch, **changes):
    given = engine_module.Engine.limits
    monkeypatch.setattr(engine_module.Engine, "limits", lambda self: Limits(**(vars(given(self)) | changes)))


@pytest.mark.parametrize("system", ["long", None])
def test_a_batch_says_what_transformers_says_one_by_one(model, ask, by_transformers, tokens_of, system):
    requests = ask(6) if system else ask(6, system=None)
    assert model.batching == "prefix"
    assert tokens_of(model, requests) == [by_transformers(model, request) for request in requests]


def test_rows_that_stop_leave_and_the_others_are_not_disturbed(stopping, ask, by_transformers, tokens_of):
    requests = [Request(r.messages, 3 + i) for i, r in enumerate(ask(9))]
    wanted = [by_transformers(stopping, request) for request in requests]
    assert len({len(tokens) for tokens in wanted}) > 3  # they do end at different places
    assert tokens_of(stopping, requests) == wanted


def test_many_small_batches_keep_the_common_beginning(model, ask, by_transformers, tokens_of, monkeypatch):
    limited(monkeypatch, rows=3)
    requests = ask(8)
    model._engine.beginnings.forget()
    answers = dict(model.answer(requests))
    prompts = [render_prompt(model.tokenizer, r.messages) for r in requests]
    common = next(i for i in range(999) if len({p[i] for p in prompts}) > 1)
    spared = sorted(answer.shared_tokens for answer in answers.values())
    assert spared[0] == 0  # the first row of all computed the beginning
    assert all(tokens >= common for tokens in spared[1:])
    assert tokens_of(model, requests) == [by_transformers(model, request) for request in requests]
    again = [answer.shared_tokens for _, answer in model.answer(requests)]
    assert min(again) >= common  # it was kept for the next call


def test_prompts_that_share_more_in_groups(model, by_transformers, tokens_of):
    documents = ["sunny rain evening west wind " * 12, "invoice amount parcel refund wrong " * 12]
    requests = [
        Request((Message("user", documents[i % 2] + question),), 6)
        for i, question in enumerate(["is it so?", "why?", "how much?", "when?", "who?", "where to?"])
    ]
    assert tokens_of(model, requests) == [by_transformers(model, request) for request in requests]
    spared = [answer.shared_tokens for _, answer in model.answer(requests)]
    assert sum(tokens > 50 for tokens in spared) >= 4  # each document was computed once, for three questions


def test_a_single_request_and_none_at_all(model, ask, by_transformers, tokens_of):
    assert list(model.answer([])) == []
    request = ask(1)[0]
    assert tokens_of(model, [request]) == [by_transformers(model, request)]


def test_equal_prompts(model, ask, by_transformers, tokens_of):
    request = ask(3)[2]
    assert tokens_of(model, [request] * 4) == [by_transformers(model, request)] * 4


def test_what_an_answer_says_about_itself(stopping, ask):
    requests = ask(8)
    answers = dict(stopping.answer(requests))
    assert sorted(answers) == list(range(8))
    for index, answer in answers.items():
        assert answer.prompt_tokens == stopping.count_tokens(requests[index].messages)
        assert 0 <= answer.shared_tokens < answer.prompt_tokens
        assert answer.seconds > 0
        assert answer.completion_tokens <= 12
        if answer.completion_tokens < 12:
            assert answer.finish == "stop"
    assert {answer.finish for answer in answers.values()} == {"stop", "length"}


def test_penalties_of_the_generation_config_are_not_applied(tiny_model_folder, ask, tokens_of):
    plain, penal = load_model(str(tiny_model_folder)), load_model(str(tiny_model_folder))
    penal.module.generation_config.repetition_penalty = 5.0
    penal.module.generation_config.no_repeat_ngram_size = 1
    requests = ask(4)
    assert tokens_of(plain, requests) == tokens_of(penal, requests)
    penal._engine.batching = engine_module.Batching.SINGLE
    assert tokens_of(plain, requests) == tokens_of(penal, requests)
    assert penal.module.generation_config.repetition_penalty == 5.0


def test_too_long_prompts_are_all_named_before_anything_is_computed(model, ask, monkeypatch):
    monkeypatch.setattr(model.module, "forward", None)  # would fail loudly
    long = Request((Message("user", "parcel " * 900),), 10)
    with pytest.raises(ModelError) as caught:
        list(model.answer([ask(1)[0], long, Request(ask(1)[0].messages, 600), ask(1)[0]]))
    text = str(caught.value)
    assert "2 request(s)" in text and "takes 512 tokens" in text
    assert "request 1: " in text and "request 2: " in text and "+ 600 for the answer" in text
    assert "request 0" not in text and "request 3" not in text


def test_the_longest_prompt_that_fits(model, tokens_of, by_transformers):
    short = Request((Message("user", "parcel " * 60),), 4)
    while model.count_tokens(short.messages) + 4 < 512:
        text = short.messages[0].content + ("parcel " if model.count_tokens(short.messages) < 500 else "7")
        short = Request((Message("user", text),), 4)
    assert model.count_tokens(short.messages) + 4 == 512
    assert tokens_of(model, [short]) == [by_transformers(model, short)]


@pytest.mark.parametrize("mode", ["padded", "single"])
def test_the_other_ways_say_the_same(tiny_model_folder, ask, tokens_of, mode):
    found = load_model(str(tiny_model_folder))
    requests = [Request(r.messages, 4 + i % 5) for i, r in enumerate(ask(7))]
    wanted = tokens_of(found, requests)
    found._engine.batching = engine_module.Batching(mode)
    assert tokens_of(found, requests) == wanted
    assert {answer.shared_tokens for _, answer in found.answer(requests)} == {0}


SLIDING = {
    "MistralConfig": {"sliding_window": 64},
    "Gemma3TextConfig": {"sliding_window": 64, "head_dim": 16, "layer_types": ["sliding_attention", "full_attention"]},
}


@pytest.mark.parametrize("config", SLIDING)
def test_sliding_windows_share_within_the_window_and_are_right_beyond_it(
    make_tiny_model, ask, by_transformers, tokens_of, config
):
    found = load_model(str(make_tiny_model(config, **SLIDING[config])))
    short, long = ask(6, 8, system=None), ask(4, 20)
    assert found.batching == "prefix"
    assert found._engine.span == 64
    assert max(found.count_tokens(r.messages) for r in short) + 8 <= 64
    assert min(found.count_tokens(r.messages) for r in long) + 20 > 64
    requests = [*long, *short]
    assert tokens_of(found, requests) == [by_transformers(found, request) for request in requests]
    spared = [answer.shared_tokens for _, answer in sorted(found.answer(requests))]
    assert set(spared[:4]) == {0} and max(spared[4:]) > 0


DEEPSEEK = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
DEEPSEEK |= {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 32,
}
GPT_OSS = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16, "sliding_window": 128}
GPT_OSS |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
WAYS = {"DeepseekV3Config": "padded", "GptOssConfig": "padded"}
WAYS |= {"BloomConfig": "single", "MambaConfig": "single", "Lfm2Config": "single"}


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ("Gemma2Config", {"head_dim": 16, "sliding_window": 4096, "attn_logit_softcapping": 2.0}),
        ("GraniteConfig", {"attention_multiplier": 0.3, "logits_scaling": 3.0}),
        ("GPTNeoXConfig", {}),
        ("Qwen3MoeConfig", {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}),
        ("DeepseekV3Config", DEEPSEEK),  # caches compressed keys and values
        ("GptOssConfig", GPT_OSS),  # attention sinks
        ("BloomConfig", {"n_head": 4, "n_layer": 2}),  # positions in the attention's bias
        ("MambaConfig", {"state_size": 4, "num_hidden_layers": 2}),
        ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}),
    ],
)
def test_other_architectures_are_right_whatever_they_allow(
    make_tiny_model, ask, by_transformers, tokens_of, config, changes
):
    found = load_model(str(make_tiny_model(config, **changes)))
    requests = ask(4, 5)
    assert found.batching == WAYS.get(config, "prefix")
    assert tokens_of(found, requests) == [by_transformers(found, request) for request in requests]


def test_a_model_in_training_gets_everything_back(tiny_model_folder, ask, tokens_of):
    loaded = load_model(str(tiny_model_folder))
    module = loaded.module.train()
    module.model.layers[1].eval()  # a part that its trainer froze
    module.requires_grad_(True)
    modes = {name: part.training for name, part in module.named_modules()}
    wrapped = LocalModel.wrap(module, loaded.tokenizer, name="in training", identity="step 7")
    requests = ask(40, 4)
    seen = 0
    for _ in wrapped.answer(requests):
        seen += 1
        assert {name: part.training for name, part in module.named_modules()} == modes
        assert module.config._attn_implementation == "sdpa"
        assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    assert seen == 40 and wrapped.identity == "step 7"
    # It can still learn, and what it learned shows in the next answers.
    ids = torch.tensor([render_prompt(loaded.tokenizer, requests[0].messages)])
    before = tokens_of(wrapped, requests[:5])
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    module(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    assert tokens_of(wrapped, requests[:5]) != before


def test_a_consumer_that_stops_early_leaves_the_model_in_order(tiny_model_folder, ask, monkeypatch):
    limited(monkeypatch, rows=2)
    found = load_model(str(tiny_model_folder))
    found.module.train()
    stream = found.answer(ask(6))
    next(stream)
    stream.close()
    assert found.module.training and found.module.config._attn_implementation == "sdpa"


def test_an_error_in_the_middle_leaves_the_model_in_order(tiny_model_folder, ask, monkeypatch):
    found = load_model(str(tiny_model_folder))
    found.module.train()
    assert found.batching == "prefix"
    settings = found.module.generation_config
    monkeypatch.setattr(found.module.model.layers[1].mlp, "forward", lambda hidden: 1 / 0)
    for mode in engine_module.Batching:
        found._engine.batching = mode
        with pytest.raises(ZeroDivisionError):
            list(found.answer(ask(3)))
        assert found.module.training and found.module.config._attn_implementation == "sdpa"
        assert found.module.generation_config is settings


def test_bf16_answers_and_does_not_crash(tiny_model_folder, ask):
    loaded = load_model(str(tiny_model_folder))
    module = loaded.module.to(torch.bfloat16)
    wrapped = LocalModel.wrap(module, loaded.tokenizer, name="bf16", identity="bf16")
    answers = dict(wrapped.answer(ask(5)))
    assert wrapped.batching == "prefix" and len(answers) == 5


def test_an_attention_that_hides_the_prefix_is_found_out(
    tiny_model_folder, ask, by_transformers, tokens_of, monkeypatch
):
    """An architecture that does not hand the prefix on to its attention must not be trusted with it."""
    given = engine_module.extend

    def forgetful(core, prefix, ids, device):
        found, logits = given(core, prefix, ids, device)
        return type(found)(found.ids, [(keys * 0, values * 0) for keys, values in found.layers]), logits

    monkeypatch.setattr(engine_module, "extend", forgetful)
    found = load_model(str(tiny_model_folder))
    assert found.batching == "padded"
    requests = ask(4)
    assert tokens_of(found, requests) == [by_transformers(found, request) for request in requests]


CHOICES = Constraint(choices=("billing", "bill", "technical", 'say "no"\n', "größer"))
SCHEMA = Constraint(
    json_schema='{"type":"object","properties":{"n":{"type":"integer","minimum":0,"maximum":99},'
    '"team":{"enum":["billing","other"]}},"required":["n","team"],"additionalProperties":false}'
)


@pytest.mark.parametrize("mode", list(engine_module.Batching))
def test_constrained_answers_keep_to_their_form(tiny_model_folder, ask, mode):
    import json

    found = load_model(str(tiny_model_folder))
    found._engine.batching = mode
    mixed = [Request(r.messages, 60, (None, CHOICES, SCHEMA)[i % 3]) for i, r in enumerate(ask(9))]
    for index, answer in found.answer(mixed):
        if index % 3 == 1:
            assert answer.text in CHOICES.choices and answer.finish == "stop"
        if index % 3 == 2:
            record = json.loads(answer.text)
            assert 0 <= record["n"] <= 99 and record["team"] in ("billing", "other") and answer.finish == "stop"


def test_a_constraint_changes_only_its_own_row(model, ask, by_transformers, tokens_of):
    requests = [Request(r.messages, 10, CHOICES if i % 2 else None) for i, r in enumerate(ask(6))]
    said = tokens_of(model, requests)
    for index in (0, 2, 4):
        assert said[index] == by_transformers(model, requests[index])


def test_the_constrained_choice_is_the_greedy_one_among_the_allowed(model, ask):
    """The first step must take the largest logit among the tokens that begin a choice."""
    request = ask(3, 20, constraint=Constraint(choices=("billing", "technical")))[2]
    prompt = render_prompt(model.tokenizer, request.messages)
    logits = model.next_token_logprobs(prompt)[-1]
    starts = {
        choice: max(logits[token] for text, token in model.tokenizer.get_vocab().items() if choice.startswith(text))
        for choice in ("billing", "technical")
    }
    [(_, answer)] = model.answer([request])
    assert answer.text == max(starts, key=lambda choice: starts[choice])


def test_a_constrained_answer_that_is_cut_says_so(model, ask):
    [(_, answer)] = model.answer(ask(1, 3, constraint=SCHEMA))
    assert answer.finish == "length" and answer.completion_tokens == 3


@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        (Constraint(json_schema='{"type":"object","not":{}}'), "not"),
        (Constraint(json_schema="{"), "JSON schema"),
        (Constraint(choices=()), "at least one"),
        (Constraint(choices=("a", "")), "empty"),
        (Constraint(), "neither"),
    ],
)
def test_constraints_that_cannot_be_used(model, ask, constraint, told):
    with pytest.raises(ModelError, match=told):
        list(model.answer(ask(1, 5, constraint=constraint)))


def test_logprobs_are_those_of_the_whole_sequence(model, ask):
    prompts = [render_prompt(model.tokenizer, r.messages) for r in ask(5)]
    sequences = [p + list(range(20, 20 + i)) for i, p in enumerate(prompts, start=1)]
    starts = [len(p) for p in prompts]
    for mode in engine_module.Batching:
        found = LocalModel(model.module, model.tokenizer, name="m", identity="m")
        found._engine.batching = mode
        for ids, start, got in zip(sequences, starts, found.logprobs(sequences, starts), strict=True):
            with torch.inference_mode():
                wanted = model.module(torch.tensor([ids])).logits[0].log_softmax(-1)
            wanted = [float(wanted[i - 1, ids[i]]) for i in range(start, len(ids))]
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_likelihoods_tell_the_likeliest_token_too(model, ask):
    prompts = [render_prompt(model.tokenizer, r.messages) for r in ask(4)]
    answers = [model.tokenizer.encode(a.text, add_special_tokens=False) for _, a in sorted(model.answer(ask(4, 6)))]
    sequences = [p + a + [40 + i] for i, (p, a) in enumerate(zip(prompts, answers, strict=True))]
    for mode in engine_module.Batching:
        found = LocalModel(model.module, model.tokenizer, name="m", identity="m")
        found._engine.batching = mode
        for ids, prompt, got in zip(
            sequences, prompts, found.likelihoods(sequences, list(map(len, prompts))), strict=True
        ):
            with torch.inference_mode():
                wanted = model.module(torch.tensor([ids])).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            np.testing.assert_allclose(got[:, 1], wanted.max(-1).values, atol=2e-5)
            first = [int(wanted[i].argmax()) == token for i, token in enumerate(ids[len(prompt) :])]
            assert [bool(own >= best) for own, best in got] == first


def test_logprobs_of_a_sequence_whose_logits_do_not_fit(model, monkeypatch):
    limited(monkeypatch, nodes=4)
    monkeypatch.setattr("luthier.models._score._CHUNK", 7)
    ids = [(31 * i) % 300 + 3 for i in range(40)]
    with torch.inference_mode():
        wanted = model.module(torch.tensor([ids])).logits[0].log_softmax(-1)
    [got] = model.logprobs([ids], [1])
    np.testing.assert_allclose(got, [float(wanted[i - 1, ids[i]]) for i in range(1, 40)], atol=2e-5)
    np.testing.assert_allclose(model.next_token_logprobs(ids), wanted.numpy(), atol=2e-5)
    assert model.next_token_logprobs(ids).shape == (40, len(model.tokenizer))


def test_logprobs_of_nothing(model):
    assert model.logprobs([[5, 6]], [2])[0].shape == (0,)
    for sequences, starts in ([[5, 6]], [0]), ([[5, 6]], [3]), ([[]], [1]), ([[1] * 513], [5]):
        with pytest.raises(ModelError, match="sequence 0 has"):
            model.logprobs(sequences, starts)


def test_generation_settings_are_transformers_defaults(model):
    """If a default of transformers became a penalty, greedy would no longer be greedy in the padded way."""
    settings = GenerationConfig()
    assert settings.repetition_penalty in (None, 1.0) and not settings.no_repeat_ngram_size


def test_threads_may_ask_at_the_same_time(tiny_model_folder, ask, tokens_of):
    """A server asks from several threads: each gets its own answers, and the model is in order afterwards."""
    from concurrent.futures import ThreadPoolExecutor

    found = load_model(str(tiny_model_folder))
    lists = [ask(4 + i, 6) for i in range(6)]
    wanted = [tokens_of(found, requests) for requests in lists]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda requests: tokens_of(found, requests), lists)) == wanted
    assert found.module.config._attn_implementation == "sdpa"
