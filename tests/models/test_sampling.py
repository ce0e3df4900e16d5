"""Sampled answers are draws from the model's own distribution, the same whatever runs beside them; and votes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from luthier.data import Message
from luthier.models import Constraint, Request, Sample, ScriptedModel, VotingModel, asked_model, load_model
from luthier.models._generate import generate
from luthier.models._jobs import Job

PROMPT = tuple(range(61, 75))


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return load_model(str(tiny_model_folder))


def run(model, jobs):
    found = {i: generated for batch in generate(model._engine, jobs) for i, generated in batch}
    return [found[i].tokens for i in range(len(jobs))]


def jobs_of(count: int, temperature: float = 2.0) -> list[Job]:
    return [Job(PROMPT, 9, sample=Sample(temperature, seed)) for seed in range(count)]


def test_a_sample_is_the_same_alone_in_a_batch_beside_greedy_rows_and_by_transformers(model, monkeypatch):
    jobs = jobs_of(12)
    together = run(model, jobs)
    assert len({tuple(tokens) for tokens in together}) > 8
    assert [run(model, [job])[0] for job in jobs] == together
    greedy = Job(PROMPT, 9)
    mixed = run(model, [greedy, *jobs, greedy])
    assert mixed[1:-1] == together and mixed[0] == mixed[-1] == run(model, [greedy])[0]
    monkeypatch.setattr(model._engine, "may_share", lambda length: False)
    assert run(model, [greedy, *jobs]) == mixed[:-1]


def test_first_tokens_are_drawn_as_the_softmax_says(model):
    temperature, draws = 0.5, 4000
    logits = torch.from_numpy(model.next_token_logprobs(PROMPT)[-1]) / temperature
    wanted = logits.softmax(dim=-1).double().numpy()
    job = Job(PROMPT, 1)
    said = [
        int(replace(job, sample=Sample(temperature, seed)).perturbed(logits * temperature, 0).argmax())
        for seed in range(draws)
    ]
    counts = np.bincount(said, minlength=len(wanted))
    likely = np.argsort(-wanted)[:20]
    error = np.sqrt(wanted[likely] * (1 - wanted[likely]) / draws)
    assert (np.abs(counts[likely] / draws - wanted[likely]) < 4 * error).all()
    assert run(model, [replace(job, sample=Sample(temperature, seed)) for seed in range(20)]) == [
        [t] for t in said[:20]
    ]


def test_a_low_temperature_is_greedy_and_a_high_one_is_not(model):
    [greedy] = run(model, [Job(PROMPT, 9)])
    assert run(model, jobs_of(4, 1e-4)) == [greedy] * 4
    assert run(model, jobs_of(4, 50.0))[0] != greedy


def test_samples_keep_to_a_constraint(model):
    constraint = Constraint(choices=("billing", "shipping", "other"))
    request = Request((Message("user", "where is it"),), 12, constraint)
    requests = [replace(request, sample=Sample(50.0, seed)) for seed in range(30)]
    said = [answer.text for _, answer in sorted(model.answer(requests))]
    assert set(said) == set(constraint.choices)
    assert [answer.text for _, answer in sorted(model.answer(requests))] == said


def test_a_request_without_a_sample_is_kept_under_the_key_it_had():
    request = Request((Message("user", "x"),), 3)
    assert request.as_dict() == {"messages": [{"role": "user", "content": "x"}], "max_tokens": 3, "constraint": None}
    assert replace(request, sample=Sample(0.7, 5)).as_dict()["sample"] == [0.7, 5]


def voting(says: Sequence[str], **how) -> VotingModel:
    """The nth sample of a request says the nth text."""
    seeds: list[int] = []

    def say(request: Request) -> str:
        if request.sample.seed not in seeds:
            seeds.append(request.sample.seed)
        return says[seeds.index(request.sample.seed) % len(says)]

    given = {"votes": len(says), "temperature": 0.7, "form_name": "words"} | how
    return VotingModel(
        ScriptedModel(say, identity="said"), form=lambda text: text.strip(".! ").lower() or None, **given
    )


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        (["no", "Yes.", "yes", "maybe", "yes!"], "Yes."),  # the first of the winning form
        (["b", "a", "a", "b", "c"], "b"),  # of equals what was said first
        (["", ".", "a", "", "."], "a"),  # what says nothing has no vote
        (["", ".", "!"], ""),
    ],
)
def test_what_most_say_is_given_with_the_tokens_of_all(says, wanted):
    model = voting(says)
    request = Request((Message("user", "two words"),), 8)
    [(_, answer)] = model.answer([request])
    assert answer.text == wanted and answer.prompt_tokens == 2 * len(says)
    assert answer.completion_tokens == sum(len(text.split()) for text in says)


def test_many_requests_get_their_own_votes_and_the_same_ones_again():
    model = VotingModel(
        ScriptedModel(lambda r: f"{r.messages[-1].content} {r.sample.seed % 2}", identity="said"),
        votes=5,
        temperature=0.7,
        form=str,
        form_name="text",
    )
    requests = [Request((Message("user", f"q{i}"),), 8) for i in range(7)]
    found = dict(model.answer(requests))
    assert sorted(found) == list(range(7)) and all(found[i].text.startswith(f"q{i} ") for i in range(7))
    assert len({answer.text[-1] for answer in found.values()}) == 2
    assert dict(model.answer(requests[3:4]))[0] == found[3]


def test_the_identity_is_of_all_that_an_answer_depends_on():
    plain = voting(["a", "b", "c"])
    others = [
        voting(["a"] * 5),
        voting(["a", "b", "c"], temperature=0.5),
        voting(["a", "b", "c"], form_name="numbers"),
        plain.base,
    ]
    assert len({model.identity for model in (plain, *others)}) == 5
    assert plain.base_identity == plain.base.identity and plain.name == plain.base.name
    assert asked_model(plain) is plain.base and asked_model(plain.base) is plain.base
