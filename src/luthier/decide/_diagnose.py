"""Knowledge or behaviour? What the wanted answers hold that neither the input nor the other answers give.

The lexical part of the question, without a model, joined with what the rungs measured with and without documents.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data import Example
from luthier.decide._bench import Bench
from luthier.decide._system import System
from luthier.evaluate import Record

BOILERPLATE_SHARE = 0.30
BEHAVIOUR_BELOW = 0.10
KNOWLEDGE_ABOVE = 0.30

_WORD = re.compile(r"[^\W_]+(?:[.,:/-][^\W_]+)*", re.UNICODE)


def diagnose(bench: Bench, systems: Mapping[str, System], records: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """What is known about missing knowledge, for `Evidence.knowledge`.

    Keys: `kind` (behaviour, mixed, knowledge), `novel_rows` (share of training rows whose answer holds a word that the
    input does not and that is no label or boilerplate), `samples` of such words; where documents were searched:
    `recall` (share of development cases whose wanted answer stands in what was found), `closed_book` and
    `with_documents` (mean scores on the common test cases).
    """
    novel = {e.id: words for e, words in zip(bench.split.train, novel_words(bench.split.train), strict=True)}
    share = sum(bool(words) for words in novel.values()) / len(novel)
    kind = "behaviour" if share < BEHAVIOUR_BELOW else "knowledge" if share > KNOWLEDGE_ABOVE else "mixed"
    samples = sorted({word for words in novel.values() for word in words})[:8]
    found: dict[str, Any] = {"kind": kind, "novel_rows": round(share, 4), "samples": samples}
    if "retrieval" in systems:
        found["recall"] = _recall(bench, systems["retrieval"])
        closed = next((name for name in ("prompt", "few-shot") if name in records), None)
        if closed is not None:
            n = min(len(records[closed]), len(records["retrieval"]))
            found["closed_book"] = _mean(records[closed][:n])
            found["with_documents"] = _mean(records["retrieval"][:n])
            found["cases"] = n
    return found


def novel_words(examples: Sequence[Example]) -> list[list[str]]:
    """Per example, the words of the wanted answer that stand neither in its input nor in many other answers.

    A word that stands in 30 % of the answers, or in at least three that make up one answer in fifty, can be induced
    from the other examples: a label, a key, a turn of phrase.
    """
    answers = [_words(example.output) for example in examples]
    counts = Counter(word for words in answers for word in set(words))
    common = max(3.0, 0.02 * len(examples))
    result = []
    for example, words in zip(examples, answers, strict=True):
        given = set(_words(" ".join(m.content for m in example.messages)))
        often = {w for w in words if counts[w] >= BOILERPLATE_SHARE * len(examples) or counts[w] >= common}
        result.append(sorted({w for w in words if w not in given and w not in often and len(w) > 1}))
    return result


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _recall(bench: Bench, system: System) -> float:
    hits = 0
    for case in bench.development:
        found = " ".join(_words(" ".join(system.passages(case.input_text))))
        hits += " ".join(_words(case.output)) in found
    return hits / len(bench.development)


def _mean(records: Sequence[Record]) -> float:
    return sum(record.score for record in records) / len(records)
