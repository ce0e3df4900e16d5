"""Findings on what a row teaches once the base's own template and tokenizer have made tokens of it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.audit._finding import EXCERPT, Dataset, Finding, Sample, finding
from luthier.audit._run import Progress
from luthier.data import Example, Message, with_instructions
from luthier.errors import ModelError
from luthier.models import Flaw, Outline, control_tokens, render_example, render_prompt, taught_example
from luthier.spec import Task

_MARK = "§1"  # stands for a message; no template writes it by itself
_SYSTEM = "§2"

_REASONS = {
    "template-refuses": "the base's chat template refuses these conversations; the first: {first}",
    "cut-off": "rows longer than the {limit:,} tokens that are trained at most: their answers would be cut off, which"
    " teaches to stop in mid-sentence",
    "end-not-learned": "the token that ends the turn is not learned in these rows: the model would never learn to stop",
    "nothing-to-learn": "no token of the answer is left to learn",
    "control-token": "the wanted output spells out control tokens of the base: {first}",
    "lossy-tokens": "the base's tokenizer cannot say these outputs: read back they are different; the first: {first}",
}
_FIXES = {
    "template-refuses": "change what it refuses (many templates know no system role: put instructions into the user's"
    " message), or choose another base",
    "cut-off": "shorten the rows, raise train: max_length in luthier.yaml, or choose a base with a longer context",
    "end-not-learned": "choose an instruction-tuned base, or repair its chat_template.jinja: it must end the"
    " assistant's turn with a control token",
    "nothing-to-learn": "correct or remove the rows",
    "control-token": "remove the control tokens from the outputs: the template writes them",
    "lossy-tokens": "replace the characters that the tokenizer does not know, or choose another base",
}


@dataclass(frozen=True)
class ShownRow:
    """A row as it is trained: pieces of text, token by token, each with whether it is learned."""

    source: str
    tokens: tuple[tuple[str, bool], ...]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"row": self.source, "tokens": [{"text": text, "learned": learned} for text, learned in self.tokens]}


def show_rows(data: Dataset, base: Outline, count: int) -> list[ShownRow]:
    """The first rows as they are trained; rows that the template refuses are left to the findings."""
    shown: list[ShownRow] = []
    for example in data.examples:
        if len(shown) == count:
            break
        try:
            rendered = render_example(base.tokenizer, asked(data.task, example), example.output)
        except ModelError:
            continue
        texts = [base.tokenizer.decode([token]) for token in rendered.ids]
        tokens = tuple((text, place >= rendered.prompt_length) for place, text in enumerate(texts))
        shown.append(ShownRow(str(example.source), tokens))
    return shown


def asked(task: Task, example: Example) -> tuple[Message, ...]:
    """The conversation that a system without demonstrations asks."""
    return with_instructions(task.instructions.strip() or task.goal, example.messages)


def check_taught(data: Dataset, base: Outline, progress: Progress | None = None) -> list[Finding]:
    """Rows that would teach nothing or the wrong thing on this base, and what its template does by itself.

    Every row is rendered as it would be trained. `base` is a model, or one without its weights.
    """
    found = [*_rows(data, base, progress), *_template(data, base)]
    return [*found, *_system_prompts(data), *_instructions_twice(data)]


def _rows(data: Dataset, base: Outline, progress: Progress | None) -> Iterable[Finding]:
    special = control_tokens(base.tokenizer)
    limit = min(data.task.train.max_length or base.max_length, base.max_length)
    rows: dict[str, list[Example]] = {}
    first: dict[str, str] = {}
    for number, example in enumerate(data.examples):
        if progress is not None and number % 256 == 0:
            progress("render rows", number, len(data.examples), "")
        flaw = _flaw(base.tokenizer, data.task, example, special, limit)
        if flaw is not None:
            rows.setdefault(flaw[0], []).append(example)
            first.setdefault(*flaw)
    for code, some in rows.items():
        reason = _REASONS[code].format(first=first[code], limit=limit)
        yield finding(code, "blocks", some, reason, _FIXES[code], samples=_samples(some, base, data.task))


def _flaw(tokenizer: Any, task: Task, example: Example, special: Sequence[str], limit: int) -> tuple[str, str] | None:
    """The code of what is wrong with a row as it is trained, and what is seen; None where nothing is."""
    taught = taught_example(tokenizer, asked(task, example), example.output, special, limit)
    if isinstance(taught, Flaw):
        return taught.code, taught.seen
    labels = taught.ids[taught.prompt_length :]
    said = tokenizer.decode(labels[:-1], clean_up_tokenization_spaces=False)
    wanted, read = _comparable(example.output), _comparable(said)
    return None if wanted == read else ("lossy-tokens", _difference(wanted, read))


def _comparable(text: str) -> str:
    """Templates trim, and many tokenizers compose characters: neither changes what is said."""
    return unicodedata.normalize("NFC", text).strip()


def _difference(wanted: str, said: str) -> str:
    place = next((i for i, (a, b) in enumerate(zip(wanted, said, strict=False)) if a != b), min(len(wanted), len(said)))
    start = max(0, place - 20)
    return f"{wanted[start : place + 20]!r} becomes {said[start : place + 20]!r}"


def _samples(rows: Sequence[Example], base: Outline, task: Task) -> list[Sample]:
    found = []
    for example in rows[:3]:
        length = f"{base.count_tokens([Message('user', example.output)])} tokens of output" if example.output else ""
        found.append(Sample(example.source, f"{example.input_text} → {example.output}"[:EXCERPT], length))
    return found


def _template(data: Dataset, base: Outline) -> Iterable[Finding]:
    """What the template adds to every prompt without being asked."""
    own = default_system(base.tokenizer)
    if own:
        reason = (
            f"where no system prompt is given, the base's template writes one by itself: {own[:200]!r}. Luthier always"
            " sends one (`instructions:`, else `goal:`), so it stands in no row; a client of an exported model that"
            " sends none would get it"
        )
        fix = "nothing to do here; send the same system prompt wherever an exported model is asked"
        yield finding("default-system", "note", (), reason, fix, count=len(data.examples))
    start = _start(base.tokenizer)
    if start and start[0] == base.tokenizer.bos_token_id and start[:1] == start[1:2]:
        reason = "the template writes the token that begins a text, and the tokenizer writes it a second time"
        fix = "remove bos_token from chat_template.jinja, or set add_bos_token to false in tokenizer_config.json"
        yield finding("double-start", "harms", (), reason, fix, count=len(data.examples))


def default_system(tokenizer: Any) -> str:
    """The system prompt that a template writes when none is given; empty where it writes none."""
    plain = _text(tokenizer, (Message("user", _MARK),))
    given = _text(tokenizer, (Message("system", _SYSTEM), Message("user", _MARK)))
    if plain is None or given is None or _SYSTEM not in given or _MARK not in plain:
        return ""
    before, _, rest = given.partition(_SYSTEM)
    after = rest.partition(_MARK)[0]
    head = plain.partition(_MARK)[0]
    if len(head) > len(before) + len(after) and head.startswith(before) and head.endswith(after):
        return head[len(before) : len(head) - len(after)].strip()
    return ""


def _text(tokenizer: Any, messages: tuple[Message, ...]) -> str | None:
    try:
        return str(tokenizer.decode(render_prompt(tokenizer, messages)))
    except ModelError:
        return None


def _start(tokenizer: Any) -> list[int]:
    try:
        return render_prompt(tokenizer, (Message("user", _MARK),))[:2]
    except ModelError:
        return []


def _system_prompts(data: Dataset) -> Iterable[Finding]:
    """Rows with and without a system prompt of their own: in service a request either brings one or does not."""
    with_own = [e for e in data.examples if e.messages[0].role == "system"]
    if not with_own:
        return
    texts = Counter(e.messages[0].content for e in with_own)
    without = len(data.examples) - len(with_own)
    if without or len(texts) > 1:
        usual, times = texts.most_common(1)[0]
        fewer = with_own if len(with_own) <= without else [e for e in data.examples if e.messages[0].role != "system"]
        odd = fewer if without else [e for e in with_own if e.messages[0].content != usual]
        reason = f"{len(texts):,} system prompts in the rows, the most frequent in {times:,} of {len(data.examples):,}"
        if without:
            reason += f", and {without:,} rows without one"
        fix = "give every row the system prompt that requests will bring, or none and use `instructions:`"
        many = len(texts) > 0.2 * len(with_own)  # prompts that differ on purpose are part of the input
        yield finding("mixed-system", "note" if many and not without else "harms", odd, reason, fix)


def _instructions_twice(data: Dataset) -> Iterable[Finding]:
    said = _as_said(data.task.instructions)
    if len(said) < 20:
        return
    rows = [e for e in data.examples if any(said in _as_said(m.content) for m in e.messages) and _adds(data, e)]
    if rows:
        reason = "the rows contain the text of `instructions:`, which is put before them once more"
        fix = "remove `instructions:` from luthier.yaml, or the text from the rows"
        yield finding("instructions-twice", "harms", rows, reason, fix)


def _as_said(text: str) -> str:
    """A text as its words, whatever their case, lines and punctuation."""
    return " ".join(["", *re.findall(r"\w+", text.casefold()), ""])


def _adds(data: Dataset, example: Example) -> bool:
    """Whether the instructions are added to the row: a system message that equals them is not doubled."""
    return not (example.messages[0].role == "system" and example.messages[0].content == data.task.instructions)
