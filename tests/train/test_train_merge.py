"""A merged model computes what base and adapter compute."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.errors import ModelError
from luthier.models import load_folder
from luthier.train import fine_tune, merge


@pytest.fixture(scope="module")
def adapter(base, rows, score, tmp_path_factory):
    from luthier.train import Recipe

    recipe = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=1.0, evaluate_every=4)
    return fine_tune(base, rows, recipe, tmp_path_factory.mktemp("merge") / "out", score=score).folder


def test_merged_is_adapter_on_base(base, adapter, score, tmp_path):
    merged = merge(base, adapter, tmp_path / "merged")
    assert merged.precision == "float32"
    assert merged.merging_difference < 1e-4 and merged.rounding_difference < 1e-4 and merged.same_choice == 1
    model = load_folder(tmp_path / "merged", name="merged")
    assert score(model) == pytest.approx(score(base.with_adapter(adapter)), rel=1e-4)
    assert score(model) != pytest.approx(score(base), rel=1e-3)
    assert model.tokenizer.chat_template == base.tokenizer.chat_template


def test_it_keeps_the_precision_of_the_base_and_says_what_that_changes(base, adapter, tmp_path):
    folder = tmp_path / "half"
    folder.mkdir()
    for file in base.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    halved = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    (own := shutil.copytree(adapter, tmp_path / "own")).joinpath("luthier-adapter.json").unlink()  # of other weights
    merged = merge(load_folder(folder, name="half"), own, tmp_path / "merged")
    saved = load_file(tmp_path / "merged" / "model.safetensors")
    assert merged.precision == "bfloat16" and {t.dtype for t in saved.values()} == {torch.bfloat16}
    assert 0 < merged.rounding_difference < 1 and merged.merging_difference < 1e-3


def test_an_adapter_of_another_base_is_refused(base, adapter, tmp_path):
    weights = load_file(adapter / "adapter_model.safetensors")
    strange = tmp_path / "strange"
    strange.mkdir()
    save_file({k: t.repeat(1, 2) for k, t in weights.items()}, strange / "adapter_model.safetensors")
    (strange / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    with pytest.raises(ModelError):
        merge(base, strange, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
