"""What a row means: the common forms of training data, each read into an `Example`."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.data._dates import DateError, parse_date
from luthier.data._errors import RowError
from luthier.data._examples import Example, Message, Role, content_hash
from luthier.data._origin import origin_of, plain
from luthier.data._rows import INPUTS, OUTPUTS, SYSTEMS, Row
from luthier.spec import did_you_mean

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
_TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id")


@dataclass(frozen=True)
class Form:
    """How rows are written; in pairs, which keys hold input and output ("" where rows have no output)."""

    kind: Literal["messages", "conversations", "preference", "pairs"]
    input: str = ""
    output: str = ""

    def __str__(self) -> str:
        if self.kind == "pairs":
            return f"{self.input} + {self.output}" if self.output else self.input
        return {"messages": "messages", "conversations": "conversations", "preference": "chosen + rejected"}[self.kind]


def form_of(row: Mapping[str, Any], *, labelled: bool) -> Form:
    """The form of a row, by its keys.

    Raises:
        RowError: no form, or keys that compete for the same part.
    """
    for kind in ("messages", "conversations"):
        if row.get(kind) is not None:
            return Form(kind)
    if "chosen" in row and "rejected" in row:
        return Form("preference")
    inputs, outputs = [key for key in INPUTS if key in row], [key for key in OUTPUTS if key in row]
    if "instruction" in inputs and "input" in inputs:
        inputs = ["instruction"]  # Alpaca; some copies also hold the rendered prompt as `text`
    source = _only(inputs, "the input", row)
    return Form("pairs", source, _only(outputs, "the wanted output", row) if labelled else "")


def _only(keys: Sequence[str], part: str, row: Mapping[str, Any]) -> str:
    if len(keys) == 1:
        return keys[0]
    if keys:
        names = " and ".join(f"`{key}`" for key in keys)
        raise RowError("wrong-keys", f"{names} could both be {part}; rename or remove the one that is not")
    wanted = OUTPUTS if part == "the wanted output" else ("messages", "conversations", *INPUTS)
    near = [f"`{key}`{hint}" for key in row if (hint := did_you_mean(str(key), wanted))]
    found = ", ".join(f"`{key}`" for key in list(row)[:8]) or "no key at all"
    raise RowError(
        "wrong-keys", f"no key for {part}: looked for {', '.join(wanted)}; found {near[0] if near else found}"
    )


def example_of(row: Row, form: Form, group: str | None, time: str | None = None) -> Example:
    """Read a row as an example. `group` is the key that names its group, `time` the one that holds its date.

    Raises:
        RowError: the row cannot be used.
    """
    value = row.value
    named = None
    if group is not None:
        if group not in value:
            raise RowError("no-group", f"no key `{group}`, which groups the rows{did_you_mean(group, map(str, value))}")
        named = None if value[group] is None else _text(value[group], group)
    turns, rejected = _turns(value, form)
    if not turns or turns[-1].role != "assistant":
        raise RowError("turn-order", "does not end with an assistant's message, so there is no wanted output")
    if not turns[-1].content.strip():
        raise RowError("empty", "the wanted output is empty; if that is meant, write a word for it, such as none")
    messages = _checked_input(turns[:-1])
    if named is None and group is None and form.kind == "pairs" and _context(value):
        named = "context:" + content_hash(_context(value))[:16]
    return Example(messages, turns[-1].content, named, rejected, row.source, _time(value, time), origin_of(value))


def _time(value: Mapping[str, Any], key: str | None) -> dt.datetime | None:
    if key is None:
        return None
    if key not in value:
        raise RowError(
            "no-time", f"no key `{key}`, which holds the date (split.time){did_you_mean(key, map(str, value))}"
        )
    try:
        return parse_date(value[key])
    except DateError as error:
        raise RowError("no-time", f"`{key}` (split.time): {error}") from error


def rest_of(row: Row, form: Form) -> dict[str, Any]:
    """What a row holds besides the example, as plain JSON."""
    used = {*SYSTEMS, "context", "messages", "conversations"}
    if form.kind == "preference":
        used |= {"prompt", "chosen", "rejected"}
    elif form.kind == "pairs":
        used |= {form.input, form.output} | ({"input"} if form.input == "instruction" else set())
    return {str(plain(str(key))): plain(value) for key, value in row.value.items() if key not in used}


def input_of(row: Row, form: Form) -> tuple[Message, ...]:
    """The input of a row; an answer at the end is left out.

    Raises:
        RowError: the row cannot be used.
    """
    turns = _input(row.value, form) if form.kind == "pairs" else _turns(row.value, form)[0]
    if turns and turns[-1].role == "assistant":
        turns = turns[:-1]
    return _checked_input(turns)


def _turns(value: Mapping[str, Any], form: Form) -> tuple[list[Message], str | None]:
    """The whole conversation with the wanted output last, and the worse answer of a preference pair."""
    if form.kind == "preference":
        return _preference(value)
    if form.kind == "pairs":
        return [*_input(value, form), *_answer(value[form.output], form.output)], None
    if value.get("tools") or value.get("functions"):
        raise RowError("tool-use", "tool definitions (`tools`) are not read; luthier tunes plain answers")
    return _with_system(value, _messages(value[form.kind], form.kind)), None


def _input(value: Mapping[str, Any], form: Form) -> list[Message]:
    prompt = value[form.input]
    if _is_messages(prompt):
        return _with_system(value, _messages(prompt, form.input))
    text = _text(prompt, form.input)
    if form.input == "instruction" and value.get("input") not in (None, ""):
        text = f"{text}\n\n{_text(value['input'], 'input')}"
    if context := _context(value):
        text = f"{context}\n\n{text}"
    return _with_system(value, [Message("user", text)])


def _answer(output: Any, key: str) -> list[Message]:
    if key == "answers":
        output = _first_answer(output)
    if _is_messages(output):
        turns = _messages(output, key)
        if len(turns) != 1 or turns[0].role != "assistant":
            raise RowError("turn-order", f"`{key}` must be one message of the assistant")
        return turns
    return [Message("assistant", _text(output, key))]


def _first_answer(output: Any) -> Any:
    """The first of SQuAD's answers, in the nesting of the original or of Hugging Face datasets."""
    found = output.get("text") if isinstance(output, dict) else output
    if isinstance(found, list) and found:
        found = found[0].get("text") if isinstance(found[0], dict) else found[0]
    if not isinstance(found, str):
        raise RowError(
            "empty", "`answers` holds no text; for a question without an answer write the words that are wanted"
        )
    return found


def _preference(value: Mapping[str, Any]) -> tuple[list[Message], str]:
    start, chosen = _side(value, "chosen")
    other_start, rejected = _side(value, "rejected")
    if start != other_start:
        raise RowError("preference-prompt", "`chosen` and `rejected` answer different conversations")
    return [*start, Message("assistant", chosen)], rejected


def _side(value: Mapping[str, Any], key: str) -> tuple[list[Message], str]:
    """Conversation and answer of one side of a preference pair, written as a text or as messages."""
    prompt = value.get("prompt")
    start: list[Message] = []
    if prompt is not None:
        start = _messages(prompt, "prompt") if _is_messages(prompt) else [Message("user", _text(prompt, "prompt"))]
    if not _is_messages(value[key]):
        return _with_system(value, start), _text(value[key], key)
    turns = _messages(value[key], key)
    if not turns or turns[-1].role != "assistant":
        raise RowError("turn-order", f"`{key}` does not end with an assistant's message")
    inside = turns[:-1]
    if inside and start and inside[-len(start) :] != start:
        raise RowError("preference-prompt", f"`prompt` and the conversation in `{key}` differ; keep one")
    return _with_system(value, inside or start), turns[-1].content


def _is_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and bool({"role", "from"} & set(value[0]))
    )


def _messages(value: Any, key: str) -> list[Message]:
    if not isinstance(value, list):
        raise RowError("wrong-value", f"`{key}` must be a list of messages")
    return [_message(item, f"{key}[{index}]") for index, item in enumerate(value)]


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise RowError("wrong-value", f"`{where}` must be an object with role and content")
    if any(item.get(key) for key in _TOOL_KEYS):
        raise RowError("tool-use", f"`{where}` calls a tool; luthier tunes plain answers, so leave such rows out")
    role_key, content_key = ("role", "content") if "role" in item else ("from", "value")
    for key in (role_key, content_key):
        if item.get(key) is None:
            keys = [str(k) for k in item if k not in (role_key, content_key)]
            near = f"; `{keys[0]}` is there" if keys else ""
            raise RowError("wrong-keys", f"`{where}` has no `{key if role_key in item else 'role'}`{near}")
    role = item[role_key]
    if role in ("tool", "function", "ipython", "observation", "function_response"):
        raise RowError("tool-use", f"`{where}` is a tool's answer; luthier tunes plain answers, so leave such rows out")
    if not isinstance(role, str) or role not in _ROLES:
        raise RowError(
            "wrong-role",
            f"`{where}` has the role `{role}`; roles are {', '.join(_ROLES)}{did_you_mean(str(role), _ROLES)}",
        )
    if item.get("weight") == 0 and _ROLES[role] == "assistant" and "role" in item:
        raise RowError("wrong-value", f"`{where}` has weight 0; luthier learns the last answer of each conversation")
    return Message(_ROLES[role], _content(item[content_key], where))


def _content(value: Any, where: str) -> str:
    if not isinstance(value, list):
        return _text(value, where)
    parts = []
    for part in value:
        if isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
            parts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, dict) else part
            raise RowError("wrong-value", f"`{where}` holds a part that is no text ({kind!r}); only text is read")
    return _text("".join(parts), where)


def _context(value: Mapping[str, Any]) -> str:
    context = value.get("context")
    if context is None or context == "":
        return ""
    if not isinstance(context, str):
        raise RowError("wrong-value", "`context` must be a text")
    return _text(context, "context")


def _with_system(value: Mapping[str, Any], turns: list[Message]) -> list[Message]:
    for key in SYSTEMS:
        if value.get(key):
            system = Message("system", _text(value[key], key))
            if turns and turns[0].role == "system" and turns[0] != system:
                raise RowError("turn-order", f"`{key}` and the first message are different system prompts; keep one")
            return turns if turns and turns[0] == system else [system, *turns]
    return turns


def _checked_input(turns: Sequence[Message]) -> tuple[Message, ...]:
    if any(turn.role == "system" for turn in turns[1:]):
        raise RowError("turn-order", "a system message stands after the first place")
    if not turns or turns[-1].role != "user":
        raise RowError("turn-order", "no message of the user stands before the answer")
    if not turns[-1].content.strip():
        raise RowError("empty", "the input is empty")
    return tuple(turns)


def _text(value: Any, key: str) -> str:
    """A value as text: numbers and true/false in JSON's spelling, objects and lists as JSON."""
    if value is None:
        raise RowError("empty", f"`{key}` is null")
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError("empty", f"`{key}` is {value}, which stands for a missing value")
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool | int | float | dict | list):
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise RowError("wrong-value", f"`{key}` cannot be written as JSON: {error}") from error
    else:
        raise RowError("wrong-value", f"`{key}` is of type {type(value).__name__}; write it as text")
    if "\0" in text:
        raise RowError("bad-encoding", f"`{key}` holds a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError(
            "bad-encoding", f"`{key}` holds half a surrogate pair at character {error.start + 1}; write the text again"
        ) from error
    return text
