"""The one renderer: what is measured, what is trained on and what is served become tokens here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data import Message
from luthier.errors import ModelError

# Some templates write today's date into the prompt. A prompt that changes overnight is neither the one that was
# measured nor the one that was trained on, so such templates always see 1 January 2026: this macro stands before the
# template, where it hides the function of the same name that transformers offers.
_SAME_DAY = {
    "%d": "01",
    "%m": "01",
    "%b": "Jan",
    "%B": "January",
    "%Y": "2026",
    "%y": "26",
    "%a": "Thu",
    "%A": "Thursday",
}
_SAME_DAY |= {"%H": "00", "%M": "00", "%S": "00", "%j": "001"}
_DATE_MACRO = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{code}', '{value}')" for code, value in _SAME_DAY.items())
    + " }}{%- endmacro -%}"
)


@dataclass(frozen=True)
class RenderedExample:
    """A prompt with the wanted answer, as tokens.

    `ids[:prompt_length]` is exactly the rendered prompt; the rest is what the model has to learn to say.
    `end_is_label` tells whether that ends with the token that ends the assistant's turn.
    """

    ids: tuple[int, ...]
    prompt_length: int
    end_is_label: bool


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to where the assistant begins to speak, by the model's own chat template.

    Control tokens that stand in a message's text (`<|im_end|>` typed by a user) become ordinary text, so that no input
    can end its own turn. Templates that can switch a thinking phase off get it switched off; templates that print
    today's date always print the same one.

    Raises:
        ModelError: no template, or the template refuses these messages (a system role it does not know).
    """
    return _ids(tokenizer, [m.as_dict() for m in messages], prompt=True)


def render_example(tokenizer: Any, messages: Sequence[Message], output: str) -> RenderedExample:
    """Tokens of a conversation with the wanted answer; begins with exactly what `render_prompt` gives.

    What the template writes after the end-of-turn token (a line end) is left out: no model is asked to say it.

    Raises:
        ModelError: as `render_prompt`; or the template shows the conversation differently once it is answered.
    """
    turns = [m.as_dict() for m in messages]
    answered = [*turns, {"role": "assistant", "content": output}]
    prompt = _ids(tokenizer, turns, prompt=True)
    ids = _ids(tokenizer, answered, prompt=False)
    if ids[: len(prompt)] != prompt:
        ids = prompt + _separate_completion(tokenizer, turns, answered, output)
    special = control_ids(tokenizer)
    end = next((i for i in range(len(prompt), len(ids)) if ids[i] in special), None)
    if end is None:
        return RenderedExample(tuple(ids), len(prompt), end_is_label=False)
    return RenderedExample(tuple(ids[: end + 1]), len(prompt), end_is_label=True)


def stop_ids(tokenizer: Any, generation_config: Any = None) -> tuple[int, ...]:
    """Ids that end an answer, sorted: the model's end-of-sequence tokens and the template's end-of-turn token."""
    found = {tokenizer.eos_token_id, end_of_turn(tokenizer)}
    declared = None if generation_config is None else generation_config.eos_token_id
    found |= set(declared) if isinstance(declared, Iterable) else {declared}
    return tuple(sorted(i for i in found if i is not None))


def end_of_turn(tokenizer: Any) -> int | None:
    """The token that the template writes after the assistant's words; None where it writes none, or has no template."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    rendered = render_example(tokenizer, (Message("user", "a"),), "b")
    return rendered.ids[-1] if rendered.end_is_label else None


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the tokenizer's control tokens: those that are never text."""
    marked = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(marked | set(tokenizer.all_special_ids))


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Texts of the tokenizer's control tokens (end of turn, roles); where an input holds one, it becomes plain text."""
    return tuple(sorted(token.content for token in tokenizer.added_tokens_decoder.values() if token.special))


def _ids(tokenizer: Any, turns: list[dict[str, str]], *, prompt: bool) -> list[int]:
    return list(_apply(tokenizer, turns, prompt, tokenize=True, return_dict=False, sanitize_control_tokens=True))


def _apply(tokenizer: Any, turns: list[dict[str, str]], prompt: bool, **how: Any) -> Any:
    from jinja2 import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            "the model has no chat template",
            why="without one nobody knows how it was taught to take turns; a base model has to be tuned to chat first",
            fix="choose an instruction-tuned model (its name often ends in -Instruct or -it), or put its "
            "chat_template.jinja beside its tokenizer",
        )
    try:
        template = tokenizer.get_chat_template()
        if "strftime_now" in template:
            template = _DATE_MACRO + template
        return tokenizer.apply_chat_template(
            turns, chat_template=template, add_generation_prompt=prompt, enable_thinking=False, **how
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise ModelError(
            f"the model's chat template refuses this conversation ({' → '.join(t['role'] for t in turns)}): {error}",
            why="every conversation is rendered by the model's own template; nothing is moved between roles in silence",
            fix="leave out what it refuses (many templates know no system role: put the instructions into the first "
            "user message), or choose another base",
        ) from error


def _separate_completion(
    tokenizer: Any, turns: list[dict[str, str]], answered: list[dict[str, str]], output: str
) -> list[int]:
    """The completion's tokens on their own, where the tokenizer would melt its first character into the prompt.

    That happens when the prompt ends in a line end and the answer begins with one. A model that is asked gets the
    prompt's tokens as they are and continues, so this is what it has to be taught.
    """
    before = _apply(tokenizer, turns, True, tokenize=False)
    whole = _apply(tokenizer, answered, False, tokenize=False)
    completion = whole[len(before) :]
    ids = list(tokenizer.encode(completion, add_special_tokens=False))
    if not whole.startswith(before) or tokenizer.decode(ids) != completion or output.strip() not in completion:
        raise ModelError(
            "the model's chat template shows a conversation differently once it is answered",
            why="an example has to begin with exactly the prompt that will be served, else the model is taught what "
            "it is never asked",
            fix="choose another base, or repair its chat template (chat_template.jinja): with add_generation_prompt it "
            "must print what stands before the assistant's words in the full conversation",
        )
    return ids
