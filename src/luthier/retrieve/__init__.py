"""What it may look up: read documents, cut them into passages, index them, search.

BM25 by bm25s, vectors by a sentence-embedding model, both searched exactly and fused by ranks or scores. An index is
a folder of plain files that can be copied into a release. Importing this package loads none of those libraries.
"""

from luthier.retrieve._chunk import chunk_documents
from luthier.retrieve._documents import DocumentScan, read_documents, scan_documents
from luthier.retrieve._embed import Embedder, load_embedder
from luthier.retrieve._index import Index, Mode, build_index
from luthier.retrieve._items import Hit, IndexItem
from luthier.retrieve._rerank import Reranker, load_reranker

__all__ = [
    "DocumentScan",
    "Embedder",
    "Hit",
    "Index",
    "IndexItem",
    "Mode",
    "Reranker",
    "build_index",
    "chunk_documents",
    "load_embedder",
    "load_reranker",
    "read_documents",
    "scan_documents",
]
