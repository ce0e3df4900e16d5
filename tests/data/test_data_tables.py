"""Tables with broken quotes and shifted cells: the rows at fault are named, the others are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.data import Reading, scan_examples
from luthier.errors import DataError


def scan(tmp_path: Path, text: str | bytes, name: str = "d.csv") -> Reading:
    file = tmp_path / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return scan_examples(file)


def told(reading: Reading) -> list[tuple[int | None, str]]:
    return [(p.line, p.code) for p in reading.problems]


def used(reading: Reading) -> list[tuple[str, str]]:
    return [(e.input_text, e.output) for e in reading.examples]


def test_cells_that_are_shifted(tmp_path: Path) -> None:
    found = scan(tmp_path, "prompt,completion\na,b\nc, d,e\nf\ng,h\n")
    assert told(found) == [(3, "table-cells"), (4, "table-cells")]
    assert used(found) == [("a", "b"), ("g", "h")]


@pytest.mark.parametrize("damaged", ['"he said "no" twice",x', '"a"b,c', '"open,c'])
def test_rows_after_broken_quotes_are_read(tmp_path: Path, damaged: str) -> None:
    rows = [f"q{n},a{n}" for n in range(8)]
    found = scan(tmp_path, "\n".join(["prompt,completion", *rows[:3], damaged, *rows[3:]]) + "\n")
    assert told(found) == [(5, "table-quotes")]
    assert used(found) == [tuple(row.split(",")) for row in rows]


def test_a_stray_quote_does_not_take_in_the_rows_below(tmp_path: Path) -> None:
    """The quote closes by chance three rows further down, so that the table is well formed."""
    text = 'prompt,completion,n\n"open,a,1\nb,c,2\nd,e,3\nf,24",4\ng,h,5\n'
    found = scan(tmp_path, text)
    assert told(found) == [(2, "table-quotes")]
    assert used(found) == [("b", "c"), ("d", "e"), ("f", '24"'), ("g", "h")]


def test_cells_over_several_lines_stay_whole(tmp_path: Path) -> None:
    poem = "Roses, red\nViolets, blue\n\nSugar is sweet"
    found = scan(tmp_path, f'prompt,completion\n"write, please\na poem","{poem}"\nx,y\n')
    assert not found.problems
    assert used(found) == [("write, please\na poem", poem), ("x", "y")]


def test_a_quote_inside_a_long_cell_leaves_open_where_rows_begin(tmp_path: Path) -> None:
    """Lines of the cell must not become rows."""
    text = 'prompt,completion\n"She said "hello\nthere, friend\nand more", x\na,b\n'
    found = scan(tmp_path, text)
    assert told(found) == [(2, "table-quotes")] and used(found) == [("a", "b")]
    prose = "\n".join(f"line {n} of a long text" for n in range(30))
    with pytest.raises(DataError, match="not a table"):
        scan(tmp_path, f'prompt,completion\n"open {prose}\n')


def test_bytes_of_another_encoding_concern_their_row_only(tmp_path: Path) -> None:
    found = scan(tmp_path, b'prompt,completion\na,b\ncaf\xe9,c\n"two\nlin\xe9s",d\ne,f\0\ng,h\n')
    assert told(found) == [(3, "bad-encoding"), (4, "bad-encoding"), (6, "bad-encoding")]
    assert used(found) == [("a", "b"), ("g", "h")]


def test_carriage_returns_here_and_there_end_rows(tmp_path: Path) -> None:
    found = scan(tmp_path, "prompt,completion\ra,b\rc,d\r\ne,f\n")
    assert used(found) == [("a", "b"), ("c", "d"), ("e", "f")] and not found.problems


def test_a_broken_first_line_does_not_hide_the_others(tmp_path: Path) -> None:
    good = '{"prompt": "p", "completion": "c"}\n'
    for name in ("d.jsonl", "d.json", "d.txt"):
        found = scan(tmp_path, '{"prompt": "p", "compl\n' + good * 3, name)
        assert told(found) == [(1, "bad-json")] and len(found.examples) == 3
    found = scan(tmp_path, '# made by hand\n{"prompt": "p", "completion": "c"}\n', "d.jsonl")
    assert told(found) == [(1, "bad-json")] and len(found.examples) == 1


def test_one_item_that_is_no_row_does_not_hide_the_others(tmp_path: Path) -> None:
    rows = '{"version": 1, "data": [{"prompt": "p", "completion": "c"}, 7, {"prompt": "q", "completion": "d"}]}'
    found = scan(tmp_path, rows, "d.json")
    assert len(found.examples) == 2 and told(found) == [(2, "bad-json")]
