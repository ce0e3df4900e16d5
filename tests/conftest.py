"""Fixtures that every area uses. The environment is set before torch or the hub client are imported."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

import pytest

SENTENCES = (
    "The parcel was sent to the wrong address and the customer asks for a refund.",
    "Please turn the lights off in the kitchen and play some music in the living room.",
    "My invoice shows the wrong amount; can you correct it and send it again?",
    'Answer with JSON: {"label": "billing", "urgent": true, "count": 12}.',
    "You are a helpful assistant. Sort each message into one of: billing, shipping, technical, other.",
    "The weather will be sunny tomorrow, with some rain in the evening and wind from the west.",
    "What is 17 plus 25? The answer is 42. What is 100 minus 1? The answer is 99.",
)

# ChatML with a default system prompt, which is added where the conversation has none.
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{% endif %}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer():
    """A byte-level BPE of about 600 tokens with ChatML control tokens; the same one on every run."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    control = [AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=control,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def save_tiny_model(folder: Path, config_class: str = "LlamaConfig", **changes) -> Path:
    """Saves a 2-layer random model (fixed seed) with the trained tokenizer as safetensors; gives the folder back."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    tokenizer = train_tokenizer()
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        # Large enough that random weights give clear winners: near ties would test rounding, not the code.
        "initializer_range": 0.15,
    }
    config = getattr(transformers, config_class)(**(shape | changes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(request, tmp_path_factory):
    """A cache of the tests' own, so that no other one is touched; kept, as converting the real model takes a while."""
    kept = getattr(request.config, "cache", None)
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache") if kept is None else kept.mkdir("luthier"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def make_tiny_model(tmp_path_factory):
    """Makes folders with tiny random models: `make_tiny_model("MistralConfig", sliding_window=24)`."""

    def make(config_class: str = "LlamaConfig", **changes) -> Path:
        return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", config_class, **changes)

    return make


@pytest.fixture(scope="session")
def tiny_model_folder(make_tiny_model) -> Path:
    """A folder with a 2-layer random Llama (fp32 safetensors) and a byte-level BPE tokenizer with a ChatML template."""
    return make_tiny_model()


@pytest.fixture
def scripted_model():
    """A model that answers "billing" to what mentions an invoice, and "other" to everything else."""
    from luthier.models import ScriptedModel

    return ScriptedModel(lambda request: "billing" if "invoice" in request.messages[-1].content.lower() else "other")
