"""The watch: every reason to look again is found, and says what to type."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luthier.data import content_hash
from luthier.release import Release, environment
from luthier.store import write_json
from luthier.upkeep import Drift, Seen, WatchReport, Window, watch

MADE = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}.md").write_text(f"page {i}")
    return folder


@pytest.fixture
def release(tmp_path: Path, documents: Path) -> Release:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "notes.txt").write_bytes(b"notes")
    lock = {
        "format": 1,
        "review_by": "2026-05-30",
        "base": {"name": "base", "identity": "b", "files": {"model.safetensors": sha(b"weights")}},
        "system": {"identity": "s", "indexes": {"documents": "d"}},
        "files": {"notes.txt": sha(b"notes")},
        "contents": {},
        "data": {"documents": {f"{i}.md": sha(f"page {i}".encode()) for i in range(10)}},
        "environment": environment(),
    }
    write_json(folder / "lock.json", lock)
    return Release("triage", 2, MADE, folder, lock, True)


@pytest.fixture
def seen(base: Path, documents: Path) -> Seen:
    return Seen(dt.date(2026, 3, 20), base, documents, openings=1, logged=["a"] * 5, reference=["b"] * 500)


def no_embedding(_):
    raise AssertionError("nothing to embed")


def look(release: Release, seen: Seen, **changes) -> WatchReport:
    return watch(release, replace(seen, **changes), no_embedding)


def codes(report: WatchReport) -> dict[str, str]:
    return {finding.code: finding.severity for finding in report.findings}


def finding(report: WatchReport, code: str):
    return next(f for f in report.findings if f.code == code)


def test_nothing_is_wrong_with_a_fresh_release(release, seen):
    report = look(release, seen)
    assert report.ok and codes(report) == {"drift-unknown": "note"}
    assert "195 more logged inputs are needed (200 on each side)" in finding(report, "drift-unknown").what
    assert report.as_dict()["ok"] is True and report.as_dict()["drift"]["missing_logged"] == 195


@pytest.mark.parametrize(
    ("today", "code", "severity", "words"),
    [
        ("2026-05-15", None, "", ""),
        ("2026-05-16", "expires-soon", "note", "in 14 days"),
        ("2026-05-30", "expired", "act", "which is today"),
        ("2026-06-09", "expired", "act", "by 2026-05-30, 10 days ago"),
    ],
)
def test_age(release, seen, today, code, severity, words):
    report = look(release, seen, today=dt.date.fromisoformat(today))
    found = {c: s for c, s in codes(report).items() if c.startswith("exp") or c == "old"}
    assert found == ({code: severity} if code else {})
    if code:
        assert words in finding(report, code).what and finding(report, code).fix == "luthier refresh"


def test_a_late_review_date_does_not_hide_old_age(release, seen):
    late = replace(release, lock=release.lock | {"review_by": "2028-01-01"})
    write_json(late.folder / "lock.json", dict(late.lock))
    assert codes(look(late, seen, today=dt.date(2026, 5, 31)))["old"] == "note"


def test_a_changed_file_of_the_release(release, seen):
    (release.folder / "notes.txt").write_bytes(b"Notes")
    found = finding(look(release, seen), "release-changed")
    assert found.severity == "act" and "notes.txt: changed" in found.places[0] and "rollback" in found.fix


def test_base_changed_missing_or_hosted(release, seen, base, tmp_path):
    (base / "model.safetensors").write_bytes(b"Weights")
    report = look(release, seen)
    found = finding(report, "base-changed")
    assert not report.ok and "model.safetensors" in found.places[0] and "luthier refresh --base base" in found.fix
    assert codes(look(release, seen, base=None))["base-missing"] == "act"
    assert codes(look(release, seen, base=tmp_path / "gone"))["base-missing"] == "act"
    hosted = replace(release, lock=release.lock | {"base": {"name": "gpt", "identity": "g", "files": {}}})
    write_json(hosted.folder / "lock.json", dict(hosted.lock))
    report = look(hosted, seen, base=None)
    assert codes(report)["base-unseen"] == "note" and report.ok


def test_documents_changed_a_little_and_a_lot(release, seen, documents):
    (documents / "1.md").write_text("changed")
    (documents / "2.md").unlink()
    (documents / ".DS_Store").write_text("left behind by a file manager")
    found = finding(look(release, seen), "documents-changed")
    assert found.severity == "note" and "2 documents" in found.what and "20%" in found.what
    (documents / "new.md").write_text("new")
    report = look(release, seen)
    assert finding(report, "documents-changed").severity == "act" and not report.ok
    assert codes(look(release, seen, documents=None))["documents-missing"] == "act"


def test_documents_do_not_matter_to_a_system_that_looks_nothing_up(release, seen, documents):
    (documents / "1.md").write_text("changed")
    lock = release.lock | {"system": {"identity": "s", "indexes": {}}}
    write_json(release.folder / "lock.json", dict(lock))
    report = look(replace(release, lock=lock), seen)
    assert not any(code.startswith("documents") for code in codes(report))


def test_worn_test_cases(release, seen):
    assert "test-worn" not in codes(look(release, seen, openings=3))
    found = finding(look(release, seen, openings=4), "test-worn")
    assert found.severity == "act" and "4 ladders" in found.what


def test_other_library_versions(release, seen):
    lock = release.lock | {"environment": {"libraries": environment()["libraries"] | {"torch": "1.0"}}}
    write_json(release.folder / "lock.json", lock)
    found = finding(look(replace(release, lock=lock), seen), "runtime-changed")
    assert found.severity == "note" and found.places[0].startswith("torch 1.0 -> ")


def vectors(items):
    """Orders and complaints point in different directions."""
    points = []
    for text in items:
        noise = np.random.default_rng(int(content_hash(text)[:8], 16)).normal(0, 0.3, 4)
        points.append(noise + ([1, 0, 0, 0] if text.startswith("order") else [0, 1, 0, 0]))
    array = np.array(points)
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def test_drifted_inputs_ask_for_labels_and_name_the_inputs(release, seen):
    orders = [f"order {i}" for i in range(250)]
    logged = [f"order {i}" for i in range(250, 400)] + [f"complaint {i}\n" + "very " * 60 for i in range(150)]
    report = watch(release, replace(seen, reference=orders, logged=logged), vectors)
    found = finding(report, "drift")
    assert found.severity == "act" and not report.ok and "AUC 0." in found.what
    assert "label the 50 inputs named here" in found.fix and len(found.places) == 50
    assert all(place.startswith("complaint") and "\n" not in place and len(place) <= 200 for place in found.places)
    assert report.drift.windows[0].p == 0.001


def test_drift_of_the_latest_window_only_is_a_note(release, seen):
    orders = [f"order {i}" for i in range(250)]
    logged = [f"order {i}" for i in range(250, 450)] + [f"complaint {i}" for i in range(200)]
    report = watch(release, replace(seen, reference=orders, logged=logged), vectors)
    assert report.ok and codes(report)["drift-new"] == "note"


def test_the_same_inputs_are_no_finding(release, seen):
    orders = [f"order {i}" for i in range(500)]
    report = watch(release, replace(seen, reference=orders[:250], logged=orders[250:]), vectors)
    assert report.findings == ()


def test_a_length_shift_is_a_note(release, seen):
    orders = [f"order {i}" for i in range(250)]
    longer = [f"order {i} " + "and more " * 20 for i in range(250, 500)]
    report = watch(release, replace(seen, reference=orders, logged=longer), vectors)
    assert codes(report)["length-shift"] == "note" and report.ok


def test_a_report_without_windows_is_plain_json():
    drift = Drift(0, 0, (Window(200, 200, 0.1, 0.001, 0.9, 0.85, 0.95),), (1,), 1.0, 0.5)
    assert drift.as_dict()["alarm"] is True and drift.as_dict()["windows"][0]["auc"] == 0.9
