"""A release that looks things up: its index is part of it, and using it changes no byte of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from luthier.decide import Lookup, Setup, System
from luthier.decide._system import Votes
from luthier.models import ScriptedModel
from luthier.release import create_app, publish, verify_release
from luthier.retrieve import Index, IndexItem, build_index

PAGES = {"billing": "Invoices are corrected by billing.", "shipping": "Parcels are sent by shipping."}


def answer(request) -> str:
    """Answers with the passage that was put before the question."""
    return request.messages[-1].content.split("\n\n")[0]


MODEL = ScriptedModel(answer, identity="passages")


@pytest.fixture
def reader(shop, tmp_path):
    items = [IndexItem(name, text) for name, text in PAGES.items()]
    index = build_index(items, tmp_path / "index", embedder=None)
    setup = Setup(
        method="retrieval",
        base="scripted",
        base_identity=MODEL.identity,
        instructions="Answer from the passage.",
        max_tokens=16,
        passages=Lookup(k=1, mode="lexical", embedding=None, index=index.identity),
    )
    system = System(setup, MODEL, document_index=index)
    return replace(shop, system=system, records=shop.measure(system))


def load(folder) -> System:
    return System.load(folder, lambda name, adapter, scale: MODEL, lambda place, embedding: Index.open(place, None))


def test_the_index_is_released_and_serves_without_being_changed(reader):
    gate = reader.gate(verdict=reader.verdict(reader.records), bar=None)
    release = publish(reader.store, reader.system, reader.made_from(gate=gate), reader.cases, reader.records)
    assert release.lock["system"]["indexes"] == {"documents": reader.system.setup.passages.index}
    assert any(name.startswith("documents/") for name in release.lock["files"])
    app = create_app(load(release.folder), store=reader.store, release=1, model_name="m")
    with TestClient(app, base_url="http://localhost") as client:
        for word, page in (("parcels", "shipping"), ("invoices", "billing")):
            body = {"model": "m", "messages": [{"role": "user", "content": f"Who sees to {word}?"}]}
            reply = client.post("/v1/chat/completions", json=body).json()
            assert PAGES[page] in reply["choices"][0]["message"]["content"]
    logged = [row.request["messages"] for row in reader.store.traffic()]
    assert logged[0] == [{"role": "user", "content": "Who sees to parcels?"}]  # what came in, not what was looked up
    assert verify_release(release, None) == []
    assert "passages of the documents" in (release.folder / "README.md").read_text()


def test_every_changed_file_of_the_index_is_named(reader):
    gate = reader.gate(verdict=reader.verdict(reader.records), bar=None)
    release = publish(reader.store, reader.system, reader.made_from(gate=gate), reader.cases, reader.records)
    for name in release.lock["files"]:
        if name.startswith("documents/"):
            file = release.folder / name
            file.write_bytes(file.read_bytes() + b" ")
            assert any(problem.file == file for problem in verify_release(release, None))


def test_a_release_that_votes_serves_the_vote_and_says_so(shop, tmp_path):
    votes = Votes(k=5, temperature=0.7, form="exact")
    base = ScriptedModel(lambda request: "shipping" if request.sample.seed % 4 else "billing", identity="voter")
    setup = Setup("self-consistency", "scripted", base.identity, "Sort.", 16, votes=votes)
    system = System(setup, votes.asked_of(base))
    voting = replace(shop, system=system, records=shop.measure(system))
    gate = voting.gate(verdict=voting.verdict(voting.records), bar=None)
    release = publish(voting.store, system, voting.made_from(gate=gate), voting.cases, voting.records)
    assert release.lock["decoding"]["greedy"] is False
    assert release.lock["decoding"]["votes"] == {"k": 5, "temperature": 0.7}
    card = (release.folder / "README.md").read_text()
    assert "5 answers sampled at temperature 0.7, of which the most frequent is given" in card
    loaded = System.load(release.folder, lambda name, adapter, scale: base, lambda *_: pytest.fail("no index"))
    app = create_app(loaded, store=voting.store, release=1, model_name="m")
    with TestClient(app, base_url="http://localhost") as client:
        for case, record in zip(voting.cases, voting.records, strict=True):
            turns = [{"role": m.role, "content": m.content} for m in case.messages if m.role != "system"]
            reply = client.post("/v1/chat/completions", json={"model": "m", "messages": turns}).json()
            assert reply["choices"][0]["message"]["content"] == record.answer
            assert reply["usage"]["prompt_tokens"] == record.prompt_tokens
