"""How often each search finds the passage with the answer, and what a query takes.

    python benchmarks/retrieval.py [--shared ../shared] [--cross-encoder NAME]

The 1,190 questions of XQuAD (English) over its 240 paragraphs, cut as the ladder cuts documents. An answer is found
where it stands word for word in a passage. A search is compared with the one by ranks by McNemar's exact test.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from scipy.stats import binomtest

from luthier.decide import Lookup
from luthier.decide._passages import SEARCHES, stands_in
from luthier.decide._rungs import CHUNK_CHARS
from luthier.decide._system import looked_up
from luthier.retrieve import Index, Reranker, build_index, chunk_documents, load_embedder, load_reranker, read_documents

AT = (1, 3)


def found(index: Index, rows: list[SimpleNamespace], lookup: Lookup, reranker: Reranker | None) -> list[list[bool]]:
    """For each question, whether the answer stands in the first 1 and 3 passages."""
    hits = [[hit.text for hit in looked_up(index, row.prompt, lookup, reranker)] for row in rows]
    return [[stands_in(row.completion, texts[:k]) for k in AT] for row, texts in zip(rows, hits, strict=True)]


def p_value(a: list[bool], b: list[bool]) -> float:
    """Two-sided exact McNemar test."""
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def main() -> None:
    """Print a row for each search and size of passages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--cross-encoder")
    given = parser.parse_args()
    data = given.shared / "data" / "xquad"
    lines = (data / "questions.jsonl").read_text("utf-8").splitlines()
    rows = [SimpleNamespace(**json.loads(line)) for line in lines]
    reranker = load_reranker(given.cross_encoder) if given.cross_encoder else None
    embedder = load_embedder("minilm")
    print(f"{len(rows)} questions; p against hybrid (ranks), McNemar\n")
    print(f"{'characters':>10}  {'search':<45} {'@1':>7} {'@3':>7} {'p @1':>9} {'p @3':>9} {'ms':>6}")
    for chars in CHUNK_CHARS:
        items = chunk_documents(read_documents(data / "documents"), max_chars=chars)
        with tempfile.TemporaryDirectory() as folder:
            index = build_index(items, Path(folder) / "index", embedder=embedder)
            ways = [Lookup(max(AT), mode, "minilm", index.identity) for mode in (*SEARCHES, "lexical")]
            if reranker is not None:
                ways.append(Lookup(max(AT), "scores", "minilm", index.identity, reranker.name, reranker.identity))
            results = {}
            for way in ways:
                index = Index.open(index.folder, embedder)  # nothing that another search has kept
                began = time.perf_counter()
                results[way.words] = found(index, rows, way, reranker)
                milliseconds = 1000 * (time.perf_counter() - began) / len(rows)
                ranks = results.get("hybrid", results[way.words])
                columns = list(zip(*results[way.words], strict=True))
                tests = [p_value(a, b) for a, b in zip(columns, zip(*ranks, strict=True), strict=True)]
                shares = " ".join(f"{sum(column) / len(rows):7.4f}" for column in columns)
                shown = " ".join(f"{p:9.2g}" for p in tests)
                print(f"{chars:>10}  {way.words:<45} {shares} {shown} {milliseconds:6.1f}", flush=True)


if __name__ == "__main__":
    main()
