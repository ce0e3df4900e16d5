"""Every common form and format is read; every row that cannot be used is named by file and line."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data import Example, read_examples, read_inputs, scan_examples
from luthier.errors import DataError

WANTED = [("a?", "A"), ("b?", "B")]


def write_lines(path: Path, rows: list[Any], end: str = "\n") -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + end for row in rows)
    path.write_bytes(text.encode())
    return path


def pairs(examples: list[Example]) -> list[tuple[str, str]]:
    return [(e.input_text, e.output) for e in examples]


def roles(example: Example) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in example.messages]


def problems(path: Path, **options: str) -> list[tuple[int | None, str]]:
    """(line, what) of every problem; the file as a whole must not be usable."""
    with pytest.raises(DataError) as caught:
        read_examples(path, **options)
    assert caught.value.fix
    return [(p.line, p.what) for p in caught.value.problems]


def one(tmp_path: Path, row: Any) -> Example:
    (example,) = read_examples(write_lines(tmp_path / "one.jsonl", [row]))
    return example


def refused(tmp_path: Path, row: Any) -> str:
    """Why a row is refused that stands below a good one of the same form."""
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    good = {"messages": turns} if "messages" in row else {"prompt": "x", "completion": "y"}
    found = scan_examples(write_lines(tmp_path / "two.jsonl", [good, row]))
    assert (len(found.examples), [p.line for p in found.problems]) == (1, [2])
    return found.problems[0].what


# --- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["prompt", "input", "question", "instruction", "text", "utterance"])
@pytest.mark.parametrize("answer", ["completion", "output", "response", "answer", "label", "target"])
def test_pairs_by_their_usual_names(tmp_path: Path, key: str, answer: str) -> None:
    file = write_lines(tmp_path / "d.jsonl", [{key: i, answer: o, "other": 1} for i, o in WANTED])
    assert pairs(read_examples(file)) == WANTED


def test_chat_messages_keep_all_turns_and_take_the_last_answer(tmp_path: Path) -> None:
    example = one(
        tmp_path,
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "u1"},
                {"role": "assistant", "content": "a1"},
                {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "text", "text": "2"}]},
                {"role": "assistant", "content": "a2", "tool_calls": None},
            ]
        },
    )
    assert roles(example) == [("system", "s"), ("user", "u1"), ("assistant", "a1"), ("user", "u2")]
    assert (example.output, example.input_text) == ("a2", "u1\na1\nu2")


def test_alpaca(tmp_path: Path) -> None:
    row = {"instruction": "Translate.", "input": "chat", "output": "cat", "system": "s", "text": "### rendered"}
    assert roles(one(tmp_path, row)) == [("system", "s"), ("user", "Translate.\n\nchat")]
    assert roles(one(tmp_path, row | {"input": ""})) == [("system", "s"), ("user", "Translate.")]


def test_sharegpt(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
    example = one(tmp_path, {"conversations": turns})
    assert (roles(example), example.output) == ([("system", "s"), ("user", "u")], "a")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "chosen": "good", "rejected": "bad"},
        {
            "prompt": [{"role": "user", "content": "p"}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        },
        {
            "prompt": "p",
            "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "good"}],
            "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "bad"}],
        },
        {
            "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "good"}],
            "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "bad"}],
        },
    ],
)
def test_preference_pairs(tmp_path: Path, row: dict[str, Any]) -> None:
    example = one(tmp_path, row)
    assert (roles(example), example.output, example.rejected) == ([("user", "p")], "good", "bad")


def test_context_stands_before_the_question_and_makes_the_group(tmp_path: Path) -> None:
    rows = [{"context": "Long text.", "question": f"q{i}", "answers": {"text": ["a", "b"]}} for i in range(2)]
    first, second = read_examples(write_lines(tmp_path / "d.jsonl", rows))
    assert (first.input_text, first.output) == ("Long text.\n\nq0", "a")
    assert first.group is not None and first.group == second.group


def test_a_named_group_wins_over_the_context(tmp_path: Path) -> None:
    rows = [{"context": "c", "question": "q", "answer": "a", "customer": 7}]
    assert read_examples(write_lines(tmp_path / "d.jsonl", rows), group="customer")[0].group == "7"


def test_other_columns_are_never_guessed_to_be_groups(tmp_path: Path) -> None:
    row = {"prompt": "p", "completion": "c", "document": "d1", "page": "p1"}
    assert one(tmp_path, row).group is None


def test_outputs_that_are_no_text_become_text(tmp_path: Path) -> None:
    for value, text in ((1, "1"), (2.5, "2.5"), (True, "true")):
        assert one(tmp_path, {"prompt": "p", "label": value}).output == text
    assert one(tmp_path, {"prompt": "p", "output": {"b": "ü", "a": [1, None]}}).output == '{"b": "ü", "a": [1, null]}'


def test_messages_as_prompt_and_completion(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}]}
    assert (roles(one(tmp_path, row)), one(tmp_path, row).output) == ([("user", "u")], "a")


# --- formats ---------------------------------------------------------------------------------------------------------


def rows_of_pairs() -> list[dict[str, str]]:
    return [{"prompt": i, "completion": o} for i, o in WANTED]


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.txt", "d"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n  \n"])
def test_json_lines_by_content(tmp_path: Path, name: str, end: str) -> None:
    assert pairs(read_examples(write_lines(tmp_path / name, list(rows_of_pairs()), end))) == WANTED


@pytest.mark.parametrize(
    ("name", "wrap"), [("d.jsonl", None), ("d.json", None), ("d.json", "data"), ("d.data", "examples"), ("d", None)]
)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_documents_by_content(tmp_path: Path, name: str, indent: int | None, wrap: str | None) -> None:
    value: Any = rows_of_pairs() if wrap is None else {"version": 1, wrap: rows_of_pairs()}
    (tmp_path / name).write_text(json.dumps(value, indent=indent))
    assert pairs(read_examples(tmp_path / name)) == WANTED


def test_rows_of_a_json_document_keep_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    rows = '{"prompt": "a?",\n  "completion": "A"},\n {"prompt": "b?", "completion": ""},\n\n {"prompt": NaN}'
    file.write_text(f"[\n {rows}]")
    found = scan_examples(file)
    assert [e.source.line for e in found.examples] == [2]
    assert [(p.line, p.what.split(";")[0]) for p in found.problems] == [
        (4, "the wanted output is empty"),
        (6, "NaN is not JSON"),
    ]


def test_a_document_on_one_line_counts_rows(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('[{"prompt": "a?", "completion": "A"}, {"prompt": "b?", "completion": 1e999}]')
    assert problems(tmp_path / "d.json") == [(2, "the number 1e999 is too large")]


def test_squads_nesting(tmp_path: Path) -> None:
    qas = [{"id": str(i), "question": f"q{i}", "answers": [{"text": f"a{i}", "answer_start": 0}]} for i in range(3)]
    paragraphs = [{"context": "c0", "qas": qas[:2]}, {"context": "c1", "qas": qas[2:]}]
    value = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
    (tmp_path / "squad.json").write_text(json.dumps(value, indent=1))
    examples = read_examples(tmp_path / "squad.json")
    assert pairs(examples) == [("c0\n\nq0", "a0"), ("c0\n\nq1", "a1"), ("c1\n\nq2", "a2")]
    assert len({e.group for e in examples}) == 2
    lines = (tmp_path / "squad.json").read_text().splitlines()
    assert all('"id"' in lines[e.source.line] for e in examples)
    assert {e.group for e in read_examples(tmp_path / "squad.json", group="title")} == {"t"}


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.txt"])
def test_tables_by_content(tmp_path: Path, name: str, delimiter: str) -> None:
    text = f"\ufeffprompt{delimiter}completion\r\na?{delimiter}A\r\n\r\nb?{delimiter}B\r\n"
    (tmp_path / name).write_bytes(text.encode())
    assert pairs(read_examples(tmp_path / name)) == WANTED


def test_rows_of_a_table_that_span_lines_keep_the_line_they_begin_on(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_bytes(b'\nprompt,completion\n"a\nb\r\nc",A\n\n"x ""y""",B\nz,"C\n"\nq,\n')
    found = scan_examples(file)
    assert [(e.source.line, e.input_text) for e in found.examples] == [(3, "a\nb\r\nc"), (7, 'x "y"'), (8, "z")]
    assert [p.line for p in found.problems] == [10]


def test_a_row_with_another_number_of_cells(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("prompt,completion\na,A\nhello, world,B\n")
    assert problems(tmp_path / "d.csv") == [(3, "3 cells, and the header has 2; quote cells with `,` in them")]


def test_quotes_that_do_not_fit_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('prompt,completion\na,A\n"b,B\nc,C\n')
    ((line, what),) = problems(tmp_path / "d.csv")
    assert line == 3 and "unexpected end of data" in what


def test_a_cell_that_is_too_long_for_a_table(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(f"prompt,completion\na,A\n{'x' * 200_000},B\n")
    with pytest.raises(DataError) as caught:
        read_examples(tmp_path / "d.csv")
    assert caught.value.problems[0].line == 3 and "JSON Lines" in caught.value.fix


@pytest.mark.parametrize("header", ["prompt,prompt", "prompt,", ","])
def test_a_header_without_names(tmp_path: Path, header: str) -> None:
    (tmp_path / "d.csv").write_text(f"{header}\na,A\n")
    assert problems(tmp_path / "d.csv")[0][0] == 1


def test_parquet_with_class_labels(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["A", "B"])})
    dataset = datasets.Dataset.from_dict({"text": ["a?", "b?"], "label": [0, 1]}, features=features)
    dataset.to_parquet(str(tmp_path / "d.parquet"))
    assert pairs(read_examples(tmp_path / "d.parquet")) == WANTED
    dataset.save_to_disk(str(tmp_path / "saved"))
    assert pairs(read_examples(tmp_path / "saved")) == WANTED
    datasets.DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "one-split"))
    assert pairs(read_examples(tmp_path / "one-split")) == WANTED
    datasets.DatasetDict({"train": dataset, "test": dataset}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(DataError, match="several splits: test, train"):
        read_examples(tmp_path / "both")
    assert pairs(read_examples(tmp_path / "both" / "train")) == WANTED


def test_parquet_messages_with_absent_fields(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    turns = [{"role": role, "content": role[0], "tool_calls": None} for role in ("user", "assistant")]
    parquet.write_table(arrow.table({"messages": [turns], "prompt": ["x"]}), tmp_path / "d.bin")
    assert pairs(read_examples(tmp_path / "d.bin")) == [("u", "a")]


def test_damaged_parquet(tmp_path: Path) -> None:
    (tmp_path / "d.parquet").write_bytes(b"PAR1" + b"\1" * 100)
    with pytest.raises(DataError, match="damaged Parquet"):
        read_examples(tmp_path / "d.parquet")


def test_a_hub_folder_reads_all_shards_of_its_one_split(tmp_path: Path) -> None:
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    for i, row in enumerate(rows_of_pairs()):
        write_lines(data / f"train-0000{i}-of-00002.jsonl", [row])
    (tmp_path / "set" / "README.md").write_text("card")
    examples = read_examples(tmp_path / "set")
    assert pairs(examples) == WANTED
    assert examples[1].source.file.endswith("train-00001-of-00002.jsonl")
    write_lines(data / "test-00000-of-00001.jsonl", [rows_of_pairs()[0]])
    with pytest.raises(DataError, match="several splits"):
        read_examples(tmp_path / "set")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no examples"):
        read_examples(tmp_path)


# --- what is refused -------------------------------------------------------------------------------------------------

U, A = {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p", "completion": ""}, "the wanted output is empty"),
        ({"prompt": "p", "completion": " \n"}, "the wanted output is empty"),
        ({"prompt": " ", "completion": "c"}, "the input is empty"),
        ({"prompt": "p", "completion": None}, "`completion` is null"),
        ({"prompt": "p", "completion": "\ud800"}, "half a surrogate pair"),
        ({"prompt": "p\0", "completion": "c"}, "NUL"),
        ({"prompt": "p", "completion": "c", "label": "l"}, "`completion` and `label` could both be the wanted output"),
        ({"prompt": "p", "question": "q", "completion": "c"}, "`prompt` and `question` could both be the input"),
        ({"prompt": "p", "note": "n"}, "no key for the wanted output: looked for completion, output, resp"),
        ({"a": 1}, "no key for the input: looked for messages, conversations, prompt"),
        ({"prompt": "p", "complation": "c"}, "`complation`; did you mean `completion`?"),
        ({"question": "p", "answer": "c"}, "the row has question + answer, and most rows of the file have prompt"),
        ({"messages": [U]}, "does not end with an assistant's message"),
        ({"messages": [A]}, "no message of the user"),
        ({"messages": [U, {"role": "system", "content": "s"}, U, A]}, "a system message stands after the first place"),
        ({"messages": []}, "does not end with an assistant's message"),
        ({"messages": "text"}, "`messages` must be a list of messages"),
        ({"messages": [U, "a"]}, "`messages[1]` must be an object"),
        ({"messages": [U, {"role": "asistant", "content": "a"}]}, "did you mean `assistant`?"),
        ({"messages": [U, {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]}, "calls a tool"),
        ({"messages": [U, {"role": "tool", "content": "x"}, A]}, "is a tool's answer"),
        ({"messages": [U, A], "tools": [{"type": "function"}]}, "tool definitions"),
        ({"messages": [U, {"role": "assistant", "text": "a"}]}, "`messages[1]` has no `content`; `text` is there"),
        ({"messages": [U, A | {"weight": 0}]}, "weight 0"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, A]}, "a part that is no text"),
        ({"messages": [{"role": "system", "content": "s"}, U, A], "system": "t"}, "different system prompts"),
    ],
)  # fmt: skip
def test_rows_that_are_refused(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    assert said in refused(tmp_path, row)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "p", "completion": "c"', "not JSON"),
        ('{"prompt": "p", "completion": NaN}', "NaN is not JSON"),
        ('{"prompt": "p", "prompt": "q", "completion": "c"}', "the key `prompt` stands twice"),
        ('{"prompt": "p", "completion": ' + "9" * 5000 + "}", "more than 300 digits"),
        ('{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ("[1, 2]", "a row must be an object like {…}, not a list"),
        ('"text"', "a row must be an object like {…}, not a text"),
        ('{"prompt": "p", "completion": "c"},', "more text after the value (column 35)"),
    ],
)
def test_lines_that_are_refused(tmp_path: Path, line: str, said: str) -> None:
    good = '{"prompt": "p", "completion": "c"}'
    ((number, what),) = problems(write_lines(tmp_path / "d.jsonl", [good, "", line, good]))
    assert number == 3 and said in what


def test_squad_without_an_answer(tmp_path: Path) -> None:
    rows = [{"question": "q", "answers": {"text": ["a"]}}, {"question": "q", "answers": {"text": []}}]
    assert "holds no text" in problems(write_lines(tmp_path / "d.jsonl", rows))[0][1]


def test_preference_sides_that_differ(tmp_path: Path) -> None:
    good = {"prompt": "p", "chosen": "g", "rejected": "b"}
    bad = {"chosen": [U, A], "rejected": [{"role": "user", "content": "other"}, A]}
    assert "different conversations" in problems(write_lines(tmp_path / "d.jsonl", [good, bad]))[0][1]


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    good = b'{"prompt": "p", "completion": "c"}\n'
    (tmp_path / "d.jsonl").write_bytes(good + b'{"prompt": "caf\xe9", "completion": "c"}\n' + good + b"\0\n" + good)
    assert [(line, what[:9]) for line, what in problems(tmp_path / "d.jsonl")] == [(2, "not UTF-8"), (4, "holds a N")]
    (tmp_path / "d.csv").write_bytes(b"prompt,completion\na,b\ncaf\xe9,c\nd,\xe9\n")
    assert [line for line, _ in problems(tmp_path / "d.csv")] == [3, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\r\n\t", "is empty"),
        (codecs.BOM_UTF8, "is empty"),
        (b"[]", "has no rows"),
        (b"prompt,completion\n", "has no rows"),
        (b"\x1f\x8b\x08abc", "gzip"),
        (b"PK\x03\x04abc", "zip or Excel"),
        ('{"prompt": "p"}'.encode("utf-16"), "UTF-16"),
        ('{"prompt": "p"}'.encode("utf-16-le"), "UTF-16"),
        (b'{"a": [{"x": 1}], "b": [{"x": 2}]}', "several lists of rows: `a`, `b`"),
        (b'[{"prompt": "p", "completion": "c"}', "is not JSON"),
        (b'[{"prompt": "p", "completion": "c"}] x', "is not JSON"),
        (b'{"prompt": ["a", "b"], "completion": ["c", "d"]}', "is written by columns: `prompt` and `completion`"),
        (b"prompt,completion\ra,b\rc,d\r", "CR only"),
        (b"\xff\xe0\xe1\n\xe9\n", "has no line that can be read as text"),
        (b"{\n" + b'"a":{' * 100_000, "nested too deeply"),
        (b"just some words\nand more\n", "has a form"),
        (b'{"prompts": "p", "answer": "a"}', "has a form"),
    ],
)
def test_files_that_are_refused_as_a_whole(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "d.json").write_bytes(content)
    (tmp_path / "d.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_examples(tmp_path / "d.txt")
    assert said in caught.value.what and caught.value.fix
    with pytest.raises(DataError):
        read_examples(tmp_path / "d.json")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_examples(tmp_path / "nowhere.jsonl")


def test_a_line_of_more_than_32_mib(tmp_path: Path) -> None:
    good = '{"prompt": "p", "completion": "c"}'
    huge = '{"prompt": "p", "completion": "' + "x" * (33 * 1024 * 1024) + '"}'
    assert problems(write_lines(tmp_path / "d.jsonl", [good, huge, good])) == [(2, "a line of more than 32 MiB")]


def test_the_first_twenty_problems_are_named_and_all_are_counted(tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": "p", "completion": "c"}] * 5 + [{"prompt": "p", "completion": ""}] * 30
    with pytest.raises(DataError) as caught:
        read_examples(write_lines(tmp_path / "d.jsonl", rows))
    assert caught.value.what.startswith("30 of 35 rows")
    assert [p.line for p in caught.value.problems] == list(range(6, 26))


def test_a_group_key_that_is_not_there(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "d.jsonl", [{"prompt": "p", "completion": "c", "customer": 1}])
    with pytest.raises(DataError, match="did you mean `customer`"):
        read_examples(file, group="custmer")
    write_lines(file, [{"prompt": "p", "completion": "c", "customer": 1}, {"prompt": "q", "completion": "c"}])
    assert problems(file, group="customer")[0][0] == 2


# --- traffic ---------------------------------------------------------------------------------------------------------


def test_traffic_needs_no_outputs_and_leaves_them_out(tmp_path: Path) -> None:
    rows: list[list[dict[str, Any]]] = [
        [{"prompt": "u"}],
        [{"prompt": "u", "completion": "a"}],
        [{"messages": [U]}],
        [{"messages": [U, A]}],
        [{"conversations": [{"from": "human", "value": "u"}]}],
    ]
    for some in rows:
        (messages,) = read_inputs(write_lines(tmp_path / "t.jsonl", list(some)))
        assert [(m.role, m.content) for m in messages] == [("user", "u")]
    (tmp_path / "t.csv").write_text("text\nu\n")
    assert [m.content for m in read_inputs(tmp_path / "t.csv")[0]] == ["u"]


def test_traffic_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_inputs(write_lines(tmp_path / "t.jsonl", [{"prompt": "u"}, {"prompt": ""}]))
    assert [p.line for p in caught.value.problems] == [2]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-03-01", "2024-03-01T00:00:00+00:00"),
        ("2024-03-01T10:30:00+02:00", "2024-03-01T10:30:00+02:00"),
        ("2024-03", "2024-03-01T00:00:00+00:00"),
        ("2024", "2024-01-01T00:00:00+00:00"),
        (1709251200, "2024-03-01T00:00:00+00:00"),
        ("1709251200000", "2024-03-01T00:00:00+00:00"),
    ],
)
def test_dates_of_rows(tmp_path: Path, written: object, meant: str) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text(json.dumps({"prompt": "q", "completion": "a", "when": written}))
    (row,) = read_examples(file, time="when")
    assert row.time is not None and row.time.isoformat() == meant


def test_a_date_that_cannot_be_told_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    dates = ["2024-03-01", "01/02/2024", None, "yesterday"]
    file.write_text("\n".join(json.dumps({"prompt": "q", "completion": "a", "when": d}) for d in dates))
    with pytest.raises(DataError) as caught:
        read_examples(file, time="when")
    assert [p.line for p in caught.value.problems] == [2, 3, 4]
    assert "2024-01-31" in caught.value.problems[0].what and "missing" in caught.value.problems[1].what
    with pytest.raises(DataError, match="has the key") as caught:
        read_examples(file, time="wen")
    assert "split.time" in caught.value.fix


def test_a_bad_value_in_a_document_of_one_line_costs_one_row(tmp_path):
    rows = [f'{{"prompt": "p{i}", "completion": "c{i}"}}' for i in range(5)]
    rows[3] = '{"prompt": "p3", "completion": "c3", "at": ' + "9" * 400 + "}"
    (tmp_path / "d.json").write_text('{"version": 1, "data": [' + ", ".join(rows) + "]}\n", "utf-8")
    reading = scan_examples(tmp_path / "d.json")
    assert [example.output for example in reading.examples] == ["c0", "c1", "c2", "c4"]
    assert [problem.what for problem in reading.problems] == ["a number with more than 300 digits"]
