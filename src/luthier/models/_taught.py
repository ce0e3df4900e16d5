"""What is learned of a row once it is rendered, or why nothing of it, or the wrong thing, would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.data import Message
from luthier.errors import ModelError
from luthier.models._render import RenderedExample, render_example

FlawCode = Literal["control-token", "template-refuses", "nothing-to-learn", "end-not-learned", "cut-off"]


@dataclass(frozen=True)
class Flaw:
    """Why a row cannot be trained on: a code that is also that of a finding, and what is seen in this row."""

    code: FlawCode
    seen: str = ""


def taught_example(
    tokenizer: Any, messages: Sequence[Message], output: str, special: Sequence[str], limit: int
) -> RenderedExample | Flaw:
    """A row as it is trained, or what is wrong with it; training and the audit both ask here.

    Args:
        tokenizer: of the model, with its chat template.
        messages: the conversation as it will be asked.
        output: the wanted answer.
        special: the `control_tokens` of the tokenizer.
        limit: the most tokens of a row; nothing is ever cut.
    """
    if not output.strip():
        return Flaw("nothing-to-learn", "the answer is empty")
    written = [token for token in special if token in output]
    if written:
        return Flaw("control-token", ", ".join(written))
    try:
        rendered = render_example(tokenizer, messages, output)
    except ModelError as error:
        return Flaw("template-refuses", error.what)
    if rendered.prompt_length < 1:
        return Flaw("template-refuses", "the template writes no prompt before the answer")
    if len(rendered.ids) - rendered.prompt_length < 1 + rendered.end_is_label:  # the end alone is no answer
        return Flaw("nothing-to-learn", "no token of the answer is left to learn")
    if not rendered.end_is_label:
        return Flaw("end-not-learned")
    if len(rendered.ids) > limit:
        return Flaw("cut-off", f"{len(rendered.ids)} tokens")
    return rendered
