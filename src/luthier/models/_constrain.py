"""What an answer may look like, as a mask over the next token (llguidance)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ModelError
from luthier.models._base import Constraint

# One optional blank between JSON's tokens: it fits both compact and `json.dumps` style, and a small model cannot walk
# into endless white space, which flexible white space lets it do.
JSON_STYLE: Any = {"whitespace_pattern": " ?"}


class Grammars:
    """Compiles constraints for one tokenizer; each constraint once.

    Args:
        tokenizer: of transformers, fast.
        vocabulary: number of logits of the model (at least the tokenizer's size).
        stops: ids that end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, stops: Sequence[int]) -> None:
        self._tokenizer, self._vocabulary, self._stops = tokenizer, vocabulary, tuple(stops)
        self._native: Any = None
        self._compiled: dict[Constraint, tuple[Any, frozenset[tuple[int, ...]]]] = {}

    def matcher(self, constraint: Constraint) -> Matcher:
        """A fresh matcher that stands at the start of an answer.

        Raises:
            ModelError: the constraint cannot be compiled (an unsupported schema), or the tokenizer cannot be read.
        """
        if constraint not in self._compiled:
            self._compiled[constraint] = self._compile(constraint), self._decisions(constraint.choices or ())
        native, decisions = self._compiled[constraint]
        return Matcher(native.deep_copy(), self._vocabulary, decisions)

    def _decisions(self, choices: Sequence[str]) -> frozenset[tuple[int, ...]]:
        """Where, inside the choices as the tokenizer writes them, more than one choice is still possible."""
        found = set()
        for choice in choices:
            tokens = tuple(self._tokenizer.encode(choice, add_special_tokens=False))
            for length in range(1, len(tokens) + 1):
                begun = self._tokenizer.decode(tokens[:length])
                if sum(other.startswith(begun) for other in choices) < 2:
                    break
                found.add(tokens[:length])
        return frozenset(found)

    def _compile(self, constraint: Constraint) -> Any:
        from llguidance import LLMatcher

        if self._native is None:
            self._native = self._read_tokenizer()
        try:
            grammar = _grammar(constraint)
            problem = LLMatcher.validate_grammar(grammar, self._native)
            if problem:
                raise ValueError(problem)
            return LLMatcher(self._native, grammar)
        except ValueError as error:
            kind = "JSON schema" if constraint.choices is None else "set of choices"
            raise ModelError(
                f"the {kind} cannot be used to constrain answers: {str(error).strip()}",
                fix="change that part of the schema (llguidance names what it does not support), or leave the rung out",
            ) from error

    def _read_tokenizer(self) -> Any:
        from llguidance.hf import from_tokenizer

        try:
            return from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=list(self._stops))
        except ValueError as error:
            raise ModelError(
                f"the model's tokenizer cannot be used to constrain answers: {error}",
                fix="choose a base with a fast tokenizer (tokenizer.json), or leave constrained decoding out",
            ) from error


class Matcher:
    """Where one answer stands in its grammar.

    `decisions` are beginnings of answers after which the model has to choose, if they are known: they can be run with
    the prompt, in one pass.
    """

    def __init__(self, native: Any, vocabulary: int, decisions: frozenset[tuple[int, ...]] = frozenset()) -> None:
        self._native, self.decisions = native, decisions
        self._words = np.empty((vocabulary + 31) // 32, dtype=np.int32)
        self._vocabulary = vocabulary

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape [vocabulary].

        Raises:
            ModelError: the grammar has no way on.
        """
        self._native.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
        self._check()
        bits = np.unpackbits(self._words.view(np.uint8), count=self._vocabulary, bitorder="little")
        return bits.view(np.bool_)

    def advance(self, token: int) -> None:
        """Takes the token that was chosen.

        Raises:
            ModelError: it was not allowed.
        """
        self._native.consume_token(token)
        self._check()

    def forced_end(self) -> list[int] | None:
        """The tokens that are left where only one ending is possible ([]: none); None where there is a choice.

        With it an answer ends without asking the model for what it cannot say differently: the text is the same.
        """
        if self._native.is_stopped():
            return []
        forced: list[int] = self._native.compute_ff_tokens()
        if not forced:
            return None
        ahead = self._native.deep_copy()
        return forced if ahead.consume_tokens(forced) and ahead.is_stopped() else None

    def _check(self) -> None:
        if self._native.is_error():
            raise ModelError(
                f"constrained decoding failed: {self._native.get_error()}",
                fix="simplify the JSON schema (long patterns and deep nesting are the usual cause)",
            )


def _grammar(constraint: Constraint) -> str:
    from llguidance import LLMatcher

    if constraint.choices is not None:
        if not constraint.choices or not all(constraint.choices):
            raise ValueError("a set of choices must hold at least one text, and no empty one")
        return str(LLMatcher.grammar_from_lark("start: " + " | ".join(_quoted(c) for c in sorted(constraint.choices))))
    if constraint.json_schema is None:
        raise ValueError("neither choices nor a schema is given")
    return str(LLMatcher.grammar_from_json_schema(constraint.json_schema, overrides=JSON_STYLE))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
