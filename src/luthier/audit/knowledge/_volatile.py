"""Marks of facts that will not stay true: what a model was taught of them is wrong one day, and nobody notices."""

from __future__ import annotations

import datetime as dt
import re

from luthier.audit.knowledge._words import MONTHS, Piece, value_of

NEAR_YEARS = 3
_CLAUSE = re.compile(r"[.!?;\n](?=\s|$)")
_VERSION = re.compile(r"v?\d+\.\d+(?:\.\d+)+|v\d+(?:\.\d+)*", re.I)
_CURRENCY = re.compile(r"[$€£¥₹]\s*$|\b(?:USD|EUR|GBP|CHF|JPY|INR)\s*$", re.I)
_AFTER_MONEY = re.compile(r"\s*(?:[$€£¥₹]|(?:USD|EUR|GBP|CHF|JPY|INR|dollars?|euros?|cents?)\b)", re.I)
_AFTER_RATE = re.compile(r"\s*(?:%|percent\b|per cent\b|percentage points?\b)", re.I)
_HOLDS_FOR_NOW = "holds for now"
_IN_OFFICE = "somebody in office"
_MARKS = {
    _HOLDS_FOR_NOW: """current|currently|latest|newest|most recent|most recently|as of|at present|today|now|this year
        this month|this week|so far|to date|nowadays|upcoming|next year|next month|next week""",
    _IN_OFFICE: """CEO|CFO|CTO|president|prime minister|chancellor|minister|mayor|governor|chairman|chairwoman
        chairperson|head of|director|manager|champion|record holder""",
    "a price or a fee": "price|prices|priced|cost|costs|fee|fees|tariff|discount|salary|wage|rent|premium|subscription",
    "a version": "version|versions|release|build|firmware|patch",
    "a deadline or a time": """deadline|due|expires|expiry|valid until|opening hours|open from|opens at|closes at
        hours are""",
    "a figure that is updated": "rate|rates|population|stock|share price|inventory|in stock|interest|inflation|ranking",
}


def _any_of(words: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(re.split(r"\||\n\s*", words)) + r")\b", re.I)


_MARK = {why: _any_of(words) for why, words in _MARKS.items()}
_OVER = re.compile(r"\b(?:was|were|had|became|served|former|1\d{3}|20[01]\d)\b", re.I)


def volatile(answer: str, piece: Piece, question: str, today: dt.date) -> str | None:
    """Why a fact will change; None where nothing says so.

    Args:
        answer: the wanted answer; of JSON the value that the piece stands in.
        piece: a number, code or name in it that neither prompt nor documents give.
        question: the input, whose words count where the answer is hardly longer than the fact.
        today: years near it are of things that go on.
    """
    if piece.kind == "word":
        return None
    before, after = answer[: piece.start], answer[piece.end :]
    if piece.kind == "number":
        if _CURRENCY.search(before) or _AFTER_MONEY.match(after):
            return "a price or a fee"
        if _AFTER_RATE.match(after):
            return "a rate"
        if _is_near(piece, today):
            return "a date of these years"
    if _VERSION.fullmatch(piece.text):
        return "a version"
    said = _clause(answer, piece) if len(answer) > 4 * len(piece.text) + 20 else f"{answer} {question}"
    possible = (_HOLDS_FOR_NOW, _IN_OFFICE) if piece.kind == "name" else [why for why in _MARK if why != _IN_OFFICE]
    if _OVER.search(said):
        return None
    return next((why for why in possible if _MARK[why].search(said)), None)


def _is_near(piece: Piece, today: dt.date) -> bool:
    years = [float(part) for part in re.findall(r"\d{4}", piece.key)] or [value_of(piece.key) or 0.0]
    return piece.key not in MONTHS and any(abs(year - today.year) <= NEAR_YEARS for year in years)


def _clause(text: str, piece: Piece) -> str:
    """The sentence that a piece stands in."""
    ends = [match.end() for match in _CLAUSE.finditer(text)]
    begin = max((end for end in ends if end <= piece.start), default=0)
    return text[begin : min((end for end in ends if end >= piece.end), default=len(text))]
