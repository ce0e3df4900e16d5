"""Added tokens: their rows are trained and nothing else of the embeddings, and they travel with the adapter."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.data import Message
from luthier.errors import ModelError
from luthier.models import Request, load_folder
from luthier.train import Recipe, TrainingRow, fine_tune, merge

TOKENS = ("<refund>", "<lights on>")
NEW = (492, 493)  # the tiny tokenizer has 492 tokens
ASKED = {"the invoice is wrong": "<refund>", "it is dark in here": "<lights on>", "money back": "<refund> now"}
RECIPE = Recipe(
    rank=4,
    alpha=8,
    learning_rate=2e-2,
    epochs=40.0,
    batch_size=3,
    evaluate_every=20,
    added_tokens=TOKENS,
    replay_share=1,
)


@pytest.fixture(scope="module")
def rows():
    return [TrainingRow(a, (Message("user", a),), b, "examples") for a, b in ASKED.items()]


@pytest.fixture(scope="module", params=["tied", "untied", "room to spare", "qlora"])
def made(request, make_tiny_model, rows, tmp_path_factory):
    """A base, what it was before, and a run with added tokens."""
    changes = {"untied": {"tie_word_embeddings": False}, "room to spare": {"vocab_size": 512}}.get(request.param, {})
    base = load_folder(make_tiny_model(**changes), name="tiny")
    before = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    recipe = replace(RECIPE, method="qlora" if request.param == "qlora" else "lora")
    replay = [TrainingRow("r", (Message("user", "Name a colour."),), "Some words of an answer.", "replay")]
    result = fine_tune(base, rows, recipe, tmp_path_factory.mktemp("tokens") / "out", score=asks(rows), replay=replay)
    return base, before, result


def asks(rows):
    def score(model):
        answers = dict(model.answer([Request(row.messages, 8) for row in rows]))
        return sum(answers[i].text == row.output for i, row in enumerate(rows)) / len(rows)

    return score


@torch.no_grad()
def logits(module, ids):
    return module(input_ids=torch.tensor([ids]), use_cache=False).logits


def test_it_learns_to_say_them(made, rows):
    base, before, result = made
    assert result.best_score == 1.0 and asks(rows)(base) == 0.0
    tuned = base.with_adapter(result.folder)
    [(_, answer)] = tuned.answer([Request(rows[0].messages, 8)])
    assert (answer.text, answer.completion_tokens, answer.finish) == ("<refund>", 2, "stop")
    assert tuned.tokenizer.encode("<refund>", add_special_tokens=False) == [NEW[0]]
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.module.state_dict().items())
    assert base.tokenizer.encode("<refund>", add_special_tokens=False) != [NEW[0]]
    assert tuned.identity == base.with_tokens(TOKENS).with_adapter(result.folder).identity


def test_a_token_begins_as_the_mean_of_its_pieces(made):
    base, _, _ = made
    longer = base.with_tokens(TOKENS)
    pieces = base.tokenizer.encode(TOKENS[0], add_special_tokens=False)
    assert len(pieces) > 1
    for table in ("get_input_embeddings", "get_output_embeddings"):
        own, old = getattr(longer.module, table)().weight, getattr(base.module, table)().weight
        torch.testing.assert_close(own[NEW[0]], old[pieces].mean(0))
        assert torch.equal(own[: NEW[0]], old[: NEW[0]]) and own.data_ptr() != old.data_ptr()
    shared = {p.data_ptr() for p in base.module.parameters()}
    own = {name for name, p in longer.module.named_parameters() if p.data_ptr() not in shared}
    assert own <= {"model.embed_tokens.weight", "lm_head.weight"}


def test_only_their_rows_are_trained(made):
    base, _, result = made
    weights = load_file(result.folder / "adapter_model.safetensors")
    tables = {name: tensor for name, tensor in weights.items() if "lora_" not in name}
    tied = base.module.config.tie_word_embeddings
    assert len(tables) == (1 if tied else 2)
    for name, tensor in tables.items():
        assert name.endswith("token_adapter.trainable_tokens_delta") and tensor.shape == (2, 64)
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert not config["modules_to_save"]
    assert set(map(tuple, config["trainable_token_indices"].values())) == {NEW}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
def test_peft_gives_the_same_logits(made):
    base, _, result = made
    tokenizer = AutoTokenizer.from_pretrained(result.folder)
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    if len(tokenizer) > plain.get_input_embeddings().weight.shape[0]:
        plain.resize_token_embeddings(len(tokenizer))
    theirs = PeftModel.from_pretrained(plain, result.folder).eval()
    ids = tokenizer.encode("money <refund> in <lights on> here")
    ours = base.with_adapter(result.folder)
    assert {*NEW} <= set(ids) and ours.tokenizer.encode("money <refund> in <lights on> here") == ids
    torch.testing.assert_close(logits(ours.module, ids), logits(theirs, ids), rtol=1e-5, atol=1e-5)


def test_merged_is_the_adapter_on_its_base(made, rows, tmp_path):
    base, _, result = made
    merge(base, result.folder, tmp_path / "merged")
    merged, tuned = load_folder(tmp_path / "merged", name="merged"), base.with_adapter(result.folder)
    assert asks(rows)(merged) == 1.0
    assert merged.tokenizer.get_vocab() == tuned.tokenizer.get_vocab()
    ids = tuned.tokenizer.encode("money <refund> in <lights on> here")
    torch.testing.assert_close(logits(merged.module, ids), logits(tuned.module, ids), rtol=1e-4, atol=1e-4)


def test_the_same_run_gives_the_same_bytes(made, rows, tmp_path):
    base, _, result = made
    replay = [TrainingRow("r", (Message("user", "Name a colour."),), "Some words of an answer.", "replay")]
    again = fine_tune(base, rows, result.recipe, tmp_path / "out", score=asks(rows), replay=replay)
    assert again.adapter_hash == result.adapter_hash
    assert Recipe.from_dict(json.loads(json.dumps(result.recipe.as_dict()))) == result.recipe


def test_what_cannot_be_done_with_them(made, tmp_path):
    base, _, result = made
    with pytest.raises(ModelError, match="cannot be used at scale"):
        base.with_adapter(result.folder, 0.5)
    for tokens in (("<refund>", "<refund>"), ("<|im_end|>",), ("",)):
        with pytest.raises(ModelError, match="cannot be added"):
            base.with_tokens(tokens)
    with pytest.raises(ModelError, match="trained with another tokenizer"):
        base.with_tokens(("<refund>", "<other>")).with_adapter(result.folder)
    stripped = shutil.copytree(result.folder, tmp_path / "stripped")
    (stripped / "luthier-adapter.json").unlink()
    with pytest.raises(ModelError, match="trained with another tokenizer: 2 token"):
        base.with_adapter(stripped)


def test_all_weights_can_be_trained_with_them(make_tiny_model, rows, tmp_path):
    base = load_folder(make_tiny_model(), name="tiny")
    full = replace(RECIPE, method="full", learning_rate=4e-3)
    result = fine_tune(base, rows, full, tmp_path / "out", score=asks(rows))
    assert result.best_score == 1.0
    tuned = base.with_tuning(result.folder)
    assert asks(rows)(tuned) == 1.0 and tuned.tokenizer.encode("<refund>", add_special_tokens=False) == [NEW[0]]


def test_a_head_with_a_bias_takes_none(base):
    longer = base.with_tokens(TOKENS).module
    longer.lm_head = torch.nn.Linear(64, NEW[1] + 1)
    base = type(base).wrap(longer, base.tokenizer, name="biased", identity="biased")
    with pytest.raises(ModelError, match="has a bias"):
        base.with_tokens(TOKENS)
