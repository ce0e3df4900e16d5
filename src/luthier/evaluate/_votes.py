"""What an answer says, as its score sees it: answers that say the same have one vote each for it."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.evaluate._scorers_json import JsonScorer
from luthier.evaluate._scorers_text import LabelScorer, last_number, squad_tokens
from luthier.models import Form


def vote_form(kind: str, labels: Sequence[str] = ()) -> Form:
    """The notion of sameness of a score.

    `label`: one of the labels; `number`: the last number; `json`: the value, whatever its spaces, its case and the
    order of its keys; `exact`: the text without outer white space; `answer`: the words after SQuAD's normalisation.

    Args:
        kind: of the score, one of `spec.VOTED`.
        labels: the closed set, for `label`.
    """
    if kind == "label":
        return LabelScorer(labels).label_of
    return {"number": _number, "json": JsonScorer().form_of, "exact": _text, "answer": _words}[kind]


def _text(text: str) -> str | None:
    return text.strip()


def _number(text: str) -> str | None:
    found = last_number(text)
    return None if found is None else f"{found:.6g}"


def _words(text: str) -> str | None:
    return " ".join(squad_tokens(text)) or None
