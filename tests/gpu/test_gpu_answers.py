"""Answers on a GPU are those of transformers' own `generate`, one prompt at a time."""

import pytest
import torch
from transformers import GenerationConfig

from luthier.data import Message
from luthier.models import Constraint, LocalModel, Request, load_folder, render_prompt
from luthier.models._generate import generate

WORDS = "please help my parcel invoice wrong address lights music refund amount sunny rain evening answer count".split()
SYSTEM = "You sort messages of customers. Answer with the name of one team: billing, shipping, technical or other."


@pytest.fixture(scope="module")
def model(make_tiny_model):
    """In fp32, where a different batch does not change an answer."""
    found = load_folder(make_tiny_model(num_hidden_layers=3, head_dim=32), name="tiny")
    return LocalModel(found.module.float(), found.tokenizer, name="tiny", identity="tiny in fp32", folder=found.folder)


@pytest.fixture(scope="module")
def requests():
    texts = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(i % 14 + 1)) for i in range(40)]
    return [Request((Message("system", SYSTEM), Message("user", text)), 16, None) for text in texts]


def test_answers_are_those_of_generate(model, requests):
    jobs = model._jobs(requests)
    found = {i: g.tokens for some in generate(model._engine, jobs) for i, g in some}
    stops = list(model.stop_ids)
    settings = GenerationConfig(do_sample=False, max_new_tokens=16, eos_token_id=stops, pad_token_id=0)
    same = 0
    for number, request in enumerate(requests):
        ids = torch.tensor([render_prompt(model.tokenizer, request.messages)], device="cuda")
        with torch.inference_mode():
            out = model.module.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        said = out[0, ids.shape[1] :].tolist()
        said = said[:-1] if said[-1] in stops else said
        same += list(found[number]) == said
    assert model.batching == "prefix"
    assert same == len(requests)


def test_choices_are_as_likely_as_on_the_processor(model, requests):
    asked = [Request(r.messages, 8, Constraint(choices=("billing", "shipping", "other"))) for r in requests[:8]]
    copy = LocalModel(
        type(model.module)(model.module.config).eval(), model.tokenizer, name="copy", identity="copy", folder=None
    )
    copy.module.load_state_dict({k: v.cpu() for k, v in model.module.state_dict().items()})
    for one, other in zip(model.choice_logprobs(asked), copy.choice_logprobs(asked), strict=True):
        assert one == pytest.approx(other, abs=2e-3)
    answers = dict(model.answer(asked))
    assert {answer.text for answer in answers.values()} <= {"billing", "shipping", "other"}
