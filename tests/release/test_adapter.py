"""A release with an adapter: locked to the byte, and exported so that it answers the same elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from luthier.data import Example, Message
from luthier.decide import Setup, System
from luthier.errors import ReleaseError
from luthier.models import LocalModel, load_model, render_prompt
from luthier.release import Release, create_app, export, measure_parity, publish, verify_release
from luthier.store import hash_folder

# peft asks transformers for a name that is about to change; here PEFT is used directly, as who gets an export would
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

SCALE = 0.5
TEXTS = ["My invoice shows the wrong amount.", "Where is the parcel?", "Play some music.", "What is 17 plus 25?"]


def save_adapter(base: LocalModel, folder: Path, **changes: object) -> Path:
    """A LoRA adapter with random weights that change answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    body = AutoModelForCausalLM.from_pretrained(base.folder)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **changes)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tuned = get_peft_model(body, config)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    tuned.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Tuned:
    base: LocalModel
    system: System
    release: Release
    cases: tuple[Example, ...]
    plain: tuple[str, ...]


@pytest.fixture
def tuned(shop, tiny_model_folder, tmp_path) -> Tuned:
    base = load_model(str(tiny_model_folder))
    assert isinstance(base, LocalModel)
    adapter = save_adapter(base, tmp_path / "adapter")
    setup = Setup(
        method="fine-tune",
        base=base.name,
        base_identity=base.base_identity,
        instructions="Sort the message.",
        max_tokens=12,
        adapter=hash_folder(adapter),
        scale=SCALE,
    )
    system = System(setup, base.with_adapter(adapter, SCALE), adapter_folder=adapter)
    cases = tuple(Example((Message("user", text),), "billing") for text in TEXTS)
    records = shop.measure(system, cases)
    local = replace(shop, system=system, records=records)
    parity = measure_parity(system, system, cases, records)
    # random weights are no good at the task and never stop: how good it is is not what is looked at here
    stopped = [replace(record, finish="stop") for record in records]
    gate = local.gate(parity=parity, verdict=shop.verdict(records), records=stopped, bar=None)
    made_from = local.made_from(gate=gate, recipe={"rank": 4})
    release = publish(shop.store, system, made_from, cases, records)
    requests = [system.request(case.messages) for case in cases]
    plain = dict(base.answer(requests))
    return Tuned(base, system, release, cases, tuple(plain[i].text for i in range(len(cases))))


def answers(model, system, cases) -> list[str]:
    found = dict(model.answer([system.request(case.messages) for case in cases]))
    return [found[i].text for i in range(len(cases))]


def test_parity_compares_token_ids_with_serving_and_training(tuned, shop):
    records = shop.measure(tuned.system, tuned.cases)
    parity = measure_parity(tuned.system, tuned.system, tuned.cases, records)
    assert parity.tokens_compared and parity.exact
    assert parity.request_differences == parity.answer_differences == ()
    longer = [replace(records[0], prompt_tokens=records[0].prompt_tokens + 1), *records[1:]]
    assert measure_parity(tuned.system, tuned.system, tuned.cases, longer).request_differences == (tuned.cases[0].id,)


def test_parity_sees_an_adapter_at_another_scale(tuned, shop):
    records = shop.measure(tuned.system, tuned.cases)
    stronger = replace(tuned.system, model=tuned.base.with_adapter(tuned.release.folder / "adapter", 2.0))
    assert measure_parity(tuned.system, stronger, tuned.cases, records).answer_differences


def test_parity_sees_another_chat_template(tuned, shop, tiny_model_folder):
    records = shop.measure(tuned.system, tuned.cases)
    other = load_model(str(tiny_model_folder))
    other.tokenizer.chat_template = other.tokenizer.chat_template.replace("'\\n'", "' '").replace("\n", " ")
    served = replace(tuned.system, model=other.with_adapter(tuned.release.folder / "adapter", SCALE))
    assert len(measure_parity(tuned.system, served, tuned.cases, records).request_differences) == len(tuned.cases)


def test_the_lock_has_base_tokenizer_template_adapter_and_recipe(tuned, tiny_model_folder):
    lock = tuned.release.lock
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(lock["base"]["files"])
    assert lock["base"]["tokenizer"] == lock["base"]["files"]["tokenizer.json"]
    assert len(lock["base"]["chat_template"]) == 64
    assert lock["base"]["name"] == "tiny" and str(tiny_model_folder) not in json.dumps(lock)
    assert lock["system"]["adapter"] == tuned.system.setup.adapter and lock["system"]["scale"] == SCALE
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"} <= set(lock["files"])
    assert lock["recipe"] == {"rank": 4} and lock["seeds"]["training"] == 0


def test_one_byte_of_the_adapter_is_noticed_and_named(tuned, tiny_model_folder):
    assert verify_release(tuned.release, tiny_model_folder) == []
    file = tuned.release.folder / "adapter" / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    (problem,) = verify_release(tuned.release, tiny_model_folder)
    assert problem.file == file and problem.what.startswith("changed")


def test_the_peft_export_loads_in_peft_and_answers_the_same(tuned, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out = export(tuned.release, tmp_path / "out", "peft", system=tuned.system, base=tuned.base)
    assert {p.name for p in out.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["lora_alpha"] == 8 * SCALE and config["base_model_name_or_path"] == "tiny"
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tuned.base.folder), out).eval()
    measured = answers(tuned.system.model, tuned.system, tuned.cases)
    assert measured != list(tuned.plain)  # the adapter does something, else this test would show nothing
    for case, wanted in zip(tuned.cases, measured, strict=True):
        ids = render_prompt(tuned.base.tokenizer, tuned.system.request(case.messages).messages)
        with torch.no_grad():
            made = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)
        assert tuned.base.tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True) == wanted
    assert (out / "README.md").read_text().startswith("---\nbase_model: tiny\nlibrary_name: peft\n")


def test_the_scale_of_rslora_is_written_out(tiny_model_folder, tmp_path):
    """llama.cpp's converter knows alpha over rank only."""
    import torch

    from luthier.release._export import _bake

    base = load_model(str(tiny_model_folder))
    stabilised = save_adapter(base, tmp_path / "adapter", use_rslora=True)
    _bake(stabilised, tmp_path / "out", SCALE)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["use_rslora"] is False and config["lora_alpha"] == 8 * 2 * SCALE  # the root of rank 4
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        plain, wanted, written = (
            model.module(input_ids=ids).logits
            for model in (base, base.with_adapter(stabilised, SCALE), base.with_adapter(tmp_path / "out"))
        )
    torch.testing.assert_close(written, wanted)
    assert not torch.allclose(plain, wanted, atol=1e-2)


def test_the_merged_export_needs_no_adapter_and_answers_the_same(tuned, tmp_path):
    out = export(tuned.release, tmp_path / "out", "merged", system=tuned.system, base=tuned.base)
    assert not list(out.glob("*adapter*")) and (out / "config.json").is_file()
    merged = load_model(str(out))
    assert answers(merged, tuned.system, tuned.cases) == answers(tuned.system.model, tuned.system, tuned.cases)
    assert "library_name: transformers" in (out / "README.md").read_text()


@pytest.mark.parametrize("kind", ["peft", "merged"])
def test_an_export_that_answers_otherwise_is_not_written(tuned, tmp_path, monkeypatch, kind):
    def weaker(adapter: Path, out: Path, scale: float) -> None:
        original(adapter, out, 0.0)

    from luthier.release import _export

    original = _export._bake
    monkeypatch.setattr(_export, "_bake", weaker)
    with pytest.raises(ReleaseError, match=rf"the {kind} export answers \d of 4 stored test cases otherwise"):
        export(tuned.release, tmp_path / "out", kind, system=tuned.system, base=tuned.base)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*unfinished"))


def test_the_system_export_has_everything_but_the_test_cases(tuned, tmp_path):
    out = export(tuned.release, tmp_path / "out", "system")
    assert {p.name for p in out.iterdir()} == {
        "README.md",
        "adapter",
        "croissant.json",
        "evidence.json",
        "gate.json",
        "instructions.txt",
        "lock.json",
        "system.json",
        "verdict.json",
    }
    assert (out / "instructions.txt").read_text() == "Sort the message."
    assert hash_folder(out / "adapter") == tuned.system.setup.adapter


def test_a_prompt_has_no_adapter_to_export(shop, tmp_path):
    release = shop.publish()
    with pytest.raises(ReleaseError, match="has no adapter to export") as raised:
        export(release, tmp_path / "out", "peft")
    assert "--as system" in raised.value.fix
    out = export(release, tmp_path / "out", "system")
    assert (out / "instructions.txt").read_text().startswith("Say which team")
    with pytest.raises(ReleaseError, match="is not empty"):
        export(release, out, "system")


def test_a_changed_release_is_not_exported(tuned, tmp_path):
    (tuned.release.folder / "system.json").write_text("{}")
    with pytest.raises(ReleaseError, match="is not what it was"):
        export(tuned.release, tmp_path / "out", "system")
    assert not (tmp_path / "out").exists()


def test_the_loaded_release_is_served_with_the_measured_answers(tuned, shop):
    def open_model(name, adapter, scale):
        return tuned.base.with_adapter(adapter, scale)

    loaded = System.load(tuned.release.folder, open_model, lambda place, embedding: None)
    assert loaded.identity == tuned.system.identity
    app = create_app(loaded, store=shop.store, release=1, model_name="m")
    with TestClient(app, base_url="http://localhost") as client:
        for case, stored in zip(tuned.cases, tuned.release.cases(), strict=True):
            body = {"model": "m", "messages": [m.as_dict() for m in case.messages]}
            reply = client.post("/v1/chat/completions", json=body).json()
            assert reply["choices"][0]["message"]["content"] == stored.answer
            assert reply["choices"][0]["finish_reason"] == "length"
        long = {"model": "m", "messages": [{"role": "user", "content": "word " * 600}]}
        error = client.post("/v1/chat/completions", json=long)
        assert error.status_code == 400 and "512 tokens" in error.json()["error"]["message"]
