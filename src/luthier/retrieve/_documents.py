"""Documents of a folder: plain text, Markdown, HTML, PDF."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from luthier.data import Document
from luthier.errors import Problem, RetrievalError
from luthier.retrieve._items import well_formed

HTML = frozenset({".html", ".htm", ".xhtml"})
MARKDOWN = frozenset({".md", ".markdown"}) | HTML  # HTML is turned into Markdown
TEXT = frozenset({".txt", ".text", ".rst", ".csv", ".tsv"}) | MARKDOWN  # must be readable; other types may be binary
DROPPED = ("script", "style", "template", "noscript", "svg", "iframe", "object")  # elements that nobody reads
SHOWN = 20  # problems listed in an error; the rest is counted


@dataclass(frozen=True)
class DocumentScan:
    """What stands in a documents folder: what was read, what was skipped and why, what must be repaired."""

    documents: tuple[Document, ...]
    skipped: tuple[Problem, ...]
    problems: tuple[Problem, ...]


class _Skip(Exception):
    """The file holds nothing to read."""


class _Broken(Exception):
    """The file should be readable and is not."""


def read_documents(folder: Path) -> list[Document]:
    """All documents of a folder and the folders in it, sorted by name.

    Text, Markdown, HTML (as Markdown, without scripts and styles) and PDF are known by their ending; any other file is
    read if it is UTF-8 text. Hidden files are never read. Other binary files are skipped; `scan_documents` lists them.

    Raises:
        RetrievalError: no folder, a file that cannot be read (all are named), or nothing to read.
    """
    scan = scan_documents(folder)
    if scan.problems:
        raise RetrievalError(
            f"{len(scan.problems)} document(s) in {folder} cannot be read",
            why="an index without them would miss knowledge that you believe is in it",
            fix="repair these files or move them out of the folder",
            problems=_first(scan.problems),
        )
    if not scan.documents:
        raise RetrievalError(
            f"{folder} holds no document that can be read",
            fix="put text, Markdown, HTML or PDF files into it (convert others first: pandoc FILE.docx -o FILE.md)",
            problems=_first(scan.skipped),
        )
    return list(scan.documents)


def scan_documents(folder: Path) -> DocumentScan:
    """As `read_documents`, but gives problems and skipped files beside the documents.

    Raises:
        RetrievalError: `folder` is not a folder.
    """
    if not folder.is_dir():
        raise RetrievalError(f"{folder} is not a folder of documents", fix="name a folder: documents: docs/")
    root = folder.resolve()
    documents: list[Document] = []
    skipped: list[Problem] = []
    problems: list[Problem] = []
    for path in _visible(root):
        try:
            documents.append(Document(_name(path, root), _text(path, root), path))
        except _Skip as reason:
            skipped.append(Problem(str(reason), path))
        except (_Broken, OSError) as reason:
            problems.append(Problem(str(reason), path))
    return DocumentScan(tuple(documents), tuple(skipped), tuple(problems))


def is_markdown(document: Document) -> bool:
    """Whether the text of a document is Markdown."""
    return Path(document.name).suffix.lower() in MARKDOWN


def _visible(root: Path) -> list[Path]:
    """Files, and links whatever they point at, below `root`; sorted by name; nothing hidden; no link is followed."""
    found: list[Path] = []
    for parent, folders, files in os.walk(root):
        here = Path(parent)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [here / name for name in (*files, *links) if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _name(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    if name != well_formed(name):
        raise _Broken("the file name is not UTF-8: rename it")
    return name


def _text(path: Path, root: Path) -> str:
    if path.is_symlink():
        _refuse_outside(path, root)
    if not path.is_file():
        raise _Skip("neither a file nor a folder")
    ending = path.suffix.lower()
    if ending == ".pdf":
        text = _pdf(path)
    elif ending in HTML:
        text = _html(path.read_bytes())
    else:
        text = _plain(path.read_bytes(), must=ending in TEXT)
    if not text.strip():
        raise _Skip("empty")
    return text


def _refuse_outside(path: Path, root: Path) -> None:
    if not path.exists():
        raise _Broken("a link to something that is not there")
    if not path.resolve().is_relative_to(root):
        raise _Broken(f"a link out of the folder (to {path.resolve()}): copy the file instead")
    raise _Skip("a link to something in the folder, which is read at its own place")


def _plain(data: bytes, *, must: bool) -> str:
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if must:
            raise _Broken(f"not UTF-8 at byte {error.start} (iconv -f LATIN1 -t UTF-8 FILE)") from error
        raise _Skip("a binary file of a type that is not read") from error
    if "\x00" in text:
        if must:
            raise _Broken("holds NUL bytes: this is no text")
        raise _Skip("a binary file of a type that is not read")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _html(data: bytes) -> str:
    from bs4 import BeautifulSoup, Comment, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
    from markdownify import MarkdownConverter

    with warnings.catch_warnings():
        # XHTML that begins like XML is meant to be read as HTML here, and a page may be as short as a file name.
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        soup = BeautifulSoup(_decoded(data), "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for element in soup.find_all([*DROPPED, "head", "title"]):
        element.decompose()
    for comment in soup.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for image in soup.find_all("img"):  # only the words for it can be read; the source may be the image itself
        image.replace_with(str(image.get("alt") or ""))
    converter = MarkdownConverter(
        heading_style="ATX", escape_underscores=False, escape_asterisks=False, escape_misc=False
    )
    try:
        text: str = converter.convert_soup(soup).strip()
    except RecursionError as error:
        raise _Broken("its elements are nested too deeply") from error
    has_heading = soup.find("h1") is not None
    return f"# {title}\n\n{text}" if title and text and not has_heading else text


def _decoded(data: bytes) -> str:
    """A page as UTF-8, else in the encoding that it declares or that bs4 finds."""
    from bs4.dammit import UnicodeDammit

    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        found = UnicodeDammit(data, is_html=True)
    if found.unicode_markup is None or found.contains_replacement_characters:
        raise _Broken("its character set cannot be told: add <meta charset=...>")
    return found.unicode_markup


def _pdf(path: Path) -> str:
    from pypdf import PdfReader

    try:
        with _log_kept_off_the_terminal("pypdf"), PdfReader(path) as reader:
            if reader.is_encrypted and not reader.decrypt(""):
                raise _Broken("an encrypted PDF: save it without a password (qpdf --decrypt IN.pdf OUT.pdf)")
            pages = [page.extract_text() for page in reader.pages]
    except _Broken:
        raise
    except Exception as error:  # a damaged PDF leads pypdf to errors of any kind; each is named with its file
        raise _Broken(f"not a PDF that can be read: {type(error).__name__}: {error}") from error
    text = "\n\n".join(well_formed(page).replace("\x00", "").strip() for page in pages).strip()
    if not text:
        raise _Broken("a PDF without text (scanned?): run text recognition first (ocrmypdf IN.pdf OUT.pdf)")
    return text


@contextmanager
def _log_kept_off_the_terminal(name: str) -> Iterator[None]:
    """Python prints log records that no handler wants; this one wants them. Handlers of the user still get them."""
    logger, handler = logging.getLogger(name), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _first(problems: tuple[Problem, ...]) -> list[Problem]:
    more = len(problems) - SHOWN
    return [*problems[:SHOWN], *([Problem(f"and {more} more")] if more > 0 else [])]
