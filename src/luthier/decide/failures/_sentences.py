"""What a diagnosis says in words: how many failures have each cause, and what to type against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from luthier.decide.failures._causes import NO_DOCUMENTS, NOT_SEARCHED
from luthier.decide.failures._form import CUT_OFF
from luthier.decide.failures._result import CAUSES, Cause, Failures
from luthier.evaluate import wilson

SAID = 0.05  # share of the failures from which a cause is said

_WHAT: dict[Cause, str] = {
    "format": "break the form and are right but for it",
    "wrong reference": "have a wanted answer that looks wrong itself",
    "another rung helps": "are right on another rung",
    "demonstrations help": "are right with the examples most like them as demonstrations",
    "fact missing": "lack a fact that no document holds",
    "not retrieved": "need a fact that stands in the documents and was not found",
    "fact not used": "have the fact in front of them, and do not use it",
    "beyond this base": "are beyond this base: neither instructions, demonstrations nor given facts help",
    "open": "are open: the base was not asked about them",
}
_DO: dict[Cause, str] = {
    "format": "constrain it: add constrained to decide.methods in luthier.yaml (score: {kind: label} or a JSON schema)",
    "wrong reference": "look at these rows and correct them, then luthier check",
    "another rung helps": "see which cases differ: luthier report",
    "demonstrations help": "add few-shot nearest to decide.methods in luthier.yaml",
    "fact missing": "write it down: add it to documents: in luthier.yaml, then luthier decide",
    "not retrieved": "mend the search: in the documents, use the words of the questions; or another embedder: "
    "retrieval: {embedding: ...} in luthier.yaml",
    "fact not used": "tune for reading: decide.methods: [retrieval, fine-tune + retrieval] in luthier.yaml",
    "beyond this base": "try a larger one: base: in luthier.yaml, or fine-tune: luthier tune",
    "open": "luthier decide --all",
}
# The same where the method that would be the remedy was on the ladder: its name, and what is left to do.
_DONE: dict[Cause, tuple[str, str]] = {
    "format": ("constrained", "have the instructions say the form: instructions: in luthier.yaml"),
    "demonstrations help": ("few-shot nearest", "see how it answers all cases: luthier decide --all"),
    "fact not used": ("fine-tune + retrieval", "try a base that reads better: base: in luthier.yaml"),
    "beyond this base": ("fine-tune", "try a larger one: base: in luthier.yaml"),
}


def share_words(failures: Failures) -> str:
    """How much of the failures was looked at, and what that took: one line."""
    of = f"{failures.failed} of {failures.answered} cases fail on {failures.rung}"
    looked = (
        "" if failures.examined == failures.failed else f", {failures.examined} of them, drawn at random, looked at"
    )
    took = ""
    if failures.probes:
        usd = "" if failures.usd is None else f", ${failures.usd:.2g}"
        took = f"; {failures.probes} more answers of the base were asked for ({failures.seconds:.0f} s{usd})"
    return of + looked + took


def cause_lines(failures: Failures) -> tuple[str, ...]:
    """A sentence for each cause with its share and 95 % interval, the most frequent first."""
    return tuple(
        f"{100 * count / failures.examined:.0f} % [{low:.0f}, {high:.0f}] {_WHAT[cause]}{_parts(failures, cause)}"
        for cause, count, low, high in _counted(failures)
    )


def remedy_lines(failures: Failures, methods: Collection[str] = ()) -> tuple[str, ...]:
    """What to do about each cause, with what to type, the most frequent first; `methods` were measured already."""
    return tuple(
        f"{100 * count / failures.examined:.0f} % of the failures {_WHAT[cause]}: {_remedy(failures, cause, methods)}"
        for cause, count, _, _ in _counted(failures)
        if cause != "open"
    )


def _counted(failures: Failures) -> list[tuple[Cause, int, float, float]]:
    counts = [(cause, failures.count(cause)) for cause in CAUSES]
    kept = [(cause, n) for cause, n in counts if n and n >= SAID * failures.examined]
    found = []
    for cause, n in sorted(kept, key=lambda item: -item[1]):
        low, high = wilson(n, failures.examined, 0.025)
        found.append((cause, n, 100 * low, 100 * high))
    return found


def _details(failures: Failures, cause: Cause) -> Counter[str]:
    found: Counter[str] = Counter()
    for cluster in failures.clusters:
        if cluster.cause == cause and cluster.detail:
            found[cluster.detail] += cluster.count
    return found


def _parts(failures: Failures, cause: Cause) -> str:
    details = _details(failures, cause).most_common(3)
    return f" ({', '.join(f'{name}: {n}' for name, n in details)})" if details else ""


def _remedy(failures: Failures, cause: Cause, methods: Collection[str]) -> str:
    details = _details(failures, cause)
    if cause == "another rung helps" and details:
        return f"{details.most_common(1)[0][0]} gets most of them; compare them: luthier report"
    if cause == "format" and details and details.most_common(1)[0][0] == CUT_OFF:
        return "raise max_answer_tokens: in luthier.yaml, or have the instructions ask for the answer only"
    if cause == "fact missing" and NO_DOCUMENTS in details:
        return "write it down, and name the file: documents: in luthier.yaml"
    if cause == "not retrieved" and NOT_SEARCHED in details:
        return "have it looked up: add retrieval to decide.methods in luthier.yaml"
    tried, left = _DONE.get(cause, ("", ""))
    return left if tried in methods else _DO[cause]
