"""Files and folders are whole or not there."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import DiskFullError, StoreError
from luthier.store import (
    hash_file,
    hash_folder,
    new_folder,
    read_json,
    replace_folder,
    write_json,
    write_text_atomic,
)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def make(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def refuse(code: int):
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_text_is_written_as_it_is_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a" / "b.txt", "é\r\n\x00z")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"\xc3\xa9\r\n\x00z"
    assert names(tmp_path / "a") == ["b.txt"]


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EIO, StoreError)]
)
def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch, code: int, kind: type) -> None:
    file = tmp_path / "x.json"
    write_json(file, {"old": 1})
    monkeypatch.setattr(os, "fsync", refuse(code))
    with pytest.raises(kind) as caught:
        write_json(file, {"new": 2})
    assert type(caught.value) is kind and str(file) in caught.value.what and caught.value.fix
    assert json.loads(file.read_text()) == {"old": 1} and names(tmp_path) == ["x.json"]


def test_a_failed_rename_keeps_the_old_file(tmp_path: Path, monkeypatch) -> None:
    write_text_atomic(tmp_path / "x", "old")
    monkeypatch.setattr(Path, "replace", refuse(errno.ENOSPC))
    with pytest.raises(DiskFullError):
        write_text_atomic(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old" and names(tmp_path) == ["x"]


def test_a_lone_surrogate_is_refused_in_text_and_kept_in_json(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="position 1"):
        write_text_atomic(tmp_path / "x", "a\ud800")
    assert names(tmp_path) == []
    write_json(tmp_path / "y", {"\udfff": "a\ud800\n\\é"})
    assert read_json(tmp_path / "y") == {"\udfff": "a\ud800\n\\é"}
    assert "é" in (tmp_path / "y").read_text(encoding="utf-8")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=30, deadline=None)  # every write is synced
@given(json_values)
def test_json_comes_back_the_same(tmp_path_factory, value) -> None:
    file = tmp_path_factory.getbasetemp() / "roundtrip.json"
    write_json(file, value)
    assert read_json(file) == value


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": float("inf")}, {"a": {1}}, {("a", "b"): 1}, object()])
def test_what_json_does_not_know_is_refused(tmp_path: Path, value) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        write_json(tmp_path / "x", value)
    assert names(tmp_path) == []


def test_a_value_that_holds_itself_is_refused(tmp_path: Path) -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(StoreError):
        write_json(tmp_path / "x", value)


@pytest.mark.parametrize(
    ("data", "line", "word"),
    [
        (b'{"a": 1,\n "b": }', 2, "not JSON"),
        (b"", 1, "not JSON"),
        (b'"\xff"', None, "UTF-8"),
        (b"[" * 100_000, None, "deep"),
    ],
)
def test_a_broken_json_file_is_named_with_its_line(tmp_path: Path, data: bytes, line: int | None, word: str) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(StoreError) as caught:
        read_json(tmp_path / "x.json")
    (problem,) = caught.value.problems
    assert problem.file == tmp_path / "x.json" and problem.line == line and word in problem.what and caught.value.fix


def test_a_missing_json_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        read_json(tmp_path / "x.json")


def test_hash_is_of_names_and_contents_only(tmp_path: Path) -> None:
    one = make(tmp_path / "one", {"b/c.txt": "2", "a.txt": "1"})
    two = make(tmp_path / "two", {"a.txt": "1", "b/c.txt": "2"})
    (two / "empty").mkdir()
    os.utime(two / "a.txt", (1, 1))
    assert hash_folder(one) == hash_folder(two) and len(hash_folder(one)) == 64


@pytest.mark.parametrize(
    "files",
    [
        {"a": "1", "b": "3"},
        {"a": "1", "c": "2"},
        {"a": "1"},
        {"a": "1", "b": "2", "c": ""},
        {"a": "2", "b": "1"},
        {"ab": "12"},
    ],
)
def test_hash_sees_every_change(tmp_path: Path, files: dict[str, str]) -> None:
    assert hash_folder(make(tmp_path / "x", {"a": "1", "b": "2"})) != hash_folder(make(tmp_path / "y", files))


def test_hash_refuses_links_and_devices_and_names_all_of_them(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", {"a": "1"})
    (folder / "link").symlink_to(folder / "a")
    (folder / "dir").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    with pytest.raises(StoreError) as caught:
        hash_folder(folder)
    assert {Path(str(p.file)).name for p in caught.value.problems} == {"link", "dir", "pipe"}


@pytest.mark.parametrize("name", ["missing", "file", "link"])
def test_hash_wants_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="is not a folder"):
        hash_folder(tmp_path / name)


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "kind" / "key"
    with new_folder(final) as folder:
        make(folder, {"a/b": "1"})
        assert not final.exists()
    assert (final / "a" / "b").read_text() == "1" and names(final.parent) == ["key"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    final = make(tmp_path / "key", {"old": "1"})
    with pytest.raises(KeyboardInterrupt), new_folder(final) as folder:
        make(folder, {"new": "1"})
        raise KeyboardInterrupt
    assert names(final) == ["old"] and names(tmp_path) == ["key"]


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFullError), (errno.ECONNRESET, ConnectionResetError)])
def test_a_disk_that_fills_while_a_folder_is_built_is_said(tmp_path: Path, code: int, kind: type) -> None:
    with pytest.raises(kind), new_folder(tmp_path / "key"):
        raise OSError(code, os.strerror(code))
    assert names(tmp_path) == []


def test_a_folder_replaces_the_old_one(tmp_path: Path) -> None:
    final = make(tmp_path / "key", {"old": "1"})
    with new_folder(final) as folder:
        make(folder, {"new": "1"})
    assert names(final) == ["new"] and names(tmp_path) == ["key"]


def test_the_old_folder_comes_back_when_the_second_rename_fails(tmp_path: Path, monkeypatch) -> None:
    final, temporary = make(tmp_path / "key", {"old": "1"}), make(tmp_path / "t", {"new": "1"})
    real = Path.replace

    def fail_second(self: Path, target: Path) -> Path:
        if self == temporary:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fail_second)
    with pytest.raises(DiskFullError):
        replace_folder(temporary, final)
    assert names(final) == ["old"]


def test_a_replacement_killed_between_the_renames_is_taken_back_by_the_next(tmp_path: Path) -> None:
    make(tmp_path / ".key.previous", {"old": "1"})  # as a kill leaves it: moved away, nothing in its place
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "key") as folder:
        make(folder, {"new": "1"})
        raise ZeroDivisionError
    with new_folder(tmp_path / "key") as folder:
        make(folder, {"newer": "1"})
    assert names(tmp_path / "key") == ["newer"] and names(tmp_path) == ["key"]


def test_links_are_not_published(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not plain files"), new_folder(tmp_path / "key") as folder:
        (folder / "x").symlink_to("/etc/passwd")
    assert names(tmp_path) == []


def test_importing_the_package_loads_no_database() -> None:
    code = "import sys, luthier.store; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_hash_of_a_file_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert hash_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(StoreError, match="No such file"):
        hash_file(tmp_path / "y")


def test_what_stood_there_is_kept_as_the_one_before(tmp_path: Path) -> None:
    for number in "123":
        with new_folder(tmp_path / "key", tmp_path / "before") as folder:
            make(folder, {number: ""})
    assert names(tmp_path / "key") == ["3"] and names(tmp_path / "before") == ["2"]
    assert names(tmp_path) == ["before", "key"]


def test_a_failed_second_rename_keeps_both(tmp_path: Path, monkeypatch) -> None:
    final, before = make(tmp_path / "key", {"2": ""}), make(tmp_path / "before", {"1": ""})
    temporary, real = make(tmp_path / "t", {"3": ""}), Path.replace

    def fail_second(self: Path, target: Path) -> Path:
        if self == temporary:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fail_second)
    with pytest.raises(DiskFullError):
        replace_folder(temporary, final, before)
    assert names(final) == ["2"]


def test_everything_is_synced_before_it_is_there_and_its_name_afterwards(tmp_path: Path, monkeypatch) -> None:
    """Files, their folder, the folder that holds the name, and folders that were made on the way."""
    synced: list[tuple[str, bool]] = []
    final, fsync = tmp_path / "made" / "too" / "key", os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(str(tmp_path))
        synced.append((re.sub(r"\.key\.\w+\.unfinished", "KEY", path), final.exists()))

    monkeypatch.setattr(os, "fsync", note)
    with new_folder(final) as folder:
        make(folder, {"a": "1", "sub/b": "2"})
    assert [path for path, there in synced if there] == ["/made/too"]
    before = [path for path, there in synced if not there]
    assert before[:2] == ["", "/made"]
    assert sorted(before[2:]) == ["/made/too/KEY", "/made/too/KEY/a", "/made/too/KEY/sub", "/made/too/KEY/sub/b"]
    synced.clear()
    write_json(tmp_path / "new" / "x.json", {})
    assert synced[0][0] == "" and "unfinished" in synced[1][0] and synced[2][0] == "/new"
