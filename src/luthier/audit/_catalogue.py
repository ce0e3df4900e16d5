"""The codes of findings, each with what happens when nothing is done about it. docs/findings.md explains them."""

from __future__ import annotations

from collections.abc import Mapping

_MISSING = "the row is missing from what is trained and measured"

_FORM = {
    "unusable-row": _MISSING,
    "bad-json": _MISSING,
    "bad-encoding": _MISSING,
    "long-line": _MISSING,
    "wrong-role": _MISSING,
    "turn-order": _MISSING,
    "mixed-forms": _MISSING,
    "tool-use": _MISSING,
    "wrong-keys": _MISSING,
    "wrong-value": _MISSING,
    "table-cells": _MISSING,
    "table-quotes": "the row is missing, and what a stray quote took in would have become one answer",
    "preference-prompt": _MISSING,
    "no-time": _MISSING,
    "no-group": "rows of one group could stand on both sides of the split, so scores would be too good",
    "not-divisible": "nothing can be measured: there are no held-out cases",
    "few-rows": "no verdict can be given on so few held-out cases",
    "empty": "the model learns to answer nothing",
    "schema": "the model learns outputs that the scorer counts as wrong",
    "unknown-label": "the model learns outputs that the scorer counts as wrong",
    "same-preference": "the pair teaches nothing and costs as much as one that does",
}

_TAUGHT = {
    "template-refuses": "the rows can be neither trained nor asked",
    "cut-off": "the model learns to stop in the middle of an answer",
    "end-not-learned": "the model never learns to stop",
    "nothing-to-learn": "the row costs time and teaches nothing",
    "control-token": "the model learns to end its turn, or to begin another's, in the middle of an answer",
    "lossy-tokens": "the model learns another text than the one that is wanted",
    "default-system": "an exported model that is asked without a system prompt sees another prompt than was trained",
    "double-start": "the model is trained and asked with a beginning that its base never saw",
    "mixed-system": "requests in service bring a system prompt or bring none; part of the training was for the other",
    "instructions-twice": "every request is longer than it need be",
}

_REPEATS = {
    "duplicate": "what is said twice is learned twice as strongly, and there are fewer rows than it seems",
    "near-duplicate": "there are fewer different rows than it seems, so training and measuring gain less",
    "conflict": "bounds the score that any system can reach, and teaches to guess",
    "near-conflict": "bounds the score that any system can reach, and teaches to guess",
    "template": "the model learns the templates, and the score does not tell how it does on people's own words",
    "battery-repeat": "what the general-capability battery asks is trained, so it cannot see a loss there",
    "semantic-duplicate": "there are fewer different rows than it seems, and near copies may stand on two sides",
}

_LEAKAGE = {
    "leakage": "scores on the test cases are too good: what was memorised counts as understood",
    "leakage-removed": "none: the rows are kept out of training already",
    "time-leakage": "what is learned is newer than what it is measured on; in service it is the other way round",
    "prompt-leakage": "the instructions hold test cases: those count as right without being understood",
    "answer-in-input": "the model learns to copy what will not be there in service, and scores are too good",
    "semantic-leakage": "scores on these test cases may be too good",
    "small-test": "the verdict will more often be that the evidence is not enough",
}

_QUALITY = {
    "rare-label": "the label is hardly learned, and its score is a guess",
    "input-length": "long rows cost memory and are cut first; stray rows teach another task",
    "output-length": "long rows cost memory and are cut first; stray rows teach another task",
    "length-ratio": "the model learns to leave out or to add, at random",
    "imbalance": "a model that always gives the most frequent label scores well and is of no use",
}

_PERSONAL = {
    "secret": "whoever can ask the model or read its data may get the key: treat it as lost",
    "password": "whoever can ask the model or read its data may get them",
    "payment-card": "the model may say somebody's card number to somebody else; card data must not be kept like this",
    "bank-account": "the model may say somebody's account to somebody else",
    "national-id": "the model may say somebody's number to somebody else, and a released model cannot forget it",
    "email": "the model may say somebody's address to somebody else",
    "phone": "the model may say somebody's number to somebody else",
    "birth-date": "the model may say it of somebody",
    "postal-address": "the model may say where somebody lives",
    "person-name": "the model may name somebody who did not ask for it",
    "network-address": "the model may say which machine somebody used",
    "example-data": "none on people; the model may answer with values that do not exist",
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

_COVERAGE = {
    "unusable-traffic": "these inputs are left out when traffic and examples are compared",
    "few-traffic": "it stays unknown whether the examples cover what is asked in earnest",
    "uncovered-traffic": "inputs of these kinds are answered without having been learned or measured",
    "over-represented": "training and measuring weigh these kinds more than the traffic does",
    "traffic-differs": "scores on the examples tell little about the traffic",
    "test-differs": "scores on the test cases tell little about what else is asked",
}

_TEXT = {
    "mojibake": "the model learns to write the damage, and does not know the input as users type it",
    "lost-character": "the model learns to write the sign for a lost character",
    "hidden-character": "words get other tokens than users type, and answers break what reads them",
    "escaped-text": "the model learns to write backslashes instead of line breaks and letters",
    "html-entity": "the model learns to write entities now and then",
    "html-tag": "the model learns to write tags now and then",
    "template-leftover": "the template stands twice in training and once in service; its marks come back in answers",
    "unfilled-template": "the model is asked nothing and learns to answer anything",
    "tool-text": "the model learns to call tools that nobody answers",
    "output-space": "the first or last token differs from row to row, and answers are off by a space",
    "repeated-turn": "chat templates refuse such rows or join the turns; the model learns to repeat itself",
    "licences": "a model may not be used, or not be passed on, as the strictest licence of its rows says",
    "origin": "none: it is told so that it can be judged",
    "swapped-preference": "the pair teaches the opposite of the others",
}

_CONTENT = {
    "wrong-label": "the model learns the error, and is counted wrong where it is right",
    "surprising-answer": "the model learns the error, and is counted wrong where it is right",
    "answers-not-judged": "an answer that belongs to another row stays unseen",
    "doubtful-label": "bounds the score that any system can reach, and teaches to guess",
    "label-variant": "one label is learned and scored as several",
    "refusal": "the model learns to refuse what it could do",
    "boilerplate": "the model learns to wrap its answers, at random, in words that nobody asked for",
    "degenerate-output": "the model learns to answer with what stands in for an answer",
    "copied-input": "the model learns to repeat what it is told",
    "language": "the model learns to answer in the wrong language, at random",
    "output-format": "the model learns several forms, and gives the rare one at random",
}

EFFECTS: Mapping[str, str] = (
    _FORM | _TEXT | _TAUGHT | _REPEATS | _LEAKAGE | _QUALITY | _CONTENT | _PERSONAL | _KNOWLEDGE | _COVERAGE
)
