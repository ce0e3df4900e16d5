"""vLLM as the engine of a local model, where CUDA and vLLM are there.

Written against the API of vLLM 0.12 and later (`SamplingParams.structured_outputs`, `LLM.generate` on `TokensPrompt`s,
`LoRARequest`). Our side is tested with a stand-in for vLLM; it has not been run on a GPU yet.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from luthier.data import Message, content_hash
from luthier.models._base import Answer, Constraint, Request
from luthier.models._constrain import JSON_STYLE
from luthier.models._identity import ADAPTER_CONFIG
from luthier.models._jobs import Job
from luthier.models._local import LocalModel
from luthier.store import read_json

log = logging.getLogger(__name__)

_AT_ONCE = 512  # requests that are handed over together; what they share is in vLLM's prefix cache
_MEMORY = 0.5  # of what is free on the GPU: training and scoring with transformers need the rest
_LORA_RANK = 64  # vLLM reserves room for this rank; an adapter of a higher one is run by transformers
# What vLLM refuses, or passes over in silence.
_NOT_BY_VLLM = ("use_dora", "modules_to_save", "trainable_token_indices", "rank_pattern", "alpha_pattern")
_SAMPLE = ("Say hello.", "What is the capital of France?", "Count from one to ten.", "Name three colours.")
_SAMPLE_TOKENS = 16
# How a model that vLLM does not take, too little memory, or a vLLM with another interface shows.
_FAILURES = (ImportError, OSError, RuntimeError, ValueError, KeyError, AssertionError, TypeError, AttributeError)
_TIE = 0.1  # nats between the two best tokens: in bf16 either may come first


def vllm_is_there() -> bool:
    """Whether models can be run by vLLM here."""
    return torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None


class VllmModel(LocalModel):
    """A local model whose answers vLLM gives; log-probabilities and training stay with transformers.

    Its identity names the engine: in half precision two engines round differently, and what was measured is what is
    served.
    """

    _engine_of_vllm: _Engine | None = None
    _lora: Any = None

    @classmethod
    def over(cls, model: LocalModel) -> LocalModel:
        """The same model, answered by vLLM. It must have been loaded from a folder.

        The engine starts, and answers a sample that transformers answers as well. Where they differ by more than a tie,
        or vLLM cannot load the model, that is logged and the model stays as it is.
        """
        engine = _Engine(model)
        if not engine.works:
            return model
        from vllm import __version__

        found = cls._like(model, content_hash({"model": model.identity, "engine": "vllm", "version": __version__}))
        found._engine_of_vllm = engine
        return found

    @classmethod
    def _like(cls, model: LocalModel, identity: str) -> VllmModel:
        return cls(
            model.module,
            model.tokenizer,
            name=model.name,
            identity=identity,
            base_identity=model.base_identity,
            folder=model.folder,
            adapter=model.adapter,
            grammars=model._grammars,
        )

    def with_adapter(self, folder: Path, scale: float = 1.0) -> LocalModel:
        """As `LocalModel.with_adapter`; run by vLLM too, except for what its LoRA support leaves out."""
        model = super().with_adapter(folder, scale)
        config = read_json(folder / ADAPTER_CONFIG)
        left_out = [name for name in _NOT_BY_VLLM if config.get(name)]
        if scale != 1.0 or left_out or config.get("r", 0) > _LORA_RANK or config.get("bias", "none") != "none":
            return model
        found = self._like(model, model.identity)
        found._engine_of_vllm = self._engine_of_vllm
        found._lora = None if self._engine_of_vllm is None else self._engine_of_vllm.lora(folder)
        return found

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """As `LocalModel.answer`; `seconds` is an equal share of the wall time of what was asked together."""
        jobs = self._jobs(requests)
        engine = self._engine_of_vllm
        if engine is None:
            yield from super().answer(requests)
            return
        for start in range(0, len(jobs), _AT_ONCE):
            part = list(zip(jobs, requests, strict=True))[start : start + _AT_ONCE]
            started = time.perf_counter()
            outputs = engine.generate([(job, request.constraint) for job, request in part], self._lora)
            seconds = (time.perf_counter() - started) / len(part)
            for index, (output, (job, _)) in enumerate(zip(outputs, part, strict=True), start):
                yield index, self._answer_of(output, job, seconds)

    def _answer_of(self, output: Any, job: Job, seconds: float) -> Answer:
        [said] = output.outputs
        tokens = _without_stop(said.token_ids, self.stop_ids)
        return Answer(
            text=self.tokenizer.decode(tokens, skip_special_tokens=True),
            prompt_tokens=len(job.prompt),
            completion_tokens=len(said.token_ids),
            seconds=seconds,
            finish="stop" if said.finish_reason == "stop" else "length",
            shared_tokens=output.num_cached_tokens or 0,
        )


@dataclass
class _Engine:
    """One `vllm.LLM`, shared by a base and its adapters."""

    model: LocalModel

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    @cached_property
    def works(self) -> bool:
        """Whether vLLM runs this model and says what transformers says; if not, the reason was logged."""
        try:
            differing = [text for text in _SAMPLE if not self._says_the_same(text)]
        except _FAILURES as error:
            told = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.warning("vLLM cannot run %s (%s); transformers answers instead", self.model.name, told)
            return False
        if differing:
            log.warning(
                "vLLM and transformers answer %d of %d sample requests to %s differently, by more than a tie "
                "(first: %r); transformers answers instead",
                len(differing),
                len(_SAMPLE),
                self.model.name,
                differing[0],
            )
        return not differing

    @cached_property
    def _llm(self) -> Any:
        from vllm import LLM

        free, whole = torch.cuda.mem_get_info(self.model.device)
        return LLM(
            model=str(self.model.folder),
            dtype=str(self.model.module.dtype).removeprefix("torch."),
            trust_remote_code=False,
            seed=0,
            gpu_memory_utilization=_MEMORY * free / whole,
            enable_prefix_caching=True,
            enable_lora=True,
            max_lora_rank=_LORA_RANK,
            structured_outputs_config={"backend": "guidance"},  # llguidance, as here
        )

    def lora(self, folder: Path) -> Any:
        """An adapter, to be named with a request."""
        from vllm.lora.request import LoRARequest

        number = next(self._numbers)
        return LoRARequest(f"adapter-{number}", number, str(folder))

    def generate(self, asked: Sequence[tuple[Job, Constraint | None]], lora: Any = None) -> list[Any]:
        """The outputs of vLLM, in order; greedy where a job does not sample."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        settings = [
            SamplingParams(
                temperature=0.0 if job.sample is None else job.sample.temperature,
                **({} if job.sample is None else {"seed": job.sample.seed}),
                max_tokens=job.max_tokens,
                stop_token_ids=list(self.model.stop_ids),
                detokenize=False,
                structured_outputs=None if constraint is None else _structured(constraint),
            )
            for job, constraint in asked
        ]
        prompts = [TokensPrompt(prompt_token_ids=list(job.prompt)) for job, _ in asked]
        outputs: list[Any] = self._llm.generate(prompts, settings, use_tqdm=False, lora_request=lora)
        return outputs

    def _says_the_same(self, text: str) -> bool:
        """Whether vLLM's tokens are the greedy ones of transformers, up to the first near tie."""
        [job] = self.model._jobs([Request((Message("user", text),), _SAMPLE_TOKENS)])
        [output] = self.generate([(job, None)])
        said = [int(token) for token in output.outputs[0].token_ids]
        after = self.model.next_token_logprobs([*job.prompt, *said])[len(job.prompt) - 1 : -1]
        for token, logprobs in zip(said, after, strict=True):
            behind = float(logprobs.max() - logprobs[token])
            if behind > 0:
                return behind <= _TIE  # after a tie the two go their own ways
        return True


def _structured(constraint: Constraint) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    if constraint.choices is not None:
        return StructuredOutputsParams(choice=sorted(constraint.choices))
    schema = json.loads(constraint.json_schema or "{}")
    # llguidance reads its options from the schema as well: the same JSON style as when transformers answers.
    return StructuredOutputsParams(json=schema | {"x-guidance": JSON_STYLE})


def _without_stop(tokens: Sequence[int], stops: Sequence[int]) -> list[int]:
    kept = list(tokens)
    while kept and kept[-1] in stops:
        kept.pop()
    return kept
