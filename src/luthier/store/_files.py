"""Files and folders that are whole or not there: temporary name, sync, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from luthier.errors import DiskFullError, Problem, StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
UNFINISHED = ".unfinished"  # a name that ends so is being written, or was when its process died
PREVIOUS = ".previous"  # what a folder's name held before it was replaced; seen only if killed in between


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an `OSError` raised while `path` is read or written into an error that says what to do.

    Raises:
        DiskFullError: no room, or the quota is used up.
        StoreError: any other refusal of the operating system (no permission, read-only, too long a name).
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(path) from error
        raise StoreError(
            f"{path} cannot be read or written: {error.strerror or error}",
            fix=f"check that {path.parent} exists and that you may write to it (ls -ld {path.parent})",
        ) from error


def disk_full(path: Path) -> DiskFullError:
    """The error for a disk without room, naming what could not be written."""
    lasting = next(parent for parent in path.parents if not parent.name.endswith(UNFINISHED))
    return DiskFullError(
        f"no room is left on the disk to write {path}",
        why="nothing was written; what was there before is untouched",
        fix=f"free some space (df -h {lasting}) and run the same command again: it continues where it stopped",
    )


def write_text_atomic(path: Path, text: str) -> None:
    """Writes UTF-8 text so that `path` holds either the old or the new text, also after a loss of power.

    Folders above `path` are made. Line ends are written as they are.

    Raises:
        DiskFullError, StoreError: as `writing`; the old file is untouched.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StoreError(
            f"{path} cannot be written: the text has a lone surrogate (half a character) at position {error.start}",
            fix="repair the text where it comes from: it was cut in the middle of a character",
        ) from error
    _write_bytes(path, data)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically (see `write_text_atomic`); keys keep their order.

    Raises:
        StoreError: the value is not JSON (a set, an object, NaN or infinity), or as `writing`.
        DiskFullError: as `writing`.
    """
    _write_bytes(path, to_json(value, f"{path} cannot be written", indent=2).encode("utf-8") + b"\n")


def to_json(value: Any, failing: str, *, indent: int | None = None) -> str:
    """Strict JSON text: no NaN, no infinity, nothing that JSON does not know. `failing` begins the error's sentence."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{failing}: {error}",
            why="what is recorded must be read back as the same value, and JSON has no form for this one",
            fix="record dicts with text keys, lists, texts, finite numbers, true, false and null only",
        ) from error
    # A lone surrogate stands only inside a JSON string, where backslashreplace gives exactly its JSON escape.
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        StoreError: missing, unreadable, not UTF-8, or not JSON (file and line are named).
    """
    try:
        with writing(path):
            return json.loads(path.read_bytes().decode("utf-8"))
    except json.JSONDecodeError as error:
        raise _not_json(path, f"not JSON: {error.msg}", error.lineno) from error
    except UnicodeDecodeError as error:
        raise _not_json(path, f"not UTF-8 at byte {error.start}", None) from error
    except RecursionError as error:
        raise _not_json(path, "nested too deeply", None) from error


def hash_folder(path: Path) -> str:
    """SHA-256 (hex) over the sorted relative names and the contents of all files under `path`.

    Equal for equal folders wherever they lie; empty folders, times and permissions do not count.

    Raises:
        StoreError: not a folder, unreadable, or holding links or other things that are no plain files (all named).
    """
    if not path.is_dir() or path.is_symlink():
        raise StoreError(
            f"{path} is not a folder", fix=f"check the path (ls -ld {path}); a link is not followed: name its target"
        )
    digest = hashlib.sha256()
    for name, file in _plain_files(path):
        encoded = name.encode("utf-8", errors="surrogateescape")
        digest.update(len(encoded).to_bytes(8, "big") + encoded + bytes.fromhex(hash_file(file)))
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's content, as `sha256sum` prints it.

    Raises:
        StoreError: missing or unreadable.
    """
    with writing(path), path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def new_folder(final: Path, before: Path | None = None) -> Iterator[Path]:
    """Gives an empty folder under a temporary name beside `final`; publishes it as `final` when the block ends well.

    When the block raises, the temporary folder is removed and `final` is what it was.

    Args:
        final: the name to publish under.
        before: as in `replace_folder`.

    Raises:
        DiskFullError: no room, in the block too, whatever wrote there.
        StoreError: as `replace_folder`.
    """
    temporary = _temporary(final)
    with writing(temporary):
        _make_folder(final.parent)
        temporary.mkdir()
    try:
        yield temporary
        replace_folder(temporary, final, before)
    except OSError as error:  # the block's own: `replace_folder` raises none
        if error.errno in FULL:
            raise disk_full(final) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # the reason to stop is the error that counts


def replace_folder(temporary: Path, final: Path, before: Path | None = None) -> None:
    """Publishes a folder that was built under a temporary name: every file synced, then renamed to `final`.

    What stood at `final` is removed afterwards. A process killed between the two renames leaves it under a hidden
    name, from where the next writer brings it back. All must be on one file system.

    Args:
        temporary: what was built.
        final: the name to publish under.
        before: where to keep what stood at `final`, instead of removing it; what stood there is removed. A process
            killed between the two renames leaves `before` alone: whoever reads `final` must look there too.

    Raises:
        DiskFullError, StoreError: the operating system refused; `final` is what it was.
    """
    with writing(final):
        for _, file in _plain_files(temporary):
            _sync(file)
        for folder in (temporary, *(p for p in temporary.rglob("*") if p.is_dir())):
            _sync_folder(folder)
        _make_folder(final.parent)
        restore_folder(final)
        aside = before or _previous(final)
        if final.exists():
            _discard(aside)
            final.replace(aside)
        try:
            temporary.replace(final)
        except OSError:
            if not final.exists() and aside.exists():
                aside.replace(final)
            raise
        _sync_folder(final.parent)
        if before is None:
            shutil.rmtree(aside, ignore_errors=True)  # a leftover is removed by the next replacement


def restore_folder(final: Path) -> None:
    """Finishes or takes back a `replace_folder` that was killed: after it, `final` is whole if it ever was there."""
    previous = _previous(final)
    if not previous.exists():
        return
    if final.exists():
        shutil.rmtree(previous)
    else:
        previous.replace(final)
        _sync_folder(final.parent)


def clean_folder(folder: Path) -> None:
    """Undoes what dead processes left half done directly in `folder`. Call it only as the folder's one writer."""
    for path in folder.glob(f".*{PREVIOUS}"):
        restore_folder(folder / path.name[1 : -len(PREVIOUS)])
    for path in folder.glob(f".*{UNFINISHED}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_bytes(path: Path, data: bytes) -> None:
    temporary = _temporary(path)
    with writing(path):
        _make_folder(path.parent)
        try:
            with temporary.open("xb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):  # the reason to stop is the error that counts
                temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}{UNFINISHED}")


def _previous(final: Path) -> Path:
    return final.with_name(f".{final.name}{PREVIOUS}")


def _plain_files(folder: Path) -> list[tuple[str, Path]]:
    """(relative POSIX name, path) of all files below, sorted by the bytes of the name; links and devices refused."""
    found: list[tuple[str, Path]] = []
    problems: list[Problem] = []
    with writing(folder):
        for path in folder.rglob("*"):
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                problems.append(Problem("a symbolic link", path))
            elif stat.S_ISREG(mode):
                found.append((path.relative_to(folder).as_posix(), path))
            elif not stat.S_ISDIR(mode):
                problems.append(Problem("neither a file nor a folder", path))
    if problems:
        raise StoreError(
            f"{folder} holds {len(problems)} thing(s) that are not plain files",
            why="a hash must stand for the content, and what a link points at can change or be missing elsewhere",
            fix=f"replace each by a copy of the file (cp -rL {folder} NEW_FOLDER)",
            problems=problems,
        )
    return sorted(found, key=lambda pair: os.fsencode(pair[0]))


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it so that they, too, are there after a loss of power."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        _sync_folder(path.parent)


def _discard(folder: Path) -> None:
    """Removes a folder; killed on the way, it leaves nothing half removed under the folder's own name."""
    if folder.exists():
        unnamed = _temporary(folder)
        folder.replace(unnamed)
        shutil.rmtree(unnamed)


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_json(path: Path, what: str, line: int | None) -> StoreError:
    return StoreError(
        f"{path} cannot be read",
        why="it was changed or cut off after it was written: luthier writes such files whole or not at all",
        fix=f"restore {path.name} from a copy, or move it away (mv {path} {path}.broken) and run the step again",
        problems=[Problem(what, path, line)],
    )
