"""Is the champion still good? Its age, its files, its base, its documents, its test cases, and what it is asked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.errors import Problem
from luthier.release import (
    REVIEW_DAYS,
    Release,
    base_problems,
    compare_files,
    document_hashes,
    environment,
    verify_release,
)
from luthier.upkeep._drift import NEEDED, Drift, Embed, compare_inputs

SOON_DAYS = 14
MOST_OPENINGS = 3  # from the fourth opening on, test results favour what was chosen with them
DOCUMENTS_SHARE = 0.20  # own judgement: measure again when more than a fifth of the documents changed

Severity = Literal["act", "note"]


@dataclass(frozen=True)
class WatchFinding:
    """One thing that was noticed. `act`: something must be done; `note`: good to know. `fix` is what to type."""

    code: str
    severity: Severity
    what: str
    fix: str
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What is there now.

    `base` is the folder of the base model (None: it has none here); `documents` that of the documents; `openings` how
    often the test cases were opened; `logged` the inputs served, oldest first; `reference` the training inputs.
    """

    today: dt.date
    base: Path | None
    documents: Path | None
    openings: int
    logged: Sequence[str]
    reference: Sequence[str]


@dataclass(frozen=True)
class WatchReport:
    """What a look at a release found. `drift` holds the figures behind findings about inputs."""

    release: str
    findings: tuple[WatchFinding, ...]
    drift: Drift

    @property
    def ok(self) -> bool:
        """Nothing must be done."""
        return not any(finding.severity == "act" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "release": self.release,
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "drift": self.drift.as_dict(),
        }


def watch(release: Release, seen: Seen, embed: Embed) -> WatchReport:
    """Look at everything that can make a release worse than it was measured.

    Args:
        release: usually the champion.
        seen: the present state of what it depends on.
        embed: texts to vectors of length 1; called only when there are enough inputs to compare.

    Raises:
        StoreError: a file cannot be read.
    """
    drift = compare_inputs(seen.reference, seen.logged, embed)
    findings = (
        *_age(release, seen.today),
        *_files(release),
        *_base(release, seen.base),
        *_runtime(release),
        *_documents(release, seen.documents),
        *_openings(seen.openings),
        *_inputs(drift, seen.logged),
    )
    return WatchReport(release.name, findings, drift)


def _age(release: Release, today: dt.date) -> Iterator[WatchFinding]:
    due, age = release.review_by, (today - release.created.date()).days
    if today >= due:
        late = (today - due).days
        what = f"it was to be measured again by {due}" + (f", {late} days ago" if late else ", which is today")
        yield WatchFinding("expired", "act", what, "luthier refresh")
    elif (due - today).days <= SOON_DAYS:
        what = f"it is to be measured again by {due}, in {(due - today).days} days"
        yield WatchFinding("expires-soon", "note", what, "luthier refresh")
    elif age >= REVIEW_DAYS:
        what = f"it is {age} days old; its review is only due on {due}"
        yield WatchFinding("old", "note", what, "luthier refresh, or an earlier review_by: in luthier.yaml")


def _files(release: Release) -> Iterator[WatchFinding]:
    problems = verify_release(release, None)
    if problems:
        what = f"{len(problems)} of its own files are not what was released"
        fix = f"luthier release verify, then restore {release.folder} from a copy or: luthier release rollback"
        yield WatchFinding("release-changed", "act", what, fix, _places(problems))


def _base(release: Release, folder: Path | None) -> Iterator[WatchFinding]:
    base = release.lock["base"]
    if not base["files"]:
        what = f"the base {base['name']} has no files here: nobody but its provider can see whether it changed"
        yield WatchFinding("base-unseen", "note", what, "luthier validate, now and then")
    elif folder is None or not folder.is_dir():
        what = f"the base {base['name']} is missing" + ("" if folder is None else f": {folder}")
        yield WatchFinding("base-missing", "act", what, "restore it, or take another: luthier refresh --base NAME")
    else:
        problems = base_problems(release.lock, folder)
        if problems:
            what = f"the base {base['name']} is another one than the release was measured with"
            fix = f"restore the old files, or measure with the new ones: luthier refresh --base {base['name']}"
            yield WatchFinding("base-changed", "act", what, fix, _places(problems))


def _runtime(release: Release) -> Iterator[WatchFinding]:
    was, now = release.lock["environment"]["libraries"], environment()["libraries"]
    changed = [f"{name} {was[name]} -> {now.get(name)}" for name in was if was[name] != now.get(name)]
    if changed:
        what = f"{len(changed)} libraries that answers depend on have other versions"
        yield WatchFinding("runtime-changed", "note", what, "luthier validate", tuple(changed))


def _documents(release: Release, folder: Path | None) -> Iterator[WatchFinding]:
    if "documents" not in release.lock["system"]["indexes"]:
        return
    was = release.lock["data"]["documents"]
    if folder is None or not folder.is_dir():
        what = "the documents that the index was made from are gone; the index still answers from what they were"
        yield WatchFinding("documents-missing", "act", what, "restore the folder that documents: names in luthier.yaml")
        return
    problems = compare_files(was, document_hashes(folder), folder)
    if problems:
        share = len(problems) / max(1, len(was))
        severity: Severity = "act" if share > DOCUMENTS_SHARE else "note"
        what = f"{len(problems)} documents were changed, added or removed since the index was made ({share:.0%})"
        yield WatchFinding("documents-changed", severity, what, "luthier refresh", _places(problems))


def _openings(openings: int) -> Iterator[WatchFinding]:
    if openings > MOST_OPENINGS:
        what = f"the test cases were opened with {openings} ladders: results on them favour what was chosen with them"
        yield WatchFinding("test-worn", "act", what, "add fresh cases to test_examples, then: luthier refresh")


def _inputs(drift: Drift, logged: Sequence[str]) -> Iterator[WatchFinding]:
    if drift.missing_logged or drift.missing_reference:
        lacking = [
            f"{count} more {name}"
            for count, name in ((drift.missing_logged, "logged inputs"), (drift.missing_reference, "training inputs"))
            if count
        ]
        what = f"drift cannot be judged yet: {' and '.join(lacking)} are needed ({NEEDED} on each side)"
        yield WatchFinding("drift-unknown", "note", what, "go on with: luthier serve (it logs what it is asked)")
        return
    window = drift.windows[-1]
    figures = f"AUC {window.auc:.2f} [{window.auc_low:.2f}, {window.auc_high:.2f}], MMD² p {window.p:.3f}"
    if drift.alarm:
        what = f"what it is asked is no longer like what it was made from: {figures}"
        fix = f"label the {len(drift.most_unlike)} inputs named here, add them to test_examples, then: luthier refresh"
        yield WatchFinding("drift", "act", what, fix, tuple(_short(logged[i]) for i in drift.most_unlike))
    elif window.alarm:
        what = f"the latest inputs are unlike what it was made from, those before them were not: {figures}"
        yield WatchFinding("drift-new", "note", what, f"luthier watch again after {window.logged} more inputs")
    if drift.length_shift:
        what = f"inputs have {drift.length_ratio:.2f} times the length they had"
        yield WatchFinding("length-shift", "note", what, "luthier check, and see whether answers are cut off")


def _places(problems: Sequence[Problem]) -> tuple[str, ...]:
    return tuple(map(str, problems))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199] + "…"
