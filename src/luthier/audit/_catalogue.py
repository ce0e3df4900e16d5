"""The codes of findings, each with what happens when nothing is done about it. docs/findings.md explains them."""

from __future__ import annotations

from collections.abc import Mapping

_FORM = {
    "unusable-row": "the row is missing from what is trained and measured",
    "not-divisible": "nothing can be measured: there are no held-out cases",
    "few-rows": "no verdict can be given on so few held-out cases",
    "empty": "the model learns to answer nothing",
    "schema": "the model learns outputs that the scorer counts as wrong",
    "unknown-label": "the model learns outputs that the scorer counts as wrong",
    "same-preference": "the pair teaches nothing and costs as much as one that does",
}

_REPEATS = {
    "duplicate": "what is said twice is learned twice as strongly, and there are fewer rows than it seems",
    "near-duplicate": "there are fewer different rows than it seems, so training and measuring gain less",
    "conflict": "bounds the score that any system can reach, and teaches to guess",
}

_LEAKAGE = {
    "leakage": "scores on the test cases are too good: what was memorised counts as understood",
    "leakage-removed": "none: the rows are kept out of training already",
}

_QUALITY = {
    "rare-label": "the label is hardly learned, and its score is a guess",
    "input-length": "long rows cost memory and are cut first; stray rows teach another task",
    "output-length": "long rows cost memory and are cut first; stray rows teach another task",
}

_KNOWLEDGE = {
    "teaches-facts": "facts that the base does not know are learned slowly, grow old, and teach it to make up others",
    "volatile-facts": "the model goes on saying what was true when it was trained, and nobody notices",
    "unknown-facts": "facts that the base does not know are learned slowly, grow old, and teach it to make up others",
    "facts-in-documents": "the model learns by heart what it could look up, and still says it when documents change",
    "facts-missed": "retrieval does not help with these rows as it is, and looks worse than it could be",
    "facts-nowhere": "no method but learning by heart can give these answers, and that teaches to guess",
    "facts-not-asked": "what the base knows is not told apart from what it does not",
}

EFFECTS: Mapping[str, str] = _FORM | _REPEATS | _LEAKAGE | _QUALITY | _KNOWLEDGE
