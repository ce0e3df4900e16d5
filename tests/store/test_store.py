"""What is recorded is there, also after a kill, and what cannot be recorded is said."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from luthier.errors import BusyError, DiskFullError, ReleaseError, StoreError
from luthier.store import Store, _tables, new_folder


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path) as opened:
        yield opened


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_opening_again_is_quick_and_needs_no_migration_tool(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    code = """
import sys, time
from pathlib import Path
from luthier.store import Store
start = time.perf_counter()
Store.open(Path(sys.argv[1])).close()
print(time.perf_counter() - start, "alembic" in sys.modules)
"""
    seconds, alembic = run_python(code, tmp_path).communicate()[0].split()
    assert float(seconds) < 0.3 and alembic == "False"


# Answers


def test_answers_come_back_and_the_first_one_stays(store: Store) -> None:
    store.put_answers({"a": {"text": "é\x00\ud83d", "n": [1, None, 0.1]}, "b": {}})
    store.put_answers({"b": {"other": 1}, "c": {}})
    store.put_answers({})
    assert store.get_answers(["a", "b", "c", "missing"]) == {
        "a": {"text": "é\x00\ud83d", "n": [1, None, 0.1]},
        "b": {},
        "c": {},
    }
    assert store.get_answers([]) == {}


def test_many_answers_at_once(store: Store) -> None:
    items = {f"k{i}": {"i": i} for i in range(5_000)}
    store.put_answers(items)
    assert store.get_answers(list(items)) == items


def test_answers_that_are_no_json_are_refused_and_none_is_recorded(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot be recorded"):
        store.put_answers({"a": {"fine": 1}, "b": {"x": float("nan")}})
    assert store.get_answers(["a", "b"]) == {}


# Documents


def test_documents_are_replaced_by_key_and_the_last_put_is_the_latest(store: Store) -> None:
    before = datetime.now(UTC)
    store.put_document("verdict", "a", {"v": 1})
    store.put_document("verdict", "b", {"v": 2})
    store.put_document("other", "z", {"v": 9})
    assert store.latest_document("verdict") == ("b", {"v": 2})
    store.put_document("verdict", "a", {"v": 3})
    assert store.latest_document("verdict") == ("a", {"v": 3})
    assert store.get_document("verdict", "a") == {"v": 3} and store.get_document("verdict", "z") is None
    assert [(key, value) for key, _, value in store.documents("verdict")] == [("b", {"v": 2}), ("a", {"v": 3})]
    assert all(before <= when <= datetime.now(UTC) for _, when, _ in store.documents("verdict"))
    assert store.latest_document("none") is None and store.documents("none") == []


def test_openings_count_different_ladders(store: Store) -> None:
    assert [store.open_test("s", ladder) for ladder in ("l1", "l1", "l2", "l1", "l3")] == [1, 1, 2, 2, 3]
    assert store.open_test("other", "l1") == 1


# Artefacts


def test_artefact_paths_are_stable_and_inside(store: Store, tmp_path: Path) -> None:
    path = store.artefact_path("index", "ab12.v1")
    assert path == (tmp_path / ".luthier" / "index" / "ab12.v1").resolve() and not path.exists()
    with new_folder(path) as folder:
        (folder / "x").write_text("1")
    assert (store.artefact_path("index", "ab12.v1") / "x").read_text() == "1"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a" * 121, "a\n", "é"])
def test_artefact_names_that_are_no_plain_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot name an artefact"):
        store.artefact_path("index", name)
    with pytest.raises(StoreError, match="cannot name an artefact"):
        store.artefact_path(name, "key")


# Releases


def test_releases_count_from_one_per_task(store: Store) -> None:
    assert [store.add_release(task, f"/r/{task}", {"t": task}) for task in ("a", "a", "b", "a")] == [1, 2, 1, 3]
    assert [row.version for row in store.releases("a")] == [1, 2, 3] and store.releases("c") == []
    row = store.release("b", 1)
    assert (row.folder, row.lock) == ("/r/b", {"t": "b"}) and datetime.now(UTC) - row.created < timedelta(minutes=1)
    with pytest.raises(ReleaseError, match=r"no release 4 \(there is: 1, 2, 3\)"):
        store.release("a", 4)
    with pytest.raises(ReleaseError, match="there is: none"):
        store.release("c", 1)


def test_an_alias_points_at_its_last_move_and_keeps_its_history(store: Store) -> None:
    for _ in range(3):
        store.add_release("a", "f", {})
    assert store.alias("a", "production") is None and store.alias_history("a", "production") == []
    for version in (1, 3, 2):
        store.set_alias("a", "production", version)
    with pytest.raises(ReleaseError):
        store.set_alias("a", "production", 9)
    assert store.alias("a", "production") == 2 and store.alias("b", "production") is None
    assert [version for _, version in store.alias_history("a", "production")] == [1, 3, 2]


def test_traffic_is_recorded_from_many_threads(store: Store) -> None:
    def log(i: int) -> None:
        store.log_traffic(i % 2, {"messages": [f"\x00\ud800{i}"]}, f"answer\x00\ud800{i}", i, 2, 0.5)

    threads = [threading.Thread(target=log, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = store.traffic()
    assert sorted(row.prompt_tokens for row in rows) == list(range(24))
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert all(row.answer == f"answer\x00\ud800{row.prompt_tokens}" for row in rows)
    assert rows[0].created.tzinfo is UTC and rows[0].seconds == 0.5
    assert store.traffic(5) == rows[-5:] and store.traffic(0) == []


# One writer


def test_the_lock_names_who_holds_it_and_what_it_does(tmp_path: Path, store: Store) -> None:
    code = """
import sys
from pathlib import Path
from luthier.store import Store
with Store.open(Path(sys.argv[1])) as store, store.lock("climbs the ladder"):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(BusyError) as caught, store.lock():
        pass
    assert f"process {holder.pid} (climbs the ladder, since " in caught.value.what
    assert f"kill {holder.pid}" in caught.value.fix
    store.put_document("still", "works", {})  # the lock is for whole commands; single records need none
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with store.lock():
        assert json.loads((tmp_path / ".luthier" / "writer.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".luthier" / "writer.json").exists()


def test_the_holder_may_take_the_lock_again_and_others_may_not(tmp_path: Path, store: Store) -> None:
    with store.lock("a"), store.lock("b"):
        note = json.loads((tmp_path / ".luthier" / "writer.json").read_text())
        assert note["doing"] == "a"
        with Store.open(tmp_path) as other, pytest.raises(BusyError, match=f"process {os.getpid()} "), other.lock():
            pass
        (tmp_path / ".luthier" / "writer.json").write_text("{")  # cannot be read: still a clear refusal
        with Store.open(tmp_path) as other, pytest.raises(BusyError, match="another process"), other.lock():
            pass
    with Store.open(tmp_path) as other, other.lock():
        pass


def test_the_next_writer_cleans_up_after_a_killed_one(store: Store, tmp_path: Path) -> None:
    home = tmp_path / ".luthier"
    for name in ("index/.k.1234.unfinished", "index/.key.previous", "adapter/kept"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text(name)
    (home / ".state.json.99.unfinished").write_text("half")
    with store.lock():
        names = sorted(str(p.relative_to(home)) for p in home.rglob("file"))
        assert names == ["adapter/kept/file", "index/key/file"]
        assert not list(home.glob(".state*"))


def test_nothing_recorded_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from luthier.store import Store
store = Store.open(Path(sys.argv[1]))
for i in range(100_000):
    store.put_answers({f"{i}-{j}": {"i": i} for j in range(3)})
    print(i, flush=True)
"""
    process = run_python(code, tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 40:
            process.kill()
            break
    said = max([40, *(int(rest) for rest in process.communicate()[0].split("\n")[:-1] if rest)])
    with Store.open(tmp_path) as store:
        assert len(store.get_answers([f"{i}-{j}" for i in range(said + 1) for j in range(3)])) == 3 * (said + 1)
        after = store.get_answers([f"{i}-{j}" for i in range(said + 1, said + 9) for j in range(3)])
        assert len(after) % 3 == 0  # whole transactions only


def test_two_processes_make_the_store_at_once(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from luthier.store import Store
with Store.open(Path(sys.argv[1])) as store:
    print(store.add_release("t", "f", {}))
"""
    processes = [run_python(code, tmp_path) for _ in range(2)]
    assert sorted(p.communicate()[0].strip() for p in processes) == ["1", "2"]


# Schema


def test_the_scripts_give_the_tables_of_the_code(store: Store) -> None:
    config = Config()
    config.set_main_option("script_location", "luthier.store:_migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == _tables.HEAD
    with store._database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": _tables.VERSION_TABLE})
        assert compare_metadata(context, _tables.Base.metadata) == []


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    file = tmp_path / ".luthier" / "luthier.db"
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE {_tables.VERSION_TABLE} SET version_num = '9999'")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match="newer luthier") as caught:
        Store.open(tmp_path)
    assert caught.value.fix == "pip install -U luthier" and "9999" in caught.value.what
    assert file.read_bytes() == before


def test_a_migration_that_fails_leaves_no_trace(tmp_path: Path, monkeypatch) -> None:
    from alembic import command

    real = command.upgrade

    def half(config, revision) -> None:
        real(config, revision)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "upgrade", half)
    with pytest.raises(KeyboardInterrupt):
        Store.open(tmp_path)
    with sqlite3.connect(tmp_path / ".luthier" / "luthier.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    monkeypatch.undo()
    Store.open(tmp_path).close()


def test_records_are_synced_and_readers_do_not_wait(store: Store) -> None:
    with store._database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    with store._database.write() as connection:
        connection.execute(insert(_tables.Opening).values(split_hash="s", ladder_hash="l", created=datetime.now(UTC)))
        start = time.perf_counter()
        assert store.releases("a") == []
        assert time.perf_counter() - start < 1


def test_statements_and_tables_are_good_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in _tables.Base.metadata.sorted_tables:
        assert "AUTOINCREMENT" not in str(CreateTable(table).compile(dialect=dialect))
    statement = postgresql.insert(_tables.Opening).values(split_hash="s", ladder_hash="l").on_conflict_do_nothing()
    assert "ON CONFLICT DO NOTHING" in str(statement.compile(dialect=dialect))
    moment = _tables.UtcDateTime().process_bind_param(datetime(2026, 1, 1, tzinfo=UTC), dialect)
    assert moment is not None and moment.tzinfo is UTC
    assert "LIMIT" in str(select(_tables.Served.id).limit(3).compile(dialect=dialect))


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:secret@h/d", "nothing://u:secret@h/d"])
def test_a_url_that_cannot_be_used_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path, url)
    assert "postgresql" in caught.value.fix and "secret" not in str(caught.value)


def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path, f"sqlite:///{tmp_path}/no/folder.db")
    assert "no/folder.db cannot be opened" in caught.value.what
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(StoreError, match="driver") as caught:
            Store.open(tmp_path, "postgresql+psycopg://u:secret@localhost:1/d")
        assert caught.value.fix == "pip install psycopg" and "secret" not in str(caught.value)


def test_a_url_can_name_another_file(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a", f"sqlite:///{tmp_path}/shared.db") as one:
        one.put_answers({"k": {"v": 1}})
    with Store.open(tmp_path / "b", f"sqlite:///{tmp_path}/shared.db") as two:
        assert two.get_answers(["k"]) == {"k": {"v": 1}}


def test_folder_names_with_strange_characters_work(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c=1#é%41;@:x"
    folder.mkdir()
    with Store.open(folder) as store:
        store.put_answers({"k": {}})
    assert (folder / ".luthier" / "luthier.db").exists()


# Damage


def fill_and_damage(folder: Path) -> Path:
    with Store.open(folder) as store:
        store.put_answers({f"k{i}": {"x": "y" * 100} for i in range(2_000)})
    file = folder / ".luthier" / "luthier.db"
    data = bytearray(file.read_bytes())
    data[4096 * 5 : 4096 * 40] = b"\xa5" * 4096 * 35
    file.write_bytes(data)
    return file


def test_a_damaged_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = fill_and_damage(tmp_path)
    with Store.open(tmp_path) as store, pytest.raises(StoreError, match="damaged") as caught:
        store.get_answers([f"k{i}" for i in range(2_000)])
    assert str(file) in caught.value.what and f"mv {file} {file}.broken" in caught.value.fix
    assert type(caught.value) is StoreError


def test_a_kept_value_that_was_cut_off_is_damage(store: Store, tmp_path: Path) -> None:
    store.put_document("decision", "one", {"rungs": [1, 2]})
    with sqlite3.connect(tmp_path / ".luthier" / "luthier.db") as other:
        other.execute("UPDATE documents SET value = substr(value, 1, 8)")
    other.close()
    with pytest.raises(StoreError, match=r"damaged: .* column") as caught:
        store.latest_document("decision")
    assert ".broken" in caught.value.fix


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / ".luthier" / "luthier.db"
    file.parent.mkdir()
    file.write_text("these are my notes, " * 100)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(tmp_path)
    assert file.read_text() == "these are my notes, " * 100


def test_a_full_disk_is_said_and_what_was_there_stays(store: Store) -> None:
    store.put_answers({"a": {"v": 1}})

    def no_more_pages(connection, record, proxy) -> None:
        connection.execute("PRAGMA max_page_count=1").close()  # SQLite then answers as on a full disk

    event.listen(store._database.engine, "checkout", no_more_pages)
    with pytest.raises(DiskFullError, match=r"luthier\.db") as caught:
        store.put_answers({f"b{i}": {"v": "x" * 1000} for i in range(1_000)})
    assert "df -h" in caught.value.fix
    assert store.get_answers(["a", "b1"]) == {"a": {"v": 1}}


def mounted(folder: Path, options: str) -> bool:
    """A tiny file system of its own, where this user may mount one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "luthier-test", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted(folder, "size=512k"):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    with Store.open(small_disk) as store:
        store.put_answers({"a": {"v": 1}})
        with pytest.raises(DiskFullError):
            for i in range(100):
                store.put_answers({f"b{i}-{j}": {"v": "x" * 1000} for j in range(50)})
        assert store.get_answers(["a"]) == {"a": {"v": 1}}
        with pytest.raises(DiskFullError), new_folder(store.artefact_path("index", "k")) as folder:
            from luthier.store import write_text_atomic

            write_text_atomic(folder / "x", "x" * 600_000)
        assert not store.artefact_path("index", "k").exists()
    with pytest.raises(DiskFullError):
        (small_disk / "new").mkdir()
        (small_disk / "rest").write_bytes(b"")
        with (small_disk / "rest").open("ab", buffering=0) as rest:
            try:
                while rest.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        Store.open(small_disk / "new")


def test_a_read_only_folder_is_said(small_disk: Path) -> None:
    with Store.open(small_disk) as store:
        store.put_answers({"a": {"v": 1}})
    (small_disk / "new").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="Read-only file system"):
        Store.open(small_disk / "new")
    with pytest.raises(StoreError, match="cannot be opened for writing") as caught:
        Store.open(small_disk)
    assert type(caught.value) is StoreError


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / ".luthier").write_text("")
    with pytest.raises(StoreError, match=r"\.luthier cannot be read or written"):
        Store.open(tmp_path)
