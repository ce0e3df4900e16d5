"""A model that says what it is told to: the whole product runs on it in seconds, without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from luthier.data import Message, content_hash
from luthier.errors import ModelError
from luthier.models._base import Answer, Request
from luthier.store import read_json


class ScriptedModel:
    """Answers from a function, or from a mapping of the last message's text to the answer.

    A token is a word here, so counts and the `max_tokens` limit are exact and need no tokenizer. Constraints are not
    enforced: the script says what a model under the constraint would have said.

    Args:
        answers: what to say. A mapping may have the key `"*"`, which answers everything that is not in it.
        name: as the user names it.
        identity: needed to tell two functions apart; a mapping is its own identity.
    """

    def __init__(
        self,
        answers: Callable[[Request], str] | Mapping[str, str],
        *,
        name: str = "scripted",
        identity: str | None = None,
    ) -> None:
        self.name = name
        self._answers = answers
        script = dict(answers) if isinstance(answers, Mapping) else None
        self.identity = identity or content_hash({"scripted": name, "answers": script})

    @classmethod
    def from_file(cls, path: Path) -> ScriptedModel:
        """A script kept as a JSON object of texts.

        Raises:
            StoreError: the file is missing or is not JSON.
            ModelError: it is not an object of texts.
        """
        script = read_json(path)
        if not isinstance(script, dict) or not all(isinstance(text, str) for text in script.values()):
            raise ModelError(
                f"{path} is not a script",
                why="a script is one JSON object whose keys are last messages and whose values are answers, all texts",
                fix='write for example {"Where is my parcel?": "shipping", "*": "other"}',
            )
        return cls(script, name=f"scripted:{path}")

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answers in order, each at once.

        Raises:
            ModelError: the script has no answer; the request is named.
        """
        for index, request in enumerate(requests):
            text = self._say(index, request)
            words = text.split()
            cut = len(words) > request.max_tokens
            yield (
                index,
                Answer(
                    text=" ".join(words[: request.max_tokens]) if cut else text,
                    prompt_tokens=self.count_tokens(request.messages),
                    completion_tokens=min(len(words), request.max_tokens),
                    seconds=0.0,
                    finish="length" if cut else "stop",
                ),
            )

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Number of words."""
        return sum(len(m.content.split()) for m in messages)

    def _say(self, index: int, request: Request) -> str:
        if not isinstance(self._answers, Mapping):
            return self._answers(request)
        asked = request.messages[-1].content
        said = self._answers.get(asked, self._answers.get("*"))
        if said is None:
            raise ModelError(
                f"the script of {self.name} has no answer to request {index}: {asked[:80]!r}",
                fix='add that text as a key, or a key "*" that answers everything else',
            )
        return said
