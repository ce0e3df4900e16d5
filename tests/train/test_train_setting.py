"""Packing and precision are found out on the rows; what does not fit falls back and says so."""

from dataclasses import replace

import pytest
import torch
import transformers

from luthier.models import LocalModel
from luthier.train import _setting as setting_module
from luthier.train import fine_tune
from luthier.train._attention import NAME
from luthier.train._model import load_body
from luthier.train._rows import encode_rows
from luthier.train._setting import find_setting


def found(base, rows, recipe):
    return find_setting(base, encode_rows(base, rows, None), recipe, lambda dtype: load_body(base, dtype))


def with_module(base, module):
    return LocalModel.wrap(module.eval(), base.tokenizer, name="other", identity="other")


def test_a_llama_is_packed_and_the_reason_is_a_number(base, rows, recipe):
    setting = found(base, rows, recipe)
    assert setting.packing == "tree" and "nats a label" in setting.packing_reason


@pytest.mark.parametrize("config", ["BloomConfig", "FalconConfig"])
def test_an_architecture_without_the_interface_is_padded(base, rows, recipe, config):
    shape = {"vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    other = with_module(base, transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**shape)))
    setting = find_setting(other, encode_rows(base, rows, None), replace(recipe, method="full"), None)
    name = config.replace("Config", "ForCausalLM")
    assert setting.packing == "padded"
    assert f"no tree: {name} has its own attention" in setting.packing_reason
    assert f"no padding-free: {name}" in setting.packing_reason


def test_a_state_that_runs_through_rows_is_padded(base, rows, recipe):
    config = transformers.MambaConfig(vocab_size=600, hidden_size=32, num_hidden_layers=2, state_size=4)
    other = with_module(base, transformers.AutoModelForCausalLM.from_config(config))
    setting = find_setting(other, encode_rows(base, rows, None), replace(recipe, method="full"), None)
    assert (
        setting.packing == "padded"
        and "no padding-free: MambaForCausalLM does not keep rows apart" in setting.packing_reason
    )


def test_a_model_that_computes_something_else_on_trees_is_packed_without_them(base, rows, recipe, monkeypatch):
    from luthier.train import _attention

    def forgetful(piece, groups, window, dtype, device):
        return torch.zeros(piece.length * groups, piece.depth + piece.length, dtype=dtype, device=device)

    monkeypatch.setattr(_attention, "_mask", forgetful)
    setting = found(base, rows, recipe)
    assert (
        setting.packing == "padding-free" and "no tree: LlamaForCausalLM differs from padded" in setting.packing_reason
    )
    assert base.module.config._attn_implementation != NAME


def test_dropout_in_attention_is_not_taken_for_a_tree(base, rows, recipe):
    config = transformers.LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4
    )
    config.attention_dropout = 0.1
    model = transformers.AutoModelForCausalLM.from_config(config)
    other = with_module(base, model)
    model.train()
    setting = find_setting(other, encode_rows(base, rows, None), replace(recipe, method="full"), None)
    assert setting.packing != "tree" and "dropout" in setting.packing_reason


@pytest.mark.parametrize(("features", "precision"), [({"avx512_bf16": True}, "bfloat16"), ({}, "float32")])
def test_bf16_where_the_processor_has_it(base, rows, recipe, monkeypatch, features, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    setting = found(base, rows, recipe)
    assert setting.precision == precision and "bf16" in setting.precision_reason


def test_bf16_that_changes_the_loss_is_not_used(base, rows, recipe, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(setting_module, "LOSS_TOLERANCE", 0.0)
    setting = found(base, rows, recipe)
    assert setting.precision == "float32" and "bf16 changes the loss" in setting.precision_reason


def test_all_weights_are_trained_in_full_precision(base, rows, recipe):
    assert found(base, rows, replace(recipe, method="full")).precision == "float32"


@pytest.mark.parametrize("features", [{"avx512_bf16": True}, {}])
@pytest.mark.parametrize("packing", ["padding-free", "padded"])
def test_all_packings_end_alike(base, rows, recipe, score, tmp_path, monkeypatch, features, packing):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    packed = fine_tune(base, rows, recipe, tmp_path / "packed", score=score)
    monkeypatch.setattr(setting_module, "PACKED", ("padding-free",) if packing == "padding-free" else ())
    other = fine_tune(base, rows, recipe, tmp_path / "other", score=score)
    assert (packed.setting.packing, other.setting.packing) == ("tree", packing)
    assert packed.tokens < 0.5 * other.tokens
    tolerance = 0.02 if features else 1e-3
    assert [p.loss for p in packed.curve] == pytest.approx([p.loss for p in other.curve], rel=tolerance)
    assert packed.best_score == pytest.approx(other.best_score, rel=5 * tolerance)
