"""The model card says what was measured, and what was not."""

from __future__ import annotations

import yaml

from luthier.release import render_card


def header_of(card: str) -> dict[str, object]:
    _, header, _ = card.split("---\n", 2)
    return yaml.safe_load(header)


def test_the_card_of_a_prompt(shop):
    card = (shop.publish().folder / "README.md").read_text()
    assert header_of(card) == {
        "base_model": "scripted",
        "library_name": "luthier",
        "license": "unknown",
        "tags": ["luthier", "prompt"],
    }
    assert "# triage, release 1" in card
    assert "| prompt (released) | 1.000 [0.840, 1.000] | 10 of 10 | meets | 0.12 | 0.25 |" in card
    assert "| fine-tune | – | 0 of 10 | not run | – | – |" in card
    assert "| served answers | yes |" in card
    assert "the weights are the base's own" in card and "Warrant to train: not needed." in card
    assert "| examples.jsonl | `" in card
    assert "Sampling (temperature above 0) was not measured" in card
    assert "None" not in card and "{{" not in card


def test_the_card_of_a_fine_tune_without_a_warrant(shop):
    release = shop.publish()
    lock = {
        **release.lock,
        "system": {**release.lock["system"], "adapter": "a" * 64, "method": "fine-tune + retrieval", "scale": 0.5},
        "warrant": {"granted": False, "reason": "few-shot is open", "override": "the boss | wants it"},
    }
    lock["system"]["indexes"] = {"documents": "d" * 64}
    family = {
        "name": "arc_easy",
        "kind": "accuracy",
        "n": 100,
        "before": 0.5,
        "after": 0.48,
        "difference": -0.02,
        "low": -0.06,
        "high": None,
        "state": "kept",
    }
    documents = {name: release.document(name) for name in ("evidence", "verdict", "gate")}
    card = render_card(lock, documents | {"capability": {"families": [family]}}, kind="peft")
    assert header_of(card)["library_name"] == "peft" and header_of(card)["base_model_relation"] == "adapter"
    assert header_of(card)["tags"] == ["luthier", "fine-tune-retrieval", "lora"]
    assert "| arc_easy (accuracy) | 0.500 | 0.480 | -0.020 [-0.060, –] | 100 | kept |" in card
    assert "**not granted** (few-shot is open); trained all the same. The reason given: the boss | wants it" in card
    assert "This folder holds weights only" in card
    assert "passages of the documents" in card and "later changes are not in it" in card
    assert header_of(render_card(lock, documents, kind="merged"))["base_model_relation"] == "merge"
    assert "general capability was not measured" in render_card(lock, documents)


def test_texts_of_users_do_not_break_the_tables(shop):
    release = shop.publish()
    documents = {name: release.document(name) for name in ("evidence", "verdict", "gate")}
    documents["verdict"]["rungs"][0]["rung"] = "a | b\nc"
    card = render_card(release.lock, documents)
    assert "| a \\| b c |" in card


def test_a_goal_that_looks_like_markdown_stays_on_its_line(shop):
    release = shop.publish()
    documents = {name: release.document(name) for name in ("evidence", "verdict", "gate")}
    card = render_card({**release.lock, "goal": "{{ 7 * 7 }}\n---\nlicense: mit"}, documents)
    assert header_of(card)["license"] == "unknown" and "49" not in card.split("##")[0].replace("triage", "")
