"""Releases: whole or not at all, numbered, promoted, rolled back; the lock notices every change."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest

from luthier.data import content_hash
from luthier.errors import GateError, ReleaseError, StoreError
from luthier.models import ScriptedModel
from luthier.release import (
    champion,
    find_release,
    lock_hash,
    promote,
    publish,
    releases,
    roll_back,
    verify,
    verify_release,
)
from luthier.store import Store, write_json


def test_a_release_holds_everything_and_verifies(shop):
    release = shop.publish()
    assert (release.version, release.champion, release.name) == (1, False, "triage@1")
    names = {path.name for path in release.folder.iterdir()}
    assert names == {
        "system.json",
        "evidence.json",
        "verdict.json",
        "gate.json",
        "cases.jsonl",
        "croissant.json",
        "lock.json",
        "README.md",
    }
    assert verify_release(release, None) == []
    assert release.document("verdict")["sentence"] == "prompt meets the bar of 0.8"
    assert release.document("capability") is None
    cases = release.cases()
    assert len(cases) == 10 and cases[1].answer == "billing" and cases[1].messages == shop.cases[1].messages


def test_the_lock_names_what_made_the_release_and_no_place(shop, tmp_path):
    lock = shop.publish().lock
    assert lock["format"] == 1 and lock["task"] == "triage" and lock["version"] == 1
    assert lock["system"]["identity"] == shop.system.identity
    assert set(lock["data"]["files"]) == {"luthier.yaml", "examples.jsonl"}
    assert lock["data"]["split"] == shop.split.hash and lock["seeds"] == {"split": 0, "training": None}
    assert lock["contents"]["evidence.json"] == content_hash(shop.made_from().evidence.as_dict())
    assert lock["warrant"] == {
        "granted": False,
        "reason": "a cheaper rung meets the bar",
        "rung": None,
        "override": "",
    }
    assert lock["environment"]["libraries"]["torch"] is not None
    assert dt.date.fromisoformat(lock["review_by"]) - dt.datetime.fromisoformat(lock["created"]).date() == dt.timedelta(
        90
    )
    assert str(tmp_path) not in json.dumps(lock)


def test_review_by_of_the_task_counts(shop):
    task = shop.task.model_copy(update={"review_by": dt.date(2031, 1, 2)})
    task._folder = shop.task.folder
    assert shop.publish(task=task).review_by == dt.date(2031, 1, 2)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "gate.json").write_text("{}"), "gate.json: changed"),
        (lambda folder: (folder / "evidence.json").unlink(), "evidence.json: missing"),
        (lambda folder: (folder / "extra.txt").write_text("x"), "extra.txt: not part of the release"),
        (lambda folder: (folder / "lock.json").unlink(), "lock.json: missing"),
        (lambda folder: write_json(folder / "lock.json", []), "lock.json: is not a lock"),
    ],
)
def test_verify_names_the_file_that_is_not_as_it_was(shop, damage, said):
    release = shop.publish()
    damage(release.folder)
    problems = verify_release(release, None)
    assert len(problems) == 1 and said in str(problems[0])


def test_verify_sees_one_flipped_byte(shop):
    release = shop.publish()
    file = release.folder / "system.json"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    (problem,) = verify_release(release, None)
    assert problem.file == file and "SHA-256" in problem.what


def test_a_lock_that_was_changed_with_its_file_is_seen(shop):
    """Who changes a file and its hash in lock.json is given away by the store's own copy."""
    release = shop.publish()
    (release.folder / "system.json").write_text("{}")
    lock = dict(release.lock)
    lock["files"] = {**lock["files"], "system.json": "0" * 64}
    write_json(release.folder / "lock.json", lock)
    said = [str(problem) for problem in verify_release(release, None)]
    assert any("lock.json: changed since the release was made: files" in text for text in said)
    assert any("system.json: changed" in text for text in said)
    assert lock_hash(lock) != lock_hash(release.lock)


def test_a_lock_whose_hashes_contradict_its_files_is_seen(shop):
    release = shop.publish()
    lock = json.loads(json.dumps(release.lock))
    lock["contents"]["gate.json"] = "0" * 64
    lock["system"]["identity"] = "0" * 64
    write_json(release.folder / "lock.json", lock)
    said = "\n".join(str(problem) for problem in verify(release.folder, lock, None))
    assert "gate.json: does not say what the lock says" in said
    assert "system.json: is another system than the one that was gated" in said


def test_a_newer_lock_is_refused(shop):
    release = shop.publish()
    with pytest.raises(ReleaseError, match="format 2"):
        verify(release.folder, {**release.lock, "format": 2}, None)


def test_a_missing_folder_is_a_problem(shop, tmp_path):
    release = shop.publish()
    moved = replace(release, folder=tmp_path / "gone")
    assert "missing" in str(verify_release(moved, None)[0])


def test_a_gate_that_failed_or_saw_another_system_stops_it(shop):
    failed = shop.gate(bar=0.8, rung="fine-tune")
    with pytest.raises(GateError, match="does not pass the gate"):
        shop.publish(gate=failed)
    with pytest.raises(ReleaseError, match="another system"):
        shop.publish(gate=replace(shop.gate(), system="0" * 64))
    assert releases(shop.store, "triage") == [] and not (shop.store.folder / "releases").exists()


def test_an_interrupted_publish_leaves_nothing_and_the_next_one_cleans_up(shop, monkeypatch):
    shop.publish()

    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "add_release", stop)  # the folder is there, the row is not
    with pytest.raises(KeyboardInterrupt):
        shop.publish()
    monkeypatch.undo()
    monkeypatch.setattr("luthier.release._registry.render_card", stop)  # the folder is half written
    with pytest.raises(KeyboardInterrupt):
        shop.publish()
    monkeypatch.undo()
    assert [release.version for release in releases(shop.store, "triage")] == [1]
    unfinished = shop.store.folder / "releases" / ".triage-2.0.unfinished"
    unfinished.mkdir()
    second = shop.publish()
    assert second.version == 2 and verify_release(second, None) == []
    assert sorted(p.name for p in (shop.store.folder / "releases").iterdir()) == ["triage-1", "triage-2"]


def test_promote_list_show_and_roll_back(shop):
    assert champion(shop.store, "triage") is None
    for _ in range(3):
        promote(shop.store, "triage", shop.publish().version)
    assert [r.champion for r in releases(shop.store, "triage")] == [False, False, True]
    assert roll_back(shop.store, "triage").version == 2
    assert roll_back(shop.store, "triage").version == 1
    with pytest.raises(ReleaseError, match="no champion came before 1"):
        roll_back(shop.store, "triage")
    promote(shop.store, "triage", 3)
    assert roll_back(shop.store, "triage").version == 1
    assert champion(shop.store, "triage").version == 1


def test_promoting_the_champion_again_changes_nothing(shop):
    promote(shop.store, "triage", shop.publish().version)
    promote(shop.store, "triage", shop.publish().version)
    promote(shop.store, "triage", 2)
    assert roll_back(shop.store, "triage").version == 1


def test_roll_back_with_nothing_released(shop):
    with pytest.raises(ReleaseError, match="nothing has been released"):
        roll_back(shop.store, "triage")


def test_a_damaged_release_does_not_go_into_service(shop):
    promote(shop.store, "triage", shop.publish().version)
    promote(shop.store, "triage", shop.publish().version)
    (find_release(shop.store, "triage", 1).folder / "system.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"(?s)release 1 cannot go into service.*system\.json"):
        roll_back(shop.store, "triage")
    with pytest.raises(ReleaseError, match="release 1 cannot go into service"):
        promote(shop.store, "triage", 1)
    assert champion(shop.store, "triage").version == 2


def test_an_unknown_version_is_named(shop):
    shop.publish()
    with pytest.raises(ReleaseError, match=r"no release 7 \(there is: 1\)"):
        promote(shop.store, "triage", 7)


def test_a_full_disk_leaves_what_was_there(shop, monkeypatch):
    shop.publish()

    def full(*_: object) -> None:
        raise StoreError("no room is left on the disk", fix="free some space")

    monkeypatch.setattr("luthier.release._registry.write_json", full)
    with pytest.raises(StoreError, match="no room"):
        shop.publish()
    assert [p.name for p in (shop.store.folder / "releases").iterdir()] == ["triage-1"]


def test_a_task_may_be_renamed_without_clobbering_old_releases(shop):
    first = shop.publish()
    renamed = shop.task.model_copy(update={"task": "triage-1"})
    renamed._folder = shop.task.folder
    second = publish(shop.store, shop.system, shop.made_from(task=renamed), shop.cases, shop.records)
    assert second.version == 1 and second.folder != first.folder and verify_release(first, None) == []


def test_a_model_in_a_folder_is_locked_file_by_file(shop, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"weights")
    (base / "config.json").write_text("{}")
    (base / "LICENSE").write_text("a licence is not read by a loader")

    class Local(ScriptedModel):
        folder = base

    local = Local({case.messages[-1].content: case.output for case in shop.cases}, identity="labels")
    here = replace(shop, system=replace(shop.system, model=local))
    release = here.publish()
    assert set(release.lock["base"]["files"]) == {"model.safetensors", "config.json"}
    assert verify_release(release, base) == []
    (base / "model.safetensors").write_bytes(b"Weights")
    (base / "adapter_config.json").write_text("{}")  # transformers would load it by itself
    said = "\n".join(map(str, verify_release(release, base)))
    assert "model.safetensors: changed" in said and "adapter_config.json" in said
    assert "missing" in str(verify_release(release, tmp_path / "nowhere")[0])
