"""The lock: everything that made a release, by name and hash, and the check that it is all still so."""

from __future__ import annotations

import datetime as dt
import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from luthier import __version__
from luthier.data import Split, content_hash
from luthier.decide import Evidence, System, Verdict, read_setup
from luthier.errors import Problem, ReleaseError
from luthier.models import asked_model
from luthier.release._chat import SystemMessages
from luthier.release._gates import GateReport
from luthier.release._parity import Tokenizing
from luthier.spec import Task
from luthier.store import read_json, writing

if TYPE_CHECKING:
    from luthier.evaluate import Capability

LOCK_FORMAT = 1
REVIEW_DAYS = 90  # own judgement: measure again after 90 days at the latest
NOT_LOCKED = frozenset({"lock.json", "README.md"})  # the lock itself, and the prose made from it
CONTENTS = frozenset({"evidence.json", "verdict.json", "gate.json", "capability.json"})
LIBRARIES = (
    "accelerate",
    "bm25s",
    "llguidance",
    "numpy",
    "openai",
    "peft",
    "safetensors",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)
# What loaders read from a model folder. Other files (licences, other formats of the weights) change no answer.
READ_BY_LOADERS = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model"})


@runtime_checkable
class OnDisk(Protocol):
    """A model that may have its files in a folder here."""

    @property
    def folder(self) -> Path | None:
        """Where weights, tokenizer and chat template lie."""
        ...


@dataclass(frozen=True)
class Provenance:
    """What a release was made from, besides the system itself.

    `data` are the files behind it by the name a user knows them by; `recipe` and `capability` are None where no
    weights were changed; `warrant_override` is the reason that was given for training without a warrant, or "".
    """

    task: Task
    split: Split
    evidence: Evidence
    verdict: Verdict
    gate: GateReport
    capability: Capability | None = None
    recipe: Mapping[str, Any] | None = None
    system_messages: SystemMessages = "none"
    warrant_override: str = ""


def make_lock(folder: Path, system: System, made_from: Provenance, *, version: int, now: dt.datetime) -> dict[str, Any]:
    """The lock of a release whose files lie complete in `folder`. Plain JSON; it names no path of this machine.

    Args:
        folder: the files of the release.
        system: what is released.
        made_from: everything else that made it.
        version: the release's number.
        now: the time, with its zone.
    """
    task, setup = made_from.task, system.setup
    review_by = task.review_by or (now + dt.timedelta(days=REVIEW_DAYS)).date()
    return {
        "format": LOCK_FORMAT,
        "task": task.task,
        "goal": task.goal,
        "version": version,
        "created": now.isoformat(timespec="seconds"),
        "review_by": review_by.isoformat(),
        "base": _base(system),
        "system": {
            "identity": system.identity,
            "method": setup.method,
            "instructions": content_hash(setup.instructions),
            "demonstrations": len(setup.demonstrations) or (setup.nearest.k if setup.nearest else 0),
            "indexes": {
                name: lookup.index
                for name, lookup in (("demonstrations", setup.nearest), ("documents", setup.passages))
                if lookup is not None
            },
            "adapter": setup.adapter,
            "scale": setup.scale,
            "system_messages": made_from.system_messages,
        },
        "decoding": {
            "greedy": setup.votes is None,
            "max_tokens": setup.max_tokens,
            "constraint": None if setup.constraint is None else content_hash(setup.constraint.as_dict()),
            **({} if setup.votes is None else {"votes": {"k": setup.votes.k, "temperature": setup.votes.temperature}}),
        },
        "files": {name: sha for name, sha in file_hashes(folder).items() if name not in NOT_LOCKED},
        "contents": {n: content_hash(read_json(folder / n)) for n in sorted(CONTENTS) if (folder / n).is_file()},
        "data": _data(made_from),
        "recipe": None if made_from.recipe is None else dict(made_from.recipe),
        "seeds": {"split": made_from.split.seed, "training": task.train.seed if setup.adapter else None},
        "openings": made_from.evidence.openings,
        "warrant": asdict(made_from.verdict.warrant) | {"override": made_from.warrant_override},
        "environment": environment(),
    }


def environment() -> dict[str, Any]:
    """Versions of luthier, Python, the platform and the libraries that answers depend on."""
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "luthier": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "libraries": versions,
    }


def lock_hash(lock: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a lock's canonical JSON."""
    return content_hash(dict(lock))


def verify(folder: Path, lock: Mapping[str, Any], base: Path | None) -> list[Problem]:
    """Compute every hash of a lock again and say what differs.

    Args:
        folder: the release.
        lock: as it was recorded when the release was made; `folder/lock.json` must still say the same.
        base: the folder of the base model, None to leave the base out.

    Raises:
        ReleaseError: the lock was written by a newer luthier.
    """
    check_format(lock)
    if not folder.is_dir():
        return [Problem("the folder of the release is missing", folder)]
    problems = _lock_file(folder, lock)
    now = {name: sha for name, sha in file_hashes(folder).items() if name not in NOT_LOCKED}
    problems += compare_files(lock["files"], now, folder)
    problems += _contents(folder, lock)
    if base is not None and lock["base"]["files"]:
        problems += base_problems(lock, base)
    return problems


def base_problems(lock: Mapping[str, Any], base: Path) -> list[Problem]:
    """What differs between the base model in a folder and the one that the lock names."""
    if not base.is_dir():
        return [Problem(f"the base model {lock['base']['name']} is missing", base)]
    return compare_files(lock["base"]["files"], base_file_hashes(base), base)


def compare_files(was: Mapping[str, str], now: Mapping[str, str], folder: Path) -> list[Problem]:
    """A problem for every file that is missing, changed or new."""
    problems = []
    for name in sorted(was.keys() | now.keys()):
        if name not in now:
            problems.append(Problem("missing", folder / name))
        elif name not in was:
            problems.append(Problem("not part of the release: added later", folder / name))
        elif was[name] != now[name]:
            problems.append(Problem(f"changed: SHA-256 is {now[name][:12]}…, was {was[name][:12]}…", folder / name))
    return problems


def check_format(lock: Mapping[str, Any]) -> None:
    """Refuse a lock of a newer format.

    Raises:
        ReleaseError: it is newer than this luthier reads.
    """
    if lock["format"] > LOCK_FORMAT:
        raise ReleaseError(
            f"this lock has format {lock['format']}; this luthier reads up to {LOCK_FORMAT}",
            fix="pip install -U luthier",
        )


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of every file below a folder, by its relative name with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): _file_hash(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def document_hashes(folder: Path) -> dict[str, str]:
    """As `file_hashes`, without hidden files: systems and editors leave those behind, and no index has them."""
    hashes = file_hashes(folder)
    return {name: sha for name, sha in hashes.items() if not any(part.startswith(".") for part in name.split("/"))}


def base_file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of the files of a model folder that loaders read; links (as hub caches have) are followed."""
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix in READ_BY_LOADERS)
    return {path.name: _file_hash(path) for path in files if not path.name.startswith(".")}


def plain_name(name: str) -> str:
    """A model's name without the place where it lies on this machine."""
    path = PurePath(name)
    return path.name if path.is_absolute() else name


def _file_hash(path: Path) -> str:
    with writing(path), path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _base(system: System) -> dict[str, Any]:
    model = asked_model(system.model)
    folder = model.folder if isinstance(model, OnDisk) else None
    files = {} if folder is None else base_file_hashes(folder)
    template = content_hash(model.tokenizer.chat_template) if isinstance(model, Tokenizing) else None
    return {
        "name": plain_name(system.setup.base),
        "identity": system.setup.base_identity,
        "files": files,
        "tokenizer": files.get("tokenizer.json"),
        "chat_template": template,
    }


def data_files(task: Task) -> dict[str, str]:
    """SHA-256 (hex) of the files behind a task, documents left out, by the name a user knows them by."""
    named = [task.folder / "luthier.yaml", task.examples, task.test_examples, task.prices, *task.general]
    named += [getattr(task.score, "schema_file", None), getattr(task.score, "file", None)]
    files: dict[str, str] = {}
    for path in named:
        if path is not None:
            files |= _named_hashes(path, task.folder)
    return files


def _data(made_from: Provenance) -> dict[str, Any]:
    task, split = made_from.task, made_from.split
    return {
        "files": data_files(task),
        "documents": {} if task.documents is None else document_hashes(task.documents),
        "split": split.hash,
        "rows": {"train": len(split.train), "development": len(split.development), "test": len(split.test)},
    }


def _named_hashes(path: Path, folder: Path) -> dict[str, str]:
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    if path.is_dir():
        return {f"{name}/{inner}": sha for inner, sha in file_hashes(path).items()}
    return {name: _file_hash(path)} if path.is_file() else {}


def _lock_file(folder: Path, lock: Mapping[str, Any]) -> list[Problem]:
    file = folder / "lock.json"
    if not file.is_file():
        return [Problem("missing", file)]
    written = read_json(file)
    if not isinstance(written, dict):
        return [Problem("is not a lock", file)]
    if lock_hash(written) == lock_hash(lock):
        return []
    fields = sorted(k for k in written.keys() | lock.keys() if written.get(k) != lock.get(k))
    return [Problem(f"changed since the release was made: {', '.join(fields)}", file)]


def _contents(folder: Path, lock: Mapping[str, Any]) -> list[Problem]:
    """Problems of files whose bytes are as locked, but which say something else than the lock says."""
    problems = []
    said: dict[str, str] = {}
    intact = {n for n, sha in lock["files"].items() if (folder / n).is_file() and _file_hash(folder / n) == sha}
    for name in CONTENTS & intact:
        said[name] = content_hash(read_json(folder / name))
    for name, content in lock["contents"].items():
        if name in said and said[name] != content:
            problems.append(Problem("does not say what the lock says it does", folder / name))
    if "system.json" in intact:
        setup = read_setup(folder)
        if content_hash(setup.as_dict()) != lock["system"]["identity"]:
            problems.append(Problem("is another system than the one that was gated", folder / "system.json"))
    return problems
