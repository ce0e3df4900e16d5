"""A cross-encoder reads query and passage together; only its own files are loaded, and nothing that was pickled."""

from pathlib import Path

import numpy as np
import pytest

from luthier.errors import RetrievalError
from luthier.retrieve import load_reranker

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "red", "hen", "fox", "runs", "fast"]


def save_cross_encoder(folder: Path, seed: int = 0) -> Path:
    """A tiny random BERT with one output."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, num_labels=1, **size)
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def by_hand(folder: Path, query: str, text: str) -> float:
    import torch
    from transformers import BertForSequenceClassification, BertTokenizer

    tokens = BertTokenizer.from_pretrained(folder)(query, text, return_tensors="pt")
    with torch.no_grad():
        logit = BertForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits[0, 0]
    return float(torch.sigmoid(logit))


def test_scores_are_the_models_own_and_do_not_depend_on_the_others(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "model")
    reranker = load_reranker(str(folder))
    texts = ["the red hen runs", "a fox", "fox fox fox fast"]
    found = reranker.scores("the hen", texts)
    assert np.allclose(found, [by_hand(folder, "the hen", text) for text in texts], atol=1e-5)
    assert len(set(found)) == 3 and reranker.scores("the hen", texts[1:2])[0] == found[1]
    assert reranker.scores("the hen", []).shape == (0,)


def test_the_identity_is_that_of_the_files(tmp_path: Path) -> None:
    one, twin, other = (
        load_reranker(str(save_cross_encoder(tmp_path / name, seed))).identity
        for name, seed in (("one", 0), ("twin", 0), ("other", 1))
    )
    assert one == twin != other


def test_a_reranker_that_is_missing_or_none_is_said_with_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="there is no folder /nowhere/at/all") as missing:
        load_reranker("/nowhere/at/all")
    assert missing.value.fix == "check retrieval.reranker"
    config = save_cross_encoder(tmp_path / "embedder") / "config.json"
    config.write_text(config.read_text().replace("BertForSequenceClassification", "BertModel"))
    with pytest.raises(RetrievalError, match="it has no classifier"):
        load_reranker(str(tmp_path / "embedder"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(RetrievalError, match="is not a cross-encoder"):
        load_reranker(str(tmp_path / "empty"))
