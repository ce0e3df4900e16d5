"""Damaged files of every format and form, through everything that reads data; each must end in findings or an error.

    python benchmarks/fuzz.py [--files 2000] [--seed 0] [--workers 2] [--keep FOLDER]

Each file is written from rows of one form (chat, pairs, Alpaca, ShareGPT, preference) in one format (JSON Lines, JSON,
CSV, TSV, Parquet, a saved dataset, a folder of shards), damaged once to three times, and then given to `check`, to
`check --fix` and, as traffic, to the reader of inputs. A file fails when one of them raises anything but a
`LuthierError`, or when the rows used and the rows reported are not all rows there are. Those are counted without
Luthier: non-blank lines of JSON Lines, items that `json` reads, records that pandas reads, rows that pyarrow reads. In
a table that pandas and a strict `csv` do not read alike, every line has to lie in a row that is used or reported.
"""

from __future__ import annotations

import argparse
import copy
import csv
import datetime
import io
import json
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FORMS = ("chat", "pairs", "alpaca", "sharegpt", "preference")
FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "saved", "shards")
WORDS = "amber birch, café; “quoted” naïve\n日本語 ride 42 it's 😀 \\n C:\\new <b>bold</b> Łódź مرحبا".split(" ")
FORM_CODES = frozenset(
    "unusable-row bad-json bad-encoding long-line wrong-role turn-order empty mixed-forms tool-use wrong-keys"
    " table-cells table-quotes wrong-value preference-prompt no-group".split()
)


@dataclass(frozen=True)
class Outcome:
    """What became of a file: how it was made, `findings`, `refused` or `failed`, its rows, and why it failed."""

    number: int
    recipe: str
    ended: str
    rows: int
    counted: str
    why: str = ""


# --- rows and files --------------------------------------------------------------------------------------------------


def text(rng: random.Random) -> str:
    """A few words, some with what breaks formats."""
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 8))) + f" {rng.randrange(10**6)}"


def row_of(form: str, rng: random.Random) -> Row:
    """A row of a form."""
    ask, answer = text(rng), text(rng)
    if form == "chat":
        return {"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]}
    if form == "sharegpt":
        return {"conversations": [{"from": "human", "value": ask}, {"from": "gpt", "value": answer}]}
    if form == "alpaca":
        return {"instruction": ask, "input": rng.choice(["", text(rng)]), "output": answer}
    if form == "preference":
        return {"prompt": ask, "chosen": answer, "rejected": text(rng)}
    return {"prompt": ask, "completion": answer, "id": rng.randrange(1000)}


def write(rows: Sequence[Row], kind: str, folder: Path, rng: random.Random) -> tuple[Path, list[Path]]:
    """Write rows in a format; gives what a task names, and the files that may be damaged."""
    if kind in ("parquet", "saved"):
        return _write_arrow(rows, kind, folder)
    if kind == "shards":
        (folder / "set").mkdir()
        parts = [folder / "set" / f"train-0000{n}-of-00002.jsonl" for n in range(min(2, len(rows)))]
        for number, part in enumerate(parts):
            part.write_bytes(_json_lines(rows[number :: len(parts)]))
        return folder / "set", parts
    file = folder / f"examples.{kind}"
    if kind == "jsonl":
        file.write_bytes(_json_lines(rows))
    elif kind == "json":
        value: Any = rng.choice([rows, {"version": 1, "data": rows}])
        file.write_bytes(json.dumps(value, indent=rng.choice([None, 1])).encode())
    else:
        buffer = io.StringIO(newline="")
        names = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
        quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        writer = csv.writer(buffer, delimiter="\t" if kind == "tsv" else ",", quoting=quoting)
        if rng.random() < 0.03:
            names = [names[0] if names else "x", *names]
        writer.writerow(names)
        writer.writerows([row.get(name) for name in names] for row in rows if isinstance(row, dict))
        file.write_bytes(buffer.getvalue().encode("utf-8", "surrogatepass"))
    return file, [file]


def _json_lines(rows: Sequence[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def _write_arrow(rows: Sequence[Row], kind: str, folder: Path) -> tuple[Path, list[Path]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    columns = {name: _column([row.get(name) for row in rows if isinstance(row, dict)]) for name in names}
    table = pa.table(columns)
    if kind == "parquet":
        try:
            pq.write_table(table, folder / "examples.parquet")
        except pa.ArrowNotImplementedError:  # a type that Parquet has no word for
            lines = [json.dumps(row, default=str) for row in rows]
            pq.write_table(pa.table({"text": lines}), folder / "examples.parquet")
        return folder / "examples.parquet", [folder / "examples.parquet"]
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()

    try:
        Dataset(table).save_to_disk(str(folder / "set"))
    except RecursionError:  # nested deeper than datasets can write
        Dataset(pa.table({"text": [str(row) for row in rows]})).save_to_disk(str(folder / "set"))
    return folder / "set", sorted(path for path in (folder / "set").iterdir() if path.is_file())


def _column(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return pa.array([json.dumps(value, default=str) for value in values])


# --- damages to rows -------------------------------------------------------------------------------------------------

DEEP: Any = "x"
for _ in range(60):
    DEEP = [DEEP]
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 1e308, float("nan"), float("inf"), "", " ", "\0", "\ud800", "﻿", "\u202e", [], {}, DEEP,
    ["a", 1], {"role": "user"}, [{"role": "user", "content": "u"}], [None], [[]], "x" * 70_000, "null", "nan", "=1+1",
)  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) inside a row."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in _places(value[key])]


def other_value(rows: list[Any], rng: random.Random) -> None:
    holder, key = rng.choice(_places(rng.choice(rows)) or [(rows, 0)])
    holder[key] = copy.deepcopy(rng.choice(VALUES))  # damaged further, it must not damage the next file


def other_column(rows: list[Any], rng: random.Random) -> None:
    """A column in which every value has another type."""
    key = rng.choice(list(rows[0])) if isinstance(rows[0], dict) and rows[0] else "x"
    now = datetime.datetime(2020, 1, 1)
    makers: tuple[Callable[[int], Any], ...] = (
        lambda n: n, lambda n: n / 3, str, lambda n: [n], lambda n: n % 2 == 0, lambda n: None, lambda n: {"a": n},
        lambda n: b"\xff" * n, lambda n: now, lambda n: now.date(), Decimal,
    )  # fmt: skip
    make = rng.choice(makers)
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            value = make(number)
            row[key] = value


def without_key(rows: list[Any], rng: random.Random) -> None:
    holder, key = rng.choice(_places(rng.choice(rows)) or [(rows, 0)])
    if isinstance(holder, dict):
        del holder[key]


def renamed_key(rows: list[Any], rng: random.Random) -> None:
    name = rng.choice(["complation", "Prompt", "", "rolle", "content", "messages", "answers", "label", "paragraphs"])
    everywhere = rng.random() < 0.5
    key = None
    for row in rows if everywhere else [rng.choice(rows)]:
        if isinstance(row, dict) and row:
            key = key if key in row else rng.choice(list(row))
            row[name] = row.pop(key)


def other_row(rows: list[Any], rng: random.Random) -> None:
    rows[rng.randrange(len(rows))] = rng.choice([[], "text", 7, None, {}, row_of(rng.choice(FORMS), rng)])


ROW_DAMAGES = (other_value, other_value, other_column, without_key, renamed_key, other_row)


# --- damages to bytes ------------------------------------------------------------------------------------------------


def _flip(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 3, 20])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _cut(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: rng.randrange(len(data))])


def _remove(data: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 1, 5, 100])]
    return bytes(data)


def _repeat(data: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return bytes(data[:at] + data[at : at + rng.choice([1, 10, 500])] * 2 + data[at:])


def _insert(data: bytearray, rng: random.Random) -> bytes:
    pieces = (
        b"\0", b"\0" * 50, b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"', b'""', b",", b"\n", b"\r", b"\r\n\r\n",
        b"{", b"}", b"[", b"]", b"\\", b"\\u", b"\x1a", b"\x85", b"\xe2\x80\xa8", b"9" * 400, b"[" * 2000, b"NaN",
        b"\x0b\x0c",
    )  # fmt: skip
    for _ in range(rng.choice([1, 1, 4])):
        at = rng.randrange(len(data) + 1)
        data[at:at] = rng.choice(pieces)
    return bytes(data)


def _encode(data: bytearray, rng: random.Random) -> bytes:
    encoding = rng.choice(["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-8-sig", "shift-jis"])
    return bytes(data).decode("utf-8", "replace").encode(encoding, "replace")


def _lines(data: bytearray, rng: random.Random) -> bytes:
    """Other line ends, everywhere or here and there; lines in another order, twice, or gone."""
    lines = bytes(data).split(b"\n")
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice([b"\r", b"\r\n", b"\n\n", b"\n\r", b"\x0b"]).join(lines)
    if kind == 1:
        return b"".join(line + rng.choice([b"\n", b"\r\n", b"\r", b"\n  \n"]) for line in lines)
    if kind == 2:
        rng.shuffle(lines)
    elif kind == 3:
        del lines[rng.randrange(len(lines))]
    else:
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"\n".join(lines)


BYTE_DAMAGES = (_flip, _flip, _cut, _remove, _repeat, _insert, _insert, _encode, _lines)


def make(number: int, seed: int, folder: Path) -> tuple[Path, str]:
    """Write the file with this number; gives what a task names, and how it was made."""
    rng = random.Random(f"{seed}/{number}")
    kind = FORMATS[number % len(FORMATS)]
    form = rng.choice(FORMS if kind not in ("csv", "tsv") else ("pairs", "alpaca", "preference"))
    rows: list[Any] = [row_of(form, rng) for _ in range(rng.choice([1, 3, 30]))]
    recipe = [kind, form]
    damages = rng.randint(1, 3)
    of_rows = sum(rng.random() < 0.4 for _ in range(damages))
    for damage in rng.choices(ROW_DAMAGES, k=of_rows):
        damage(rows, rng)
        recipe.append(damage.__name__)
    if kind in ("jsonl", "json", "shards"):
        rows = json.loads(json.dumps(rows, default=str))
    named, files = write(rows, kind, folder, rng)
    for damage in rng.choices(BYTE_DAMAGES, k=damages - of_rows):
        file = rng.choice(files)
        data = bytearray(file.read_bytes())
        if data:
            file.write_bytes(damage(data, rng))
            recipe.append(damage.__name__.strip("_"))
    return named, " ".join(recipe)


# --- counting without Luthier ----------------------------------------------------------------------------------------


def count(named: Path, kind: str, total: int, places: Sequence[int]) -> tuple[str, int | None]:
    """How rows were counted, and how many there are; None where only places can be looked at.

    Raises:
        AssertionError: a line lies in no row.
    """
    if kind == "saved":
        return "pyarrow", sum(_arrow_rows(file) for file in _arrow_files(named))
    if kind == "parquet" and named.read_bytes()[:4] == b"PAR1":
        import pyarrow.parquet as pq

        return "pyarrow", pq.read_table(named).num_rows
    if kind == "shards":
        return "lines", sum(_filled(file) for file in sorted(named.iterdir()))
    data = named.read_bytes()
    if kind in ("jsonl", "json"):
        return _count_json(data, total)
    return _count_table(data, kind, total, places)


def _count_json(data: bytes, total: int) -> tuple[str, int]:
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return "lines", len([line for line in _split(data) if line.strip()])
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    return "json", sum(map(_rows_in, value)) if isinstance(value, list) else 1


def _rows_in(item: Any) -> int:
    """Rows of an item; an article in SQuAD's nesting has one a question."""
    if not isinstance(item, dict) or not isinstance(item.get("paragraphs"), list):
        return 1
    return sum(
        len(p["qas"]) if isinstance(p, dict) and isinstance(p.get("qas"), list) else 1 for p in item["paragraphs"]
    )


def _count_table(data: bytes, kind: str, total: int, places: Sequence[int]) -> tuple[str, int | None]:
    import pandas as pd

    decoded = data.decode("utf-8-sig", "surrogateescape")
    first = next(line for line in re.split(r"\r\n|\n|\r", decoded) if line.strip())
    delimiter = max(",\t;", key=first.count)
    try:
        strict = [cells for cells in csv.reader(io.StringIO(decoded, newline=""), delimiter=delimiter, strict=True)]
        frame = pd.read_csv(
            io.BytesIO(data), sep=delimiter, header=None, names=range(80), dtype=str, keep_default_na=False,
            encoding_errors="replace", skip_blank_lines=True,
        )  # fmt: skip
    except (csv.Error, ValueError):  # pandas' own errors are ValueErrors
        strict = []
    filled = [cells for cells in strict if cells and (len(cells) > 1 or cells[0].strip(" \r\n") or kind == "tsv")]
    if filled and len(filled) == len(frame) and total == len(filled) - 1:
        return "pandas", len(filled) - 1
    _look_at_places(decoded, delimiter, places)
    return "places", None


def _look_at_places(decoded: str, delimiter: str, places: Sequence[int]) -> None:
    """From the start of a used or reported row to the next one there must be one record, whatever its quotes."""
    lines = decoded.split("\n")
    starts = sorted({*places})
    header = next(index for index, line in enumerate(lines, 1) if line.strip())
    assert not starts or starts[0] > header or "\r" in decoded, "a row before the header"
    for start, after in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        block = [line for line in lines[start - 1 : after - 1] if line.strip()]
        quotes = "\n".join(block).count('"')
        assert len(block) <= 1 or quotes, (
            f"lines {start} to {after - 1} are {len(block)} rows, and one is accounted for"
        )


def _split(data: bytes) -> list[str]:
    return data.decode("utf-8-sig", "replace").split("\n")


def _filled(file: Path) -> int:
    if file.suffix != ".jsonl":
        return 0
    data = file.read_bytes()
    return _count_json(data, 0)[1] if data.strip()[:1] == b"[" else len([x for x in _split(data) if x.strip()])


def _arrow_files(folder: Path) -> list[Path]:
    state = json.loads((folder / "state.json").read_text())
    return [folder / entry["filename"] for entry in state["_data_files"]]


def _arrow_rows(file: Path) -> int:
    import pyarrow as pa

    with pa.ipc.open_stream(str(file)) as reader:
        return sum(batch.num_rows for batch in reader)


# --- running ---------------------------------------------------------------------------------------------------------


def examine(number: int, seed: int, keep: str | None = None) -> Outcome:
    """Make a file and give it to everything that reads data."""
    from luthier.errors import LuthierError

    folder = Path(tempfile.mkdtemp())
    recipe, rows, counted, ended, why = "?", 0, "", "findings", ""
    try:
        named, recipe = make(number, seed, folder)
        before = _content(named)
        try:
            rows, counted = _through_everything(named, recipe.split()[0], folder)
        except LuthierError as error:
            assert error.fix and str(error), "an error without a fix"
            ended, counted, why = "refused", error.code, error.what
        assert _content(named) == before, "the source was changed"
    except Exception:  # the whole point: whatever else is raised is what the run is looking for
        ended, why = "failed", traceback.format_exc()
        if keep:
            shutil.copytree(folder, Path(keep) / str(number), dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return Outcome(number, recipe, ended, rows, counted, why)


def _content(named: Path) -> dict[str, bytes]:
    files = [named] if named.is_file() else [path for path in named.rglob("*") if path.is_file()]
    return {str(file): file.read_bytes() for file in files}


def _through_everything(named: Path, kind: str, folder: Path) -> tuple[int, str]:
    from luthier.api import Project
    from luthier.data import read_inputs, scan_examples
    from luthier.errors import LuthierError

    task = {"task": "fuzz", "goal": "g", "examples": named.name, "score": {"kind": "exact"}, "base": "smollm2-135m"}
    (folder / "luthier.yaml").write_text(json.dumps(task), "utf-8")
    try:
        read_inputs(named)
    except LuthierError as error:
        assert error.fix, "an error without a fix"
    reading = scan_examples(named)
    places = [e.source.line for e in reading.examples] + [p.line or 0 for p in reading.problems]
    total = len(reading.examples) + len(reading.problems)
    counted, wanted = count(named, kind, total, places)
    assert wanted in (None, total), (
        f"{wanted} rows by {counted}, {len(reading.examples)} used, {len(reading.problems)} told"
    )
    assert all(problem.code in FORM_CODES for problem in reading.problems), "a problem of no kind"
    checked = Project(folder).check()
    told = sum(f.count for f in checked.findings if f.code in FORM_CODES)
    assert checked.rows + told == total, f"check: {checked.rows} rows and {told} told of {total}"
    try:
        fixed = Project(folder).fix()
    except LuthierError as error:
        assert error.fix, "an error without a fix"
    else:
        assert fixed.kept + fixed.dropped == total, f"fix: {fixed.kept} kept and {fixed.dropped} dropped of {total}"
        assert len(scan_examples(fixed.file).examples) == fixed.kept, "the corrected copy is not read back"
    return total, counted


def run(numbers: Sequence[int], seed: int, keep: str | None = None) -> list[Outcome]:
    """Examine several files."""
    return [examine(number, seed, keep) for number in numbers]


def run_all(files: int, seed: int, workers: int, keep: str | None) -> list[Outcome]:
    """Examine all files, in processes of their own: a file that ends one is a failure too."""
    found: list[Outcome] = []
    parts = [range(start, min(start + 25, files)) for start in range(0, files, 25)]
    while parts:
        with ProcessPoolExecutor(workers) as pool:
            waiting = [(part, pool.submit(run, part, seed, keep)) for part in parts]
            parts = []
            for part, future in waiting:
                try:
                    found += future.result()
                except BrokenProcessPool:
                    if len(part) == 1:
                        found.append(Outcome(part[0], "?", "failed", 0, "", "the process ended"))
                    else:
                        parts += [range(number, number + 1) for number in part]
        if parts:
            workers = 1  # so that only the file at fault is blamed
            parts = parts[:1] if len(parts) == 1 else parts
    return sorted(found, key=lambda outcome: outcome.number)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", help="a folder for files that fail")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    found = run_all(options.files, options.seed, options.workers, options.keep)
    ended = Counter((outcome.recipe.split()[0], outcome.ended) for outcome in found)
    print(f"{'format':10}{'files':>7}{'findings':>10}{'refused':>9}{'failed':>8}")
    for kind in sorted({kind for kind, _ in ended}):
        counts = [ended[kind, end] for end in ("findings", "refused", "failed")]
        print(f"{kind:10}{sum(counts):7}{counts[0]:10}{counts[1]:9}{counts[2]:8}")
    counted = Counter(outcome.counted for outcome in found if outcome.ended == "findings")
    print(f"{sum(o.rows for o in found):,} rows, counted by {dict(counted)}; {time.monotonic() - start:.0f} s")
    failed = [outcome for outcome in found if outcome.ended == "failed"]
    for outcome in failed[:20]:
        print(f"--- {outcome.number}: {outcome.recipe}\n{outcome.why}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
