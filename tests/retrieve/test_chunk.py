"""Passages are cut by structure and know their headings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data import Document
from luthier.errors import RetrievalError
from luthier.retrieve import chunk_documents

GUIDE = """Preface.

# Guide

Hello *there*.

## Refunds `now`

Within 14 days.

```
# not a heading
```

Second paragraph of refunds here.

Setext
------

### Deep

Down here.

# Other

> # quoted

End.
"""


def document(text: str, name: str = "guide.md") -> Document:
    return Document(name, text, Path(name))


def test_titles_are_the_paths_of_headings() -> None:
    items = chunk_documents([document(GUIDE)], max_chars=45)
    titles = {item.text: item.title for item in items}
    assert titles["Preface."] == ""
    assert titles["# Guide\n\nHello *there*."] == "Guide"
    assert titles["## Refunds `now`\n\nWithin 14 days."] == "Guide > Refunds now"
    assert titles["Second paragraph of refunds here."] == "Guide > Refunds now"
    assert titles["Setext\n------\n\n### Deep\n\nDown here."] == "Guide > Setext > Deep"
    assert titles["# Other\n\n> # quoted\n\nEnd."] == "Other"
    assert [item.key for item in items] == [f"guide.md#{i}" for i in range(len(items))]


def test_plain_text_has_no_titles() -> None:
    (item,) = chunk_documents([document("# no heading\n\ntext", "a.txt")])
    assert (item.key, item.title, item.text) == ("a.txt#0", "", "# no heading\n\ntext")


def test_passages_overlap_where_wanted() -> None:
    text = "One two three four. Five six seven eight. Nine ten eleven twelve. Thirteen fourteen fifteen."
    plain = chunk_documents([document(text, "a.txt")], max_chars=45)
    shared = chunk_documents([document(text, "a.txt")], max_chars=45, overlap=25)
    assert sum(len(i.text) for i in shared) > sum(len(i.text) for i in plain)


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (-1, 0), (10, 10), (10, -1)])
def test_sizes_that_cannot_be_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(RetrievalError, match="cannot be cut"):
        chunk_documents([document("x")], max_chars=size, overlap=overlap)


@given(st.text(alphabet="# \n`>-ab\u00e9\U0001f600", max_size=200), st.integers(1, 40), st.booleans())
def test_nothing_is_lost_and_nothing_is_too_long(text: str, size: int, markdown: bool) -> None:
    items = chunk_documents([document(text, "x.md" if markdown else "x.txt")], max_chars=size)
    assert all(0 < len(item.text) <= size for item in items)
    assert "".join("".join(item.text.split()) for item in items) == "".join(text.split())
