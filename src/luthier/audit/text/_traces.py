"""What a text shows of the way it took: wrong decoding, invisible characters, escapes, markup, a model's tokens.

Each function gives the place of the first trace in a text, or None.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable

from luthier.data import BadValue, parse_json

Span = tuple[int, int]

_LOST = re.compile("\ufffd")
_LOST_LETTER = re.compile(r"(?<![\w/.=&?-])[^\W\d_]+\?[^\W\d_]+(?![\w/=&])")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"  # but tab and line ends
    "|[\u00ad\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffb]"  # no width
    "|[\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff]"  # private use, no characters
    "|[\u202d\u202e]"  # override the direction
    "|[\U000e0001-\U000e007f]"
)
_JOINER = re.compile("(?<![^\x00-\u024f])[\u200c\u200d](?![^\x00-\u024f])")
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202c\u2066-\u2069]")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")
_ESCAPED_LETTER = re.compile(r"(?<!\\)\\u[0-9a-fA-F]{4}")
_ESCAPED_LINE = re.compile(
    r"(?<=[\w.!?:;,)}\]\"”’…*>%])(?<!\b[A-Za-z]:)"  # not in a path (`C:\new`), nor where a program begins a string
    r"(?:\\r)?\\n(?:(?:\\r)?\\n|(?=\s*(?:[A-ZÀ-ÞА-Я0-9•*#-]\W?|$))|(?<=[.!?:]\\n)(?=[^\W\d_]))"
)
_ESCAPED_QUOTE = re.compile(r'(?:^|(?<=[\s(]))\\"(?=\w)')
_QUOTED = re.compile(r'```.*?(?:```|$)|`[^`\n]*`|(?<!\\)"(?:[^"\\]|\\.)*"', re.DOTALL)
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#[0-9]{2,6}|#[xX][0-9a-fA-F]{2,5});")
_NAMES = (
    "p|div|span|b|i|u|a|li|ul|ol|em|strong|h[1-6]|table|tr|td|th|tbody|font|script|style|body|html|sup|sub|blockquote"
    "|iframe|center|pre|code"
)
# an opening tag alone may be a key (`<u>`) or a placeholder, so it takes an end, an attribute, or one that has no end
_TAG = re.compile(
    rf"<(?:br|hr)\s*/?>|<img\s[^<>]*>|<(?:{_NAMES})\s+[\w-]+\s*=[^<>]*>|<({_NAMES})>(?=.{{0,2000}}?</\1>)|</(?:{_NAMES})>",
    re.IGNORECASE | re.DOTALL,
)
_ABOUT_MARKUP = re.compile(
    r"\b(?:html|xml|svg|markup|css|webpage|web page|tags?|entit(?:y|ies)|jsx|vue)\b", re.IGNORECASE
)
_TOKEN = re.compile(
    r"<\|[A-Za-z0-9_▁ ./-]{2,40}\|>|<\uff5c[^\uff5c<>]{2,40}\uff5c>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|<(?:bos|eos|pad|unk)>|\[(?:BOS|EOS|PAD|UNK|CLS|SEP|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\]"
    r"|\A\s*<s>(?=\s*\S)|(?<=\S)\s*</s>\s*\Z"
)
_HEADING = re.compile(
    r"^[ \t]*#{2,3} *(?:Instructions?|Response|Input|Human|Assistant|User|System|Output) *:", re.MULTILINE
)
_SPEAKERS = re.compile(
    r"^[ \t]*(?:(?P<user>Human|User|USER|HUMAN|Question|Q)|(?P<model>Assistant|ASSISTANT|AI|Bot|Answer|A)) *:",
    re.MULTILINE,
)
# what a decoder that leaves control tokens out makes of a rendered conversation: the roles, each on a line
_ROLE_LINE = re.compile(r"^[ \t]*(?P<role>[Ss]ystem|[Uu]ser|[Aa]ssistant|[Hh]uman|[Mm]odel)[ \t]*$", re.MULTILINE)
_NEXT_TURN = re.compile(r"(?<=\S)\s*\n[ \t]*(?:[Uu]ser|[Hh]uman)[ \t]*\n\s*(?:\Z|\S+[ \t]+\S)")
_FIELD = (
    r"(?:[a-z_]+\.)?(?:[a-z]+_[a-z_]*[a-z]|prompt|questions?|instructions?|text|input|query|context|document|doc|passage|article|message"
    r"|content|answer|output|response|system|history|examples?|sentence|email|request|topic|title|body)"
)
_UNFILLED = re.compile(
    r"\{\{-? ?[A-Za-z_][\w.]*(?: ?\|[^{}\n]*)? ?-?\}\}|\{%-? ?[a-z][^%{}\n]*%\}"
    rf"|\$?\{{(?:{_FIELD}|[a-z_]+\.[a-z_]+)\}}|%\({_FIELD}\)s|<<{_FIELD}>>|\[{_FIELD}\](?!\()"
)
_ABOUT_TEMPLATES = re.compile(r"\b(?:templates?|jinja|handlebars|mustache|placeholders?|f-strings?|variables?)\b", re.I)
_ASSISTANT = re.compile(r"\A\s*(?:Assistant|ASSISTANT|AI|Bot|Answer|Response|Output) *: ")
_TOOL = re.compile(
    r"</?tool_(?:call|response)s?>|</?function_(?:calls?|results?)>|<function=|<invoke\b|<\|python_tag\|>"
    r'|\A\s*[\[{]\s*"(?:name|function)"\s*:\s*"[\w.-]+"\s*,\s*"(?:arguments|parameters)"\s*:'
)


def wrong_decoding(text: str) -> Span | None:
    """UTF-8 that was read as another encoding (`cafÃ©`): the way back gives better text (ftfy, Speer 2019)."""
    if text.isascii():
        return None
    from ftfy import fix_encoding
    from ftfy.badness import BADNESS_RE

    if fix_encoding(text) == text:
        return None
    match = BADNESS_RE.search(text)
    return match.span() if match else (0, 1)


def lost_character(text: str) -> Span | None:
    """A character that no longer is there: U+FFFD."""
    return _span(_LOST.search(text))


def hidden_character(text: str) -> Span | None:
    """Control characters and those that nobody sees, unless the script of the text needs them."""
    if text.isascii():
        return _span(_CONTROL.search(text))
    plain = _FLAG.sub(lambda match: "x" * len(match.group()), text)
    found = _CONTROL.search(plain) or _JOINER.search(plain)
    if found is None and (direction := _DIRECTION.search(plain)) and not _right_to_left(plain):
        found = direction
    return _span(found)


def without_hidden(text: str) -> str:
    """A text without the characters that nobody sees; private ones stay, because they may stand for a sign."""
    if hidden_character(text) is None:
        return text
    keep_direction = _right_to_left(text)
    parts = re.split(f"({_FLAG.pattern})", text)
    for place in range(0, len(parts), 2):  # what stands between flags
        part = _JOINER.sub("", _CONTROL.sub(_in_place_of, parts[place]))
        parts[place] = part if keep_direction else _DIRECTION.sub("", part)
    return "".join(parts)


def _in_place_of(match: re.Match[str]) -> str:
    character = match.group()
    if unicodedata.category(character) == "Co":
        return character
    return "\n" if character in "\x0b\x0c" else ""


def _right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def escaped(text: str) -> Span | None:
    r"""Escapes that were to become characters: a literal `\n`, `\u00e9` or `\"` outside of code, JSON and quotes."""
    if "\\" not in text or _is_json(text):
        return None
    plain = _without_quoted(text)
    found = _ESCAPED_LETTER.search(plain)
    if found is None and "\n" not in text.strip():
        found = _ESCAPED_LINE.search(plain)
    return _span(found or _ESCAPED_QUOTE.search(plain))


def entity(text: str) -> Span | None:
    """A character written as HTML writes it: `&amp;`, `&#39;`."""
    if "&" not in text:
        return None
    plain = _without_quoted(text)
    return next((m.span() for m in _ENTITY.finditer(plain) if html.unescape(m.group()) != m.group()), None)


def without_entities(text: str, unescape: Callable[[str], str]) -> str:
    """A text with the entities outside of quotations written as characters."""
    places = [match.span() for match in _ENTITY.finditer(_without_quoted(text))]
    for start, end in reversed(places):
        text = text[:start] + unescape(text[start:end]) + text[end:]
    return text


def tag(text: str) -> Span | None:
    """A tag of HTML."""
    return _span(_TAG.search(_without_quoted(text))) if "<" in text else None


def about_markup(text: str) -> bool:
    """Whether a text speaks of markup, so that markup is no damage."""
    return _ABOUT_MARKUP.search(text) is not None


def template(text: str, *, answer: bool) -> Span | None:
    """Tokens and headings of a chat template; in an answer the name of the speaker too."""
    found = _TOKEN.search(text) if "<" in text or "[" in text else None
    if found is None and "##" in text:
        found = _HEADING.search(text)
    if found is None and answer:
        found = _ASSISTANT.match(text)
    if found is None and ":" in text:
        speakers = list(_SPEAKERS.finditer(text))
        if {"user", "model"} <= {str(match.lastgroup) for match in speakers}:
            found = speakers[0]
    return _span(found or _role_line(text, answer))


def _role_line(text: str, answer: bool) -> re.Match[str] | None:
    """A role's name on a line: at the start before another, and of an answer at its start or where a user goes on."""
    lines = list(_ROLE_LINE.finditer(text)) if "\n" in text else []
    if not lines:
        return None
    first = lines[0] if not text[: lines[0].start()].strip() and text[lines[0].end() :].strip() else None
    if first is not None and len({match["role"].lower() for match in lines}) > 1:
        return first
    if not answer:
        return None
    return first if first is not None and first["role"].lower() in ("assistant", "model") else _NEXT_TURN.search(text)


def unfilled(text: str) -> Span | None:
    """A place of a program's template that nothing was put into: `{{ question }}`, `{user_input}`, `{% if x %}`."""
    if not any(mark in text for mark in ("{", "%(", "<<", "[")) or _ABOUT_TEMPLATES.search(text):
        return None
    return _span(_UNFILLED.search(_without_quoted(text)))


def tool(text: str) -> Span | None:
    """A call of a tool, or its result, written into the text."""
    return _span(_TOOL.search(text)) if "<" in text or '"' in text else None


def _is_json(text: str) -> bool:
    if text.strip()[:1] not in ("{", "[", '"'):
        return False
    try:
        parse_json(text.strip())
    except BadValue:
        return False
    return True


def _without_quoted(text: str) -> str:
    """The text with code and quotations blanked, so that places stay."""
    return _QUOTED.sub(lambda match: " " * len(match.group()), text)


def _span(match: re.Match[str] | None) -> Span | None:
    return None if match is None else match.span()
