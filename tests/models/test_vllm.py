"""vLLM as the engine: our side of it, with a stand-in for vLLM that asks transformers. Nothing here needs a GPU."""

import importlib.machinery
import json
import logging
import sys
import types
import warnings

import peft
import pytest
import torch

from luthier.models import Constraint, LocalModel, Request, load_model
from luthier.models import _vllm as vllm_module
from luthier.models._vllm import VllmModel, vllm_is_there

CHOICES = Constraint(choices=("shipping", "billing"))
SCHEMA = Constraint(json_schema='{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}')


class Recorded:
    """What the stand-in was given, in the order of the calls."""

    def __init__(self):
        self.loads, self.calls = [], []


@pytest.fixture
def vllm(monkeypatch, tiny_model_folder):
    """A module `vllm` whose LLM answers with the tiny model, and keeps what it was given."""
    recorded = Recorded()
    behind = load_model(str(tiny_model_folder))

    class Params:
        def __init__(self, **given):
            self.__dict__.update(given)

    class LoRARequest:
        def __init__(self, lora_name, lora_int_id, lora_path):
            self.lora_name, self.lora_int_id, self.lora_path = lora_name, lora_int_id, lora_path

    class LLM:
        wrong = False

        def __init__(self, **given):
            recorded.loads.append(given)

        def generate(self, prompts, settings, *, use_tqdm, lora_request):
            recorded.calls.append((prompts, settings, lora_request))
            return [self._output(p["prompt_token_ids"], s) for p, s in zip(prompts, settings, strict=True)]

        def _output(self, prompt, settings):
            ids, finish = list(prompt), "length"
            for _ in range(settings.max_tokens):
                logprobs = behind.next_token_logprobs(ids)[-1]
                ids.append(int(logprobs.argmin() if self.wrong else logprobs.argmax()))
                if ids[-1] in settings.stop_token_ids:
                    finish = "stop"
                    break
            said = types.SimpleNamespace(token_ids=ids[len(prompt) :], finish_reason=finish)
            return types.SimpleNamespace(outputs=[said], num_cached_tokens=3)

    parts = {
        "vllm": {"LLM": LLM, "SamplingParams": Params, "__version__": "0.14.0"},
        "vllm.inputs": {"TokensPrompt": dict},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.sampling_params": {"StructuredOutputsParams": Params},
    }
    for name, names in parts.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__dict__.update(names)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60, 80))
    recorded.llm = LLM
    return recorded


@pytest.fixture
def make_adapter(tiny_model_folder, tmp_path):
    """Folders with adapters that have an effect (PEFT starts with none)."""

    def make(**changes):
        base = load_model(str(tiny_model_folder)).module
        settings = {"r": 4, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False} | changes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers under a name that is being renamed
            tuned = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
        folder = tmp_path / f"adapter{len(list(tmp_path.iterdir()))}"
        tuned.save_pretrained(str(folder), save_embedding_layers=False)
        return folder

    return make


@pytest.fixture
def model(vllm, tiny_model_folder):
    return VllmModel.over(load_model(str(tiny_model_folder)))


def test_it_is_chosen_where_cuda_and_vllm_are_there(vllm, monkeypatch, tiny_model_folder):
    assert not vllm_is_there() and type(load_model(str(tiny_model_folder))) is LocalModel  # no CUDA
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        assert vllm_is_there()
        patch.delitem(sys.modules, "vllm")
        assert not vllm_is_there()  # CUDA, but no vLLM
    monkeypatch.setattr(vllm_module, "vllm_is_there", lambda: True)
    found = load_model(str(tiny_model_folder))
    assert isinstance(found, VllmModel) and isinstance(found, LocalModel)
    assert len(vllm.loads) == 1 and found.base_identity == load_model_without(monkeypatch, tiny_model_folder).identity
    assert found.identity != found.base_identity  # what it says is kept apart from what transformers says


def load_model_without(monkeypatch, folder):
    """The same model, answered by transformers."""
    monkeypatch.setattr(vllm_module, "vllm_is_there", lambda: False)
    return load_model(str(folder))


def test_it_says_what_transformers_says_and_what_it_took(model, vllm, ask, tiny_model_folder):
    requests = [Request(r.messages, 3 + i) for i, r in enumerate(ask(5))]
    got, wanted = dict(model.answer(requests)), dict(load_model(str(tiny_model_folder)).answer(requests))
    for index, answer in got.items():
        other = wanted[index]
        assert (answer.text, answer.finish, answer.prompt_tokens) == (other.text, other.finish, other.prompt_tokens)
        assert answer.completion_tokens == other.completion_tokens and answer.shared_tokens == 3 and answer.seconds > 0
    [load] = vllm.loads
    assert load["model"] == str(tiny_model_folder) and load["dtype"] == "float32"
    assert load["enable_prefix_caching"] and load["enable_lora"] and not load["trust_remote_code"]
    assert load["gpu_memory_utilization"] == pytest.approx(0.5 * 60 / 80)


def test_what_a_request_becomes(model, vllm, ask):
    requests = [Request(r.messages, 7, kind) for r, kind in zip(ask(3), (None, CHOICES, SCHEMA), strict=True)]
    list(model.answer(requests))
    prompts, settings, lora = vllm.calls[-1]
    assert [prompt["prompt_token_ids"] for prompt in prompts] == [list(job.prompt) for job in model._jobs(requests)]
    assert lora is None
    for one in settings:
        assert one.temperature == 0.0 and one.max_tokens == 7 and one.stop_token_ids == list(model.stop_ids)
    assert settings[0].structured_outputs is None
    assert settings[1].structured_outputs.choice == ["billing", "shipping"]
    assert settings[2].structured_outputs.json == json.loads(SCHEMA.json_schema) | {
        "x-guidance": {"whitespace_pattern": " ?"}
    }


def test_many_requests_are_handed_over_in_parts(model, vllm, ask, monkeypatch):
    monkeypatch.setattr(vllm_module, "_AT_ONCE", 2)
    assert sorted(index for index, _ in model.answer(ask(5, 2))) == [0, 1, 2, 3, 4]
    assert [len(prompts) for prompts, _, _ in vllm.calls[-3:]] == [2, 2, 1]


def test_an_engine_that_says_something_else_is_not_used(vllm, caplog, monkeypatch, tiny_model_folder):
    monkeypatch.setattr(vllm.llm, "wrong", True)
    plain = load_model(str(tiny_model_folder))
    with caplog.at_level(logging.WARNING):
        assert VllmModel.over(plain) is plain
    assert caplog.text.count("differently, by more than a tie") == 1  # said once
    assert "4 of 4 sample requests" in caplog.text and "transformers answers instead" in caplog.text


def test_an_engine_that_does_not_start_is_not_used(vllm, caplog, monkeypatch, tiny_model_folder):
    def refuse(self, **given):
        raise ValueError("no memory for the cache\nand more lines")

    monkeypatch.setattr(vllm.llm, "__init__", refuse)
    plain = load_model(str(tiny_model_folder))
    with caplog.at_level(logging.WARNING):
        assert VllmModel.over(plain) is plain
    assert "(no memory for the cache); transformers answers instead" in caplog.text


def test_adapters_go_to_its_lora_support_if_it_has_what_they_need(model, vllm, ask, make_adapter):
    folder = make_adapter()
    tuned = model.with_adapter(folder)
    assert isinstance(tuned, VllmModel) and tuned.identity != model.identity and tuned.adapter == folder
    list(tuned.answer(ask(2, 2)))
    *_, (_, _, lora) = vllm.calls
    assert lora.lora_path == str(folder) and lora.lora_int_id == 1
    list(model.answer(ask(2, 2)))
    assert vllm.calls[-1][2] is None  # the base stays the base
    assert len(vllm.loads) == 1  # and both share one engine
    assert type(model.with_adapter(folder, scale=0.5)) is LocalModel
    assert type(model.with_adapter(make_adapter(use_dora=True))) is LocalModel
    assert type(model.with_adapter(make_adapter(r=128))) is LocalModel
    assert type(model.with_adapter(make_adapter(alpha_pattern={"q_proj": 3}))) is LocalModel
