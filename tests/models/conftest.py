import pytest
import torch
from transformers import GenerationConfig

from luthier.data import Message
from luthier.models import Request, render_prompt

SYSTEM = "You sort messages of customers. Answer with the name of one team: billing, shipping, technical or other."
WORDS = "please help my parcel invoice wrong address lights music refund amount sunny rain evening answer count".split()


@pytest.fixture(scope="session")
def ask():
    """Requests whose last messages have 1 to `n` words, behind one long system message unless told otherwise."""

    def make(n: int, max_tokens: int = 12, system: str | None = SYSTEM, constraint=None) -> list[Request]:
        start = () if system is None else (Message("system", system),)
        texts = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(i + 1)) for i in range(n)]
        return [Request((*start, Message("user", text)), max_tokens, constraint) for text in texts]

    return make


@pytest.fixture(scope="session")
def by_transformers():
    """Token ids that transformers' own greedy `generate` gives for one prompt alone, without the stop token."""

    def run(model, request, module=None) -> list[int]:
        prompt = render_prompt(model.tokenizer, request.messages)
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=request.max_tokens,
            eos_token_id=list(model.stop_ids),
            pad_token_id=0,
            repetition_penalty=1.0,
        )
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = (module or model.module).generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=settings
            )
        tokens = out[0, len(prompt) :].tolist()
        return tokens[:-1] if tokens[-1] in model.stop_ids else tokens

    return run


@pytest.fixture(scope="session")
def tokens_of():
    """Token ids of a model's answers, in the order of the requests."""
    from luthier.models._generate import generate

    def run(model, requests) -> list[list[int]]:
        jobs = model._jobs(requests)
        found = {index: generated for batch in generate(model._engine, jobs) for index, generated in batch}
        return [found[index].tokens for index in range(len(jobs))]

    return run
