"""Search is exact, total and the same everywhere."""

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import DiskFullError, RetrievalError
from luthier.retrieve import Hit, Index, IndexItem, Mode, build_index
from luthier.store import hash_folder

MODES: tuple[Mode, ...] = ("lexical", "dense", "hybrid", "scores", "sentences")


class Letters:
    """Counts letters: an embedder whose neighbours can be worked out by hand."""

    def __init__(self, name: str = "letters") -> None:
        self.name, self.identity, self.embedded = name, f"id of {name}", 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += len(texts)
        counts = np.array([[text.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], np.float32)
        counts += 0.01
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def embed_query(self, text: str) -> np.ndarray:
        return self.embed([text])[0]


ITEMS = [
    IndexItem("refund", "Refunds are paid within 14 days.", "Guide > Money"),
    IndexItem("ship", "We ship to Norway, Sweden and Denmark."),
    IndexItem("password", "Reset your pass_word in the settings (C++ clients: see plan B)."),
    IndexItem("cafe", "Das Café in Zürich öffnet um neun."),
    IndexItem("tokyo", "東京の天気は晴れです。"),
    IndexItem("hindi", "हिन्दी में सहायता उपलब्ध है"),
    IndexItem("twin b", "the same words here"),
    IndexItem("twin a", "the same words here"),
]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return build_index(ITEMS, tmp_path / "index", embedder=Letters())


def keys(hits: Sequence[Hit]) -> list[str]:
    return [hit.key for hit in hits]


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("When is a refund paid?", "refund"),
        ("REFUNDED", "refund"),
        ("money", "refund"),  # stands in the title only
        ("shipping to SWEDEN", "ship"),
        ("cafe zurich", "cafe"),
        ("CAFÉ", "cafe"),
        ("plan b", "password"),
        ("東京", "tokyo"),
        ("天気予報", "tokyo"),
        ("सहायता", "hindi"),
    ],
)
def test_words_are_found_in_every_form(index: Index, query: str, key: str) -> None:
    assert keys(index.search(query, 1, mode="lexical")) == [key]


def test_lexical_hits_share_a_word_and_dense_ones_need_not(index: Index) -> None:
    assert index.search("xylophone", 5, mode="lexical") == []
    assert len(index.search("xylophone", 5, mode="dense")) == 5
    assert len(index.search("words", 99, mode="lexical")) == 2
    assert len(index.search("words", 99, mode="hybrid")) == len(ITEMS)


def test_bm25_is_lucenes(tmp_path: Path) -> None:
    texts = ["red red fox", "red hen", "hen and cock and chick"]
    index = build_index([IndexItem(str(i), t) for i, t in enumerate(texts)], tmp_path / "i", embedder=None)
    idf, mean = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), (3 + 2 + 5) / 3
    expected = {"0": idf * 2 / (2 + 1.5 * (0.25 + 0.75 * 3 / mean)), "1": idf / (1 + 1.5 * (0.25 + 0.75 * 2 / mean))}
    assert {h.key: h.score for h in index.search("red", 3, mode="lexical")} == pytest.approx(expected, rel=1e-5)


def test_dense_is_the_cosine(index: Index) -> None:
    embedder = Letters()
    by_hand = embedder.embed([item.searched for item in ITEMS]) @ embedder.embed_query("sweden")
    best = int(np.argmax(by_hand))
    (hit,) = index.search("sweden", 1, mode="dense")
    assert hit == Hit(ITEMS[best].key, ITEMS[best].text, hit.score, ITEMS[best].title)
    assert hit.score == pytest.approx(float(by_hand[best]), abs=1e-5)


def test_hybrid_is_reciprocal_rank_fusion(index: Index) -> None:
    dense = {key: rank for rank, key in enumerate(keys(index.search("reset password", 99, mode="dense")), 1)}
    lexical = {key: rank for rank, key in enumerate(keys(index.search("reset password", 99, mode="lexical")), 1)}
    for hit in index.search("reset password", 99, mode="hybrid"):
        expected = 1 / (60 + dense[hit.key]) + (1 / (60 + lexical[hit.key]) if hit.key in lexical else 0)
        assert hit.score == pytest.approx(expected)


@pytest.mark.parametrize("mode", MODES)
def test_ties_stand_in_order_of_their_keys(index: Index, mode: Mode) -> None:
    assert keys(index.search("the same words here", 2, mode=mode)) == ["twin a", "twin b"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        '"',
        "a AND (",
        "foo OR *",
        "~^:[]{}!",
        "x\"y'z;--",
        "\x00",
        "\ud800",
        "😀",
        "pass_word",
        "a" * 50_000,
        "C++",
        "é\u0301",
    ],
)
def test_any_text_is_a_query(index: Index, mode: Mode, query: str) -> None:
    hits = index.search(query, 3, mode=mode)
    assert len(hits) <= 3 and all(np.isfinite(hit.score) for hit in hits)


@settings(max_examples=60, deadline=None)
@given(queries=st.lists(st.text(st.characters(codec=None)), min_size=1, max_size=4), k=st.integers(1, 9))
def test_a_query_alone_and_among_others_finds_the_same(tmp_path_factory, queries: list[str], k: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "shared-index"
    index = build_index(ITEMS, folder, embedder=Letters())
    for mode in MODES:
        assert index.search_many(queries, k, mode=mode) == [index.search(query, k, mode=mode) for query in queries]


def test_many_queries_are_answered_in_order(index: Index) -> None:
    queries = ["refund", "sweden", "nothing of that kind", "zurich"] * 50
    found = index.search_many(queries, 1, mode="lexical")
    assert [keys(hits) for hits in found] == [["refund"], ["ship"], [], ["cafe"]] * 50
    assert index.search_many([], 3) == []


def test_a_copy_gives_the_same_hits_and_holds_no_path(tmp_path: Path, index: Index) -> None:
    shutil.copytree(tmp_path / "index", tmp_path / "elsewhere" / "copy")
    shutil.rmtree(tmp_path / "index")
    copy = Index.open(tmp_path / "elsewhere" / "copy", Letters())
    assert copy.identity == index.identity and copy.items == index.items and copy.embedder_name == "letters"
    for mode in MODES:
        assert copy.search("reset refund words", 9, mode=mode) == index.search("reset refund words", 9, mode=mode)
    for file in (tmp_path / "elsewhere").rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes()


def test_the_same_items_give_the_same_bytes_in_any_order_and_process(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from luthier.retrieve import IndexItem, build_index
from luthier.store import hash_folder
items = [IndexItem(f"k{i}", f"word{i} common text{i % 3}") for i in range(50)]
build_index(items[::int(sys.argv[2])], Path(sys.argv[1]), embedder=None)
print(hash_folder(Path(sys.argv[1])))
"""
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / order), order], capture_output=True, check=True
        ).stdout
        for order in ("1", "-1")
    }
    assert len(hashes) == 1


def test_identity_is_of_everything_that_is_searched(tmp_path: Path) -> None:
    def identity(items: list[IndexItem], embedder: Letters | None = None) -> str:
        shutil.rmtree(tmp_path / "i", ignore_errors=True)
        return build_index(items, tmp_path / "i", embedder=embedder).identity

    item = IndexItem("k", "text", "title")
    others = [
        [IndexItem("l", "text", "title")],
        [IndexItem("k", "texts", "title")],
        [IndexItem("k", "text", "t")],
        [item, IndexItem("l", "x")],
    ]
    found = [identity([item]), *map(identity, others), identity([item], Letters()), identity([item], Letters("other"))]
    assert len(set(found)) == 7 and identity([item]) == found[0]


def test_an_index_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    embedder = Letters()
    build_index(ITEMS, tmp_path / "i", embedder=embedder)
    count = embedder.embedded
    build_index(ITEMS[::-1], tmp_path / "i", embedder=embedder)
    assert embedder.embedded == count
    build_index(ITEMS[1:], tmp_path / "i", embedder=embedder)
    assert embedder.embedded == count + len(ITEMS) - 1
    assert [p.name for p in tmp_path.iterdir()] == ["i"]


def test_a_damaged_index_is_refused_by_open_and_replaced_by_build(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    index = build_index(ITEMS, folder, embedder=Letters())
    whole = hash_folder(folder)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        file.write_bytes(file.read_bytes()[:-3])
        with pytest.raises(RetrievalError, match="is not what was built"):
            Index.open(folder)
        assert build_index(ITEMS, folder, embedder=Letters()).identity == index.identity
        assert hash_folder(folder) == whole
    (folder / "content" / "extra").write_text("x")
    with pytest.raises(RetrievalError, match="is not what was built"):
        Index.open(folder)


def test_a_newer_format_another_embedder_and_no_index_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    with pytest.raises(RetrievalError, match="no index"):
        Index.open(folder)
    build_index(ITEMS, folder, embedder=Letters())
    with pytest.raises(RetrievalError, match=r"another embedder \(letters\)"):
        Index.open(folder, Letters("other"))
    about = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(about | {"format": 2}))
    with pytest.raises(RetrievalError, match="newer luthier") as caught:
        Index.open(folder)
    assert caught.value.fix == "pip install -U luthier"


def test_vectors_are_needed_to_search_by_meaning(tmp_path: Path) -> None:
    build_index(ITEMS, tmp_path / "with", embedder=Letters())
    for index, why in (
        (build_index(ITEMS, tmp_path / "without", embedder=None), "built without"),
        (Index.open(tmp_path / "with"), "opened without"),
        (Index.open(tmp_path / "without", Letters()), "built without"),
    ):
        assert keys(index.search("refund", 1, mode="lexical")) == ["refund"]
        with pytest.raises(RetrievalError, match=why):
            index.search("refund", 1)


def test_items_that_cannot_be_indexed_are_all_named_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="nothing to index"):
        build_index([], tmp_path / "i", embedder=None)
    bad = [IndexItem("a", "x"), IndexItem("a", "y"), IndexItem("b", "\ud800"), IndexItem("c", "x", "\udfff")]
    with pytest.raises(RetrievalError) as caught:
        build_index(bad, tmp_path / "i", embedder=None)
    assert len(caught.value.problems) == 3 and not list(tmp_path.iterdir())


def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mine.txt").write_text("mine")
    for place in (tmp_path / "docs", tmp_path / "docs" / "mine.txt"):
        with pytest.raises(RetrievalError, match="is not an index"):
            build_index(ITEMS, place, embedder=None)
    assert (tmp_path / "docs" / "mine.txt").read_text() == "mine"


def test_texts_without_any_word_can_be_indexed(tmp_path: Path) -> None:
    items = [IndexItem("a", "..."), IndexItem("b", "😀"), IndexItem("c", "")]
    build_index(items, tmp_path / "i", embedder=Letters())
    index = Index.open(tmp_path / "i", Letters())
    assert index.search("😀", 3, mode="lexical") == [] and len(index.search("😀", 3)) == 3


@pytest.mark.parametrize("step", ["numpy.save", "pathlib.Path.write_bytes"])
def test_a_full_disk_leaves_the_old_index(tmp_path: Path, monkeypatch, step: str) -> None:
    index = build_index(ITEMS, tmp_path / "i", embedder=Letters())
    whole = hash_folder(tmp_path / "i")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(DiskFullError):
        build_index(ITEMS[1:], tmp_path / "i", embedder=Letters())
    monkeypatch.undo()
    assert hash_folder(tmp_path / "i") == whole and [p.name for p in tmp_path.iterdir()] == ["i"]
    assert Index.open(tmp_path / "i", Letters()).identity == index.identity


def test_k_must_be_positive(index: Index) -> None:
    with pytest.raises(RetrievalError, match="0 hits"):
        index.search("x", 0)


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = (
        "torch",
        "transformers",
        "sentence_transformers",
        "bm25s",
        "bs4",
        "pypdf",
        "sqlalchemy",
        "scipy",
        "markdown_it",
    )
    code = f"import sys, luthier.retrieve; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
