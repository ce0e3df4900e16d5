"""What a prompt asks for: to make something of what it holds, to make something up, or to be told something."""

from __future__ import annotations

import re

# Verbs of requests whose answer is new words by their nature. What asks to be told (name, define, list, describe,
# explain) is not among them: there new words are what is told.
_MAKE = """adapt alter arrange brainstorm capitalise capitalize categorise categorize change classify clean
    combine compose condense continue convert correct create cut design draft edit elaborate
    embellish expand extend extract finish fix format generate imagine improve invent join label
    lengthen make merge modify normalise normalize order paraphrase polish pretend proofread propose
    punctuate rank rearrange reformat reformulate render reorder rephrase replace restate
    restructure reverse revise reword rewrite role-play say shorten shuffle simplify sort split
    suggest summarise summarize swap tag tone transcribe transform translate turn write""".split()
_POLITELY = r"(?:please|kindly|now|then|first|next|also|and|to)?[,\s]*"
_ASKING = r"(?:(?:can|could|would|will) you|i (?:want|need|would like|'d like) you to|you (?:should|must|will|are to)"
_ASKING += r"|help me(?: to)?|let's|your task is to|the task is to|we)?\s*"
_REQUEST = re.compile(rf"(?:^|[.!?:;\n])[\s\"'*#>-]*{_ASKING}{_POLITELY}(?:{'|'.join(_MAKE)})\b", re.I)
_BARE = re.compile(r"[^.!?\n]{8,250}\?")
_LOOKED_AT = 300  # characters at either end: the request stands before or behind what it is about


def asks_to_make(text: str) -> bool:
    """Whether a text asks to change what it holds, or to make something up, in English."""
    ends = (text,) if len(text) <= 2 * _LOOKED_AT else (text[:_LOOKED_AT], "\n" + text[-_LOOKED_AT:].split("\n")[-1])
    return any(_REQUEST.search(end) is not None for end in ends)


def is_bare_question(text: str) -> bool:
    """Whether a prompt is one question and nothing else: there is no text in it that the answer could stand in."""
    return _BARE.fullmatch(text.strip()) is not None
