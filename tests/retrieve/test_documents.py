"""Documents are read as what they say, and what cannot be read is named."""

import os
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfWriter

from luthier.errors import RetrievalError
from luthier.retrieve import read_documents, scan_documents


def pdf(*pages: str) -> bytes:
    """A PDF of text pages, written by hand: objects, a cross-reference table, a trailer."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode()


def encrypted(password: str) -> bytes:
    writer = PdfWriter(BytesIO(pdf("secret plan")))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def put(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {document.name: document.text for document in read_documents(folder)}


def test_text_files_are_read_in_order_of_their_names(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"b.txt": "two\r\nlines\r", "a/z.md": "# é", "c.txt": b"\xef\xbb\xbfbom", "B.txt": "x", "notes": "no ending"},
    )
    put(tmp_path, {"w.txt": "sixteen".encode("utf-16")})
    found = read_documents(tmp_path)
    assert [d.name for d in found] == ["B.txt", "a/z.md", "b.txt", "c.txt", "notes", "w.txt"]
    assert [d.text for d in found] == ["x", "# é", "two\nlines\n", "bom", "no ending", "sixteen"]
    assert found[1].file == tmp_path / "a" / "z.md"


def test_html_becomes_markdown_without_what_nobody_reads(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html><head><meta charset="iso-8859-1"><title>Refunds</title><style>p {color: red}</style>
    </head><body><script>alert("x")</script><!-- a secret --><h2>When</h2>
    <p>Within <b>14</b> days, caf\u00e9 snake_case *a*</p>
    <ul><li>one</li><li>two</li></ul><table><tr><th>k</th></tr><tr><td>v</td></tr></table>
    <img alt="a chart" src="data:image/png;base64,AAAA"><noscript>turn it on</noscript></body></html>"""
    put(tmp_path, {"p.html": page.encode("latin-1")})
    text = texts(tmp_path)["p.html"]
    assert text.startswith("# Refunds\n") and "## When" in text and "Within **14** days, café snake_case *a*" in text
    assert "* one" in text and "| v |" in text and "a chart" in text
    for gone in ("alert", "color", "secret", "base64", "turn it on"):
        assert gone not in text


def test_a_page_with_a_heading_keeps_it_as_the_title(tmp_path: Path) -> None:
    put(tmp_path, {"p.htm": "<title>Site</title><h1>Page</h1><p>x</p>"})
    assert texts(tmp_path)["p.htm"] == "# Page\n\nx"


def test_xhtml_is_read_without_a_warning(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"p.xhtml": '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>x</p></body></html>'},
    )
    assert texts(tmp_path)["p.xhtml"].endswith("x")


def test_html_that_looks_like_a_file_name_is_read_without_a_warning(tmp_path: Path) -> None:
    put(tmp_path, {"p.html": "file.txt", "q.html": "http://example.org/"})
    assert texts(tmp_path) == {"p.html": "file.txt", "q.html": "http://example.org/"}


def test_a_page_with_a_bad_character_reference_is_read(tmp_path: Path) -> None:
    put(tmp_path, {"p.html": "<p>a&#0;b \ufffd</p>"})
    assert texts(tmp_path)["p.html"] == "a\ufffdb \ufffd"


def test_pdf_pages_are_read(tmp_path: Path) -> None:
    put(tmp_path, {"x.PDF": pdf("The first page", "The second page"), "open.pdf": encrypted("")})
    found = texts(tmp_path)
    assert found["x.PDF"] == "The first page\n\nThe second page" and found["open.pdf"] == "secret plan"


def test_everything_that_is_broken_is_named_at_once(tmp_path: Path, capfd) -> None:
    outside = put(tmp_path / "outside", {"secret.txt": "s"})
    folder = put(
        tmp_path / "docs",
        {
            "good.txt": "fine",
            "locked.pdf": encrypted("pw"),
            "scan.pdf": pdf(""),
            "cut.pdf": pdf("text")[:200],
            "empty.pdf": b"",
            "latin.txt": "café".encode("latin-1"),
            "nul.csv": b"a\x00b",
        },
    )
    (folder / "out.txt").symlink_to(outside / "secret.txt")
    (folder / "out").symlink_to(outside)
    (folder / "gone.txt").symlink_to(folder / "missing")
    with pytest.raises(RetrievalError) as caught:
        read_documents(folder)
    reasons = {Path(str(p.file)).name: p.what for p in caught.value.problems}
    expected = {
        "locked.pdf": "encrypted",
        "scan.pdf": "without text",
        "cut.pdf": "not a PDF",
        "empty.pdf": "not a PDF",
        "latin.txt": "not UTF-8 at byte 3",
        "nul.csv": "NUL",
        "out.txt": "out of the folder",
        "out": "out of the folder",
        "gone.txt": "not there",
    }
    assert reasons.keys() == expected.keys()
    assert all(word in reasons[name] for name, word in expected.items())
    assert "9 document(s)" in caught.value.what and caught.value.fix
    assert [d.name for d in scan_documents(folder).documents] == ["good.txt"]
    assert capfd.readouterr() == ("", "")


def test_what_is_skipped_is_listed_and_hidden_files_are_not_there(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            "a.txt": "x",
            "p.png": b"\x89PNG\x00\xff",
            "b.docx": b"PK\x03\x04\x00",
            "e.txt": " \n",
            ".h.txt": "h",
            ".git/c": "c",
        },
    )
    (tmp_path / "again.txt").symlink_to(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "pipe")
    scan = scan_documents(tmp_path)
    assert [d.name for d in scan.documents] == ["a.txt"] and not scan.problems
    skipped = {Path(str(p.file)).name: p.what for p in scan.skipped}
    assert skipped.keys() == {"p.png", "b.docx", "e.txt", "again.txt", "pipe"}
    assert "binary" in skipped["b.docx"] and skipped["e.txt"] == "empty" and "its own place" in skipped["again.txt"]


def test_a_folder_with_nothing_to_read_says_what_it_skipped(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no document that can be read"):
        read_documents(tmp_path)
    put(tmp_path, {f"{i:02}.png": b"\xff\x00" for i in range(25)})
    with pytest.raises(RetrievalError) as caught:
        read_documents(tmp_path)
    assert len(caught.value.problems) == 21 and str(caught.value.problems[-1]) == "and 5 more"


@pytest.mark.parametrize("name", ["missing", "file"])
def test_the_folder_must_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RetrievalError, match="is not a folder"):
        read_documents(tmp_path / name)


def test_html_nested_beyond_reason_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    put(tmp_path, {"deep.html": "<div>" * 20_000 + "x", "a.txt": "x"})
    (problem,) = scan_documents(tmp_path).problems
    assert "nested" in problem.what
