"""A model before its weights are there: nothing but configuration and tokenizer is read or asked for."""

import fnmatch
import shutil

import pytest

from luthier.data import Message
from luthier.errors import ModelError
from luthier.models import Request, load_folder, load_outline, weights_at_hand


@pytest.fixture
def bare(tiny_model_folder, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(tiny_model_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def test_it_says_what_the_model_says(bare, tiny_model_folder):
    outline, model = load_outline(str(bare)), load_folder(tiny_model_folder, name="tiny")
    messages = (Message("user", "my invoice is wrong"),)
    assert outline.n_parameters == model.n_parameters
    assert outline.max_length == model.max_length
    assert outline.count_tokens(messages) == model.count_tokens(messages)


def test_it_cannot_answer(bare):
    with pytest.raises(ModelError, match="weights are not on this machine"):
        load_outline(str(bare)).answer([Request((Message("user", "x"),), 4)])


def test_whether_weights_are_at_hand(bare, tiny_model_folder):
    assert weights_at_hand(str(tiny_model_folder))
    assert not weights_at_hand(str(bare))
    assert weights_at_hand("https://host/v1#model") and weights_at_hand("scripted:answers.json")
    assert not weights_at_hand("nobody/nothing-that-was-ever-fetched")


def test_an_index_asks_for_all_its_files(bare):
    index = '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    (bare / "model.safetensors.index.json").write_text(index)
    (bare / "model-1.safetensors").touch()
    assert not weights_at_hand(str(bare))
    (bare / "model-2.safetensors").touch()
    assert weights_at_hand(str(bare))


def test_of_the_hub_no_weights_are_fetched(bare, monkeypatch):
    asked = {}

    def download(repository, **how):
        asked.update(how, repository=repository)
        return str(bare)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_outline("owner/model@main").n_parameters > 0
    assert (asked["repository"], asked["revision"]) == ("owner/model", "main")
    for file in ("model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin", "model.gguf"):
        assert not any(fnmatch.fnmatch(file, pattern) for pattern in asked["allow_patterns"])
    for file in ("config.json", "tokenizer.json", "chat_template.jinja", "tokenizer.model"):
        assert any(fnmatch.fnmatch(file, pattern) for pattern in asked["allow_patterns"])
