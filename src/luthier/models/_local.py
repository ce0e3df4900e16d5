"""A transformers model on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.data import Message, content_hash
from luthier.errors import ModelError, Problem, TooLongError
from luthier.models._adapter import attach, read_adapter
from luthier.models._base import Answer, Request
from luthier.models._constrain import Grammars, Matcher
from luthier.models._engine import Engine
from luthier.models._generate import generate
from luthier.models._jobs import Generated, Job
from luthier.models._origin import check_origin, read_origin
from luthier.models._render import end_of_turn, render_prompt, stop_ids
from luthier.models._score import next_token_logprobs, token_logprobs
from luthier.models._tokens import Added, check_vocabulary, longer_module, longer_tokenizer


class LocalModel:
    """A causal language model of transformers with its tokenizer and, maybe, an adapter.

    Made by `load_model`, `wrap` or `with_adapter`. Answers are greedy (the largest logit, no penalties) unless a
    request asks for a sample. On a CPU the weights are fp32, so that batching does not change an answer; on CUDA they
    are bf16, where near ties may fall either way when the batch differs.

    How prompts run together is `batching`: `"prefix"` (full attention: common beginnings are computed once, rows run
    together), `"padded"` (transformers' own batches, padded on the left: unusual attention), `"single"` (state-space
    and other recurrent layers, one prompt at a time). Models with a sliding window are `"prefix"` for prompts that fit
    the window with their answer, and padded beyond it.
    """

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        *,
        name: str,
        identity: str,
        base_identity: str | None = None,
        folder: Path | None = None,
        adapter: Path | None = None,
        added: Added | None = None,
        grammars: Grammars | None = None,
        keeps: bool = True,
    ) -> None:
        self.module, self.tokenizer = module, tokenizer
        self.name, self.identity = name, identity
        self.base_identity = base_identity or identity
        self.folder, self.adapter = folder, adapter
        self.added = added or Added()
        core = module.get_base_model() if hasattr(module, "get_base_model") else module
        self._engine = Engine(core, stop_ids(tokenizer, core.generation_config), keeps=keeps)
        self._grammars = grammars or Grammars(tokenizer, self._engine.vocabulary, self._engine.stops)

    @classmethod
    def wrap(cls, module: Any, tokenizer: Any, *, name: str, identity: str) -> LocalModel:
        """A model that is being trained, to be asked between two steps.

        Nothing of it is copied, kept or changed: it answers in evaluation mode with the weights it has, and gets its
        modes, attention and generation settings back before each answer is given out. `module` may be a PEFT model.
        """
        return cls(module, tokenizer, name=name, identity=identity, keeps=False)

    def with_adapter(self, folder: Path, scale: float = 1.0) -> LocalModel:
        """This model with a LoRA adapter on it; this one stays as it is, and both share the memory of the weights.

        Args:
            folder: PEFT adapter (adapter_config.json and adapter_model.safetensors).
            scale: factor of the adapter's effect; 1 is what was trained, 0 the base.

        Raises:
            ModelError: not such a folder, or an adapter of another base (with every tensor that does not fit).
        """
        origin = read_origin(folder)
        if origin is not None and origin.added_tokens and not self.added.texts:
            return self.with_tokens(origin.added_tokens).with_adapter(folder, scale)
        adapter = read_adapter(folder, scale)
        if self.folder is not None:
            check_origin(folder, self.folder, self.name)
        check_vocabulary(folder, self.tokenizer)
        return LocalModel(
            attach(self.module, adapter),
            self.tokenizer,
            name=f"{self.name} + {folder.name}",
            identity=content_hash({"base": self.identity, "adapter": adapter.identity, "scale": float(scale)}),
            base_identity=self.base_identity,
            folder=self.folder,
            adapter=folder,
            added=self.added,
            grammars=self._grammars,  # reading a tokenizer for constraints takes a second
        )

    def with_tokens(self, tokens: Sequence[str]) -> LocalModel:
        """This model with further tokens, each beginning as the mean of what it was split into before.

        Both share the memory of all weights but the embeddings.

        Raises:
            ModelError: a token is known already, or the architecture cannot take more.
        """
        tokenizer, added = longer_tokenizer(self.tokenizer, tokens)
        return LocalModel(
            longer_module(self.module, added),
            tokenizer,
            name=self.name,
            identity=content_hash({"base": self.identity, "added tokens": list(tokens)}),
            base_identity=self.base_identity,
            folder=self.folder,
            added=added,
        )

    def with_tuning(self, folder: Path, scale: float = 1.0) -> LocalModel:
        """This model with what a fine-tune left in `folder`: an adapter, or all weights (then `scale` says nothing).

        Raises:
            ModelError: as `with_adapter`; or the weights in the folder are damaged.
        """
        if (folder / "adapter_config.json").is_file():
            return self.with_adapter(folder, scale)
        from luthier.models._load import load_folder

        whole = load_folder(folder, name=f"{self.name} + {folder.name}")
        return LocalModel(
            whole.module,
            whole.tokenizer,
            name=whole.name,
            identity=content_hash({"base": self.identity, "weights": whole.identity}),
            base_identity=self.base_identity,
            folder=self.folder,
        )

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answers, greedily unless a request says otherwise; gives (index, answer) batch by batch, in any order.

        `completion_tokens` counts the token that ended the answer; `seconds` is the request's share of wall time.

        Raises:
            TooLongError: before anything is computed, when a prompt is too long; each is named with its tokens.
            ModelError: also before, when the template refuses a conversation or a constraint cannot be compiled.
        """
        jobs = self._jobs(requests)
        for batch in generate(self._engine, jobs):
            for index, generated in batch:
                yield index, self._answer(jobs[index], generated)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens that these messages become."""
        return len(render_prompt(self.tokenizer, messages))

    def logprobs(self, sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> list[NDArray[np.float32]]:
        """Natural log-probability of each token from its sequence's `start` on, given all tokens before it.

        Args:
            sequences: token ids.
            starts: index of the first token wanted in each, at least 1 (nothing stands before the first token).

        Raises:
            ModelError: a sequence is empty or too long, or its start is outside of it.
        """
        return [both[:, 0].copy() for both in self.likelihoods(sequences, starts)]

    def likelihoods(self, sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> list[NDArray[np.float32]]:
        """As `logprobs`, with the log-probability of the likeliest token beside it: float32 [tokens, 2].

        Where both are equal, greedy decoding would have said the token.

        Raises:
            ModelError: as `logprobs`.
        """
        for number, (ids, start) in enumerate(zip(sequences, starts, strict=True)):
            self._check_sequence(number, ids)
            if not 1 <= start <= len(ids):
                raise ModelError(
                    f"sequence {number} has {len(ids)} tokens, so its start cannot be {start}",
                    fix="give a start from 1 to the number of tokens",
                )
        return token_logprobs(self._engine, sequences, starts)

    def choice_logprobs(self, requests: Sequence[Request]) -> list[NDArray[np.float32]]:
        """How likely each choice of a request's constraint is as the whole answer, one array [choices] per request.

        It is the sum of the natural log-probabilities of the choice's tokens and of the token that ends the turn, with
        no choice masked: another measure than a constrained answer, which decides token by token. The choices of all
        requests run as trees behind what the prompts share.

        Raises:
            ModelError: a request has no choices, or prompt and choice are too long together.
        """
        end = end_of_turn(self.tokenizer)
        ends = [self.stop_ids[0] if end is None else end] if self.stop_ids else []
        prompts = [render_prompt(self.tokenizer, request.messages) for request in requests]
        choices = [(request.constraint and request.constraint.choices) or () for request in requests]
        missing = [number for number, texts in enumerate(choices) if not texts]
        if missing:
            raise ModelError(
                f"request {missing[0]} has no choices whose likelihood could be told",
                fix="give it a constraint with choices",
            )
        sequences = [
            [*prompt, *self.tokenizer.encode(text, add_special_tokens=False), *ends]
            for prompt, texts in zip(prompts, choices, strict=True)
            for text in texts
        ]
        starts = [len(prompt) for prompt, texts in zip(prompts, choices, strict=True) for _ in texts]
        sums = np.array([part.sum(dtype=np.float64) for part in self.logprobs(sequences, starts)], dtype=np.float32)
        return np.split(sums, np.cumsum([len(texts) for texts in choices])[:-1])

    def next_token_logprobs(self, sequence: Sequence[int]) -> NDArray[np.float32]:
        """Natural log-probabilities of the whole vocabulary after each token, float32 [tokens, vocabulary].

        Raises:
            ModelError: the sequence is empty or too long.
        """
        self._check_sequence(0, sequence)
        return next_token_logprobs(self._engine, sequence)

    @property
    def n_parameters(self) -> int:
        """Number of weights, tied ones once, adapter included."""
        return sum(p.numel() for p in self.module.parameters())

    @property
    def max_length(self) -> int:
        """Most tokens of prompt and answer together; 2**31 - 1 where the architecture knows no limit."""
        return self._engine.max_length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._engine.device

    @property
    def batching(self) -> str:
        """How prompts run together: "prefix", "padded" or "single" (see the class)."""
        return self._engine.batching.value

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end an answer."""
        return self._engine.stops

    def _jobs(self, requests: Sequence[Request]) -> list[Job]:
        prompts = [tuple(render_prompt(self.tokenizer, request.messages)) for request in requests]
        problems = [
            Problem(
                f"request {number}: {len(prompt)} prompt tokens + {request.max_tokens} for the answer = "
                f"{len(prompt) + request.max_tokens}"
            )
            for number, (prompt, request) in enumerate(zip(prompts, requests, strict=True))
            if len(prompt) + request.max_tokens > self.max_length
        ]
        if problems:
            raise TooLongError(
                f"{len(problems)} request(s) do not fit {self.name}, which takes {self.max_length} tokens",
                why="prompt and answer together must fit the positions that the model was trained on",
                fix="shorten the prompt (fewer demonstrations, fewer or smaller documents), lower max_answer_tokens, "
                "or choose a base with a longer context",
                problems=problems,
            )
        return [
            Job(prompt, request.max_tokens, self._matcher(request), request.sample)
            for prompt, request in zip(prompts, requests, strict=True)
        ]

    def _matcher(self, request: Request) -> Matcher | None:
        return None if request.constraint is None else self._grammars.matcher(request.constraint)

    def _answer(self, job: Job, generated: Generated) -> Answer:
        return Answer(
            text=self.tokenizer.decode(generated.tokens, skip_special_tokens=True),
            prompt_tokens=len(job.prompt),
            completion_tokens=generated.count,
            seconds=generated.seconds,
            finish=generated.finish or "length",
            shared_tokens=generated.shared,
        )

    def _check_sequence(self, number: int, ids: Sequence[int]) -> None:
        if not 1 <= len(ids) <= self.max_length:
            raise ModelError(
                f"sequence {number} has {len(ids)} tokens; {self.name} takes from 1 to {self.max_length}",
                fix="cut the text into pieces that fit",
            )
