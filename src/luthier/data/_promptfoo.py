"""Test cases of promptfoo: prompts with their variables filled in, and the wanted output that assertions imply."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.data._errors import RowError
from luthier.data._rows import INPUTS, OUTPUTS, ROW_KEYS

EQUAL = frozenset({"equals"})
REFERENCE = frozenset({"similar", "rouge-n", "bleu", "meteor", "levenshtein", "factuality", "gleu"})
CONTAINED = frozenset({"contains", "icontains", "contains-all", "icontains-all", "contains-any", "icontains-any"})
_PLACE = re.compile(r"\{\{-?\s*([A-Za-z_][\w.]*)\s*-?\}\}")
_LEFT = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|\{\{|\{%", re.DOTALL)
_SPECIAL = re.compile(r"[.*+?()\[\]{}|\\^$]")
_CHANGED = ("prefix", "suffix", "transform", "postprocess")


def is_promptfoo(value: Mapping[str, Any]) -> bool:
    """Whether a row is a test case of promptfoo and has no form of its own."""
    if {"messages", "conversations", "chosen", *INPUTS, *OUTPUTS} & set(value):
        return False
    return isinstance(value.get("vars"), dict) or isinstance(value.get("assert"), list)


def promptfoo_row(value: Mapping[str, Any]) -> dict[str, Any]:
    """The test case as `prompt` and `completion`, with its other variables and metadata beside them.

    `assert` becomes the kind of what the wanted output was taken from: `equals`, `reference` or `contains`.

    Raises:
        RowError: no wanted output follows from the assertions, or the prompt cannot be filled in as promptfoo would.
    """
    default = value.get("defaultTest")
    default = default if isinstance(default, dict) else {}
    values = _variables(_object(default, "vars") | _object(value, "vars"))
    _refuse_changed(_object(default, "options") | _object(value, "options"))
    prompt = _prompt(value.get("prompts"), values)
    asserts = [*_asserts(default.get("assert")), *_asserts(value.get("assert"))]
    kind, wanted = _wanted(asserts, values)
    rest = {key: item for key, item in values.items() if key not in (*ROW_KEYS, "metadata", "assert")}
    metadata = _object(default, "metadata") | _object(value, "metadata")
    return (
        rest | {"prompt": prompt, "completion": wanted, "assert": kind} | ({"metadata": metadata} if metadata else {})
    )


def _object(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RowError("wrong-value", f"`{key}` must be an object, not {str(found)[:40]!r}")
    return found


def _refuse_changed(options: Mapping[str, Any]) -> None:
    found = [key for key in _CHANGED if options.get(key)]
    if found:
        what = "answer" if found[0] in ("transform", "postprocess") else "prompt"
        raise RowError("wrong-value", f"options.{found[0]} changes the {what}; write rows in which it is not needed")


def _variables(values: Mapping[str, Any]) -> dict[str, Any]:
    for name, item in values.items():
        if isinstance(item, list):
            what = f"the variable `{name}` is a list, which promptfoo makes several tests of; write one test for each"
            raise RowError("wrong-value", what)
        if isinstance(item, str) and item.startswith("file://"):
            raise RowError("wrong-value", f"the variable `{name}` is in a file ({item[:60]}); write its text here")
        if isinstance(item, str) and _LEFT.search(item):
            raise RowError("wrong-value", f"the variable `{name}` holds a template itself; write its text here")
    return dict(values)


def _prompt(prompts: Any, values: Mapping[str, Any]) -> Any:
    """The only prompt with its variables filled in, as text or messages; without one, the only variable."""
    given = prompts if isinstance(prompts, list) else [] if prompts is None else [prompts]
    if not given:
        return _bare(values)
    if len(given) > 1:
        what = f"there are {len(given)} prompts, and a row has one input; keep the prompt that is in use"
        raise RowError("wrong-value", what)
    template = given[0]
    if isinstance(template, dict):
        template = template.get("raw", template.get("id", template))
    if not isinstance(template, str) or template.startswith(("file://", "exec:")):
        raise RowError(
            "wrong-value", f"the prompt is not written here ({str(template)[:60]}); paste it in place of that"
        )
    messages = _messages(template)
    if messages is None:
        return _filled(template, values, "the prompt")
    return [m | {"content": _filled(m["content"], values, "the prompt")} for m in messages]


def _messages(template: str) -> list[dict[str, Any]] | None:
    """The messages of a prompt that is written as a JSON conversation."""
    if not template.lstrip().startswith("["):
        return None
    try:
        found = json.loads(template)
    except ValueError:
        return None
    whole = isinstance(found, list) and found and all(isinstance(m, dict) for m in found)
    return found if whole and all(isinstance(m.get("content"), str) and "role" in m for m in found) else None


def _bare(values: Mapping[str, Any]) -> Any:
    if len(values) == 1:
        return next(iter(values.values()))
    inputs = [name for name in values if name in INPUTS]
    if len(inputs) == 1 and set(values) <= {inputs[0], "context"}:
        context = values.get("context")
        return f"{_text(context)}\n\n{_text(values[inputs[0]])}" if context else values[inputs[0]]
    names = ", ".join(f"`{name}`" for name in values) or "none"
    raise RowError("wrong-keys", f"no prompt says how the variables ({names}) stand in it; add `prompts:` to the file")


def _filled(template: str, values: Mapping[str, Any], what: str) -> str:
    """A template with its names replaced; anything more than a name is refused, as it would be guessed.

    Raises:
        RowError: a name without a value, a filter, a condition or a loop.
    """
    for match in _LEFT.finditer(template):
        if not _PLACE.fullmatch(match.group()):
            raise RowError("wrong-value", f"{what} uses {match.group()[:40]!r}; only plain names are filled in")

    def value_of(match: re.Match[str]) -> str:
        found: Any = values
        for part in match.group(1).split("."):
            if not isinstance(found, dict) or part not in found:
                raise RowError("wrong-keys", f"{what} asks for the variable `{match.group(1)}`, which has no value")
            found = found[part]
        return _text(found)

    return _PLACE.sub(value_of, template)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _asserts(value: Any) -> list[dict[str, Any]]:
    """The assertions, those of sets among them; one of weight 0 does not count."""
    found: list[dict[str, Any]] = []
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            raise RowError("wrong-value", "an assertion must be an object with a `type`")
        if item["type"] == "assert-set" and "threshold" not in item:
            found += _asserts(item.get("assert"))
        elif item.get("weight") != 0:
            found.append(item)
    return found


def _wanted(asserts: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> tuple[str, str]:
    """What the answer is taken to be, and from which kind of assertion; every other plain assertion must agree."""
    for kind, names in (("equals", EQUAL), ("reference", REFERENCE), ("contains", CONTAINED)):
        found = list(dict.fromkeys(text for a in asserts if a["type"] in names for text in _values(a, values)))
        if len(found) == 1:
            _refuse_contradiction(asserts, values, found[0])
            return kind, found[0]
        if found and kind != "contains":
            raise RowError("wrong-value", f"the assertions want {len(found)} different answers; one must be the wanted")
    literal = [text for a in asserts if a["type"] == "regex" and (text := _literal(a.get("value"))) is not None]
    if len(set(literal)) == 1:
        _refuse_contradiction(asserts, values, literal[0])
        return "contains", literal[0]
    raise RowError("wrong-keys", _why_not(asserts))


def _values(item: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    if item.get("transform"):
        raise RowError("wrong-value", f"`{item['type']}` looks at a transformed answer; what it should be is not said")
    given = item.get("value")
    several = item["type"].endswith(("-any", "-all"))
    parts = given if several and isinstance(given, list) else [given]
    texts = []
    for part in parts:
        if part is None or part == "":
            raise RowError("empty", f"`{item['type']}` has no value")
        if isinstance(part, str) and part.startswith(("file://", "package:")):
            raise RowError("wrong-value", f"the value of `{item['type']}` is in a file; write it here")
        texts.append(_filled(part, values, f"the value of `{item['type']}`") if isinstance(part, str) else _text(part))
    return texts


def _literal(pattern: Any) -> str | None:
    """The text that a pattern stands for, where it stands for one only."""
    if not isinstance(pattern, str):
        return None
    text = pattern.removeprefix("^").removesuffix("$")
    return text if text and not _SPECIAL.search(text) and "{{" not in pattern else None


def _why_not(asserts: Sequence[Mapping[str, Any]]) -> str:
    types = list(dict.fromkeys(str(item["type"]) for item in asserts))
    if not types:
        return "no assertion says what the answer should be; add `equals` with the wanted answer"
    reasons = {
        "is-json": "says what form the answer has, not what it is",
        "contains-json": "says what form the answer has, not what it is",
        "regex": "is a pattern that many answers fit",
        "javascript": "judges answers by a program",
        "python": "judges answers by a program",
        "llm-rubric": "judges answers by a model",
    }
    named = [f"`{name}` {reasons[name]}" for name in types if name in reasons]
    parts = [name for name in types if name in CONTAINED]
    named += [f"`{parts[0]}` asks for several parts of an answer"] if parts and not named else []
    said = "; ".join(named) or f"`{types[0]}` does not say it"
    return f"no wanted output follows from the assertions: {said}; add `equals` with the wanted answer"


def _refuse_contradiction(asserts: Sequence[Mapping[str, Any]], values: Mapping[str, Any], wanted: str) -> None:
    """An answer that another assertion of the same row would refuse is not what is wanted.

    Raises:
        RowError: there is such an assertion.
    """
    for item in asserts:
        name = item["type"].removeprefix("not-")
        check = _CHECKS.get(name)
        if check is None or item.get("transform"):
            continue
        if name == "regex":
            texts = [str(item.get("value"))]
        else:
            texts = _values(item, values) if name not in ("is-json", "contains-json") else [""]
        if check(wanted, texts) == item["type"].startswith("not-"):
            raise RowError(
                "wrong-value", f"the wanted answer {wanted[:40]!r} does not pass `{item['type']}` of this row"
            )


def _found(wanted: str, texts: Sequence[str]) -> bool:
    try:
        return re.search(texts[0], wanted) is not None
    except re.error:
        return True  # a pattern of another language: it cannot be said that they contradict each other


def _is_json(wanted: str, texts: Sequence[str]) -> bool:
    try:
        json.loads(wanted)
    except ValueError:
        return False
    return True


_CHECKS: Mapping[str, Callable[[str, Sequence[str]], bool]] = {
    "equals": lambda wanted, texts: wanted == texts[0],
    "contains": lambda wanted, texts: texts[0] in wanted,
    "icontains": lambda wanted, texts: texts[0].lower() in wanted.lower(),
    "contains-all": lambda wanted, texts: all(text in wanted for text in texts),
    "icontains-all": lambda wanted, texts: all(text.lower() in wanted.lower() for text in texts),
    "contains-any": lambda wanted, texts: any(text in wanted for text in texts),
    "icontains-any": lambda wanted, texts: any(text.lower() in wanted.lower() for text in texts),
    "starts-with": lambda wanted, texts: wanted.startswith(texts[0]),
    "is-json": _is_json,
    "regex": _found,
}
