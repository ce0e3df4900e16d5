"""Decoding of many prompts, greedy or sampled: by a running batch where rows may share, else by transformers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from luthier.models._engine import Batching, Engine
from luthier.models._jobs import Generated, Job, share_time
from luthier.models._plan import Item, Stream, plan
from luthier.models._quiet import quiet
from luthier.models._running import Running


def generate(engine: Engine, jobs: Sequence[Job]) -> Iterator[list[tuple[int, Generated]]]:
    """Continues every prompt; gives (index of the job, continuation), some at a time, in any order.

    Where a job samples, its tokens are draws that depend on its seed alone (see `Job.perturbed`); else it is greedy.

    Greedy is the largest of the model's own logits. Sampling settings and repetition penalties in a model's generation
    config are not applied: neither training nor log-probabilities know them. In fp32 the tokens are those of
    transformers' `generate(do_sample=False)` with such settings off, one prompt at a time.

    Whenever continuations are given out, the model is as it was: same modes, same attention.
    """
    near = [i for i, job in enumerate(jobs) if engine.may_share(len(job.prompt) + job.max_tokens)]
    far = sorted(set(range(len(jobs))) - set(near))
    try:
        for numbers, run in ((near, _shared), (far, _plain)):
            for batch in run(engine, [jobs[i] for i in numbers]):
                yield [(numbers[place], generated) for place, generated in batch]
    finally:
        engine.finish()


def _shared(engine: Engine, jobs: Sequence[Job]) -> Iterator[list[tuple[int, Generated]]]:
    results = [Generated() for _ in jobs]
    for stream in _streams(engine, jobs):
        running = Running(engine, jobs, results, stream)
        while running.goes_on:
            yield [(i, results[i]) for i in running.advance()]


def _streams(engine: Engine, jobs: Sequence[Job]) -> list[Stream]:
    if len(jobs) == 1:  # nothing to share with, except what was asked before
        return [Stream((0,), engine.beginnings.came_before(jobs[0].prompt))]
    return plan([Item(job.prompt, room=job.max_tokens) for job in jobs], engine.limits())


def _plain(engine: Engine, jobs: Sequence[Job]) -> Iterator[list[tuple[int, Generated]]]:
    """By transformers' own `generate`, where rows cannot share a beginning: in padded batches, or one by one."""
    limits = engine.limits()
    order = sorted(range(len(jobs)), key=lambda i: -len(jobs[i].prompt))
    while order:
        longest = len(jobs[order[0]].prompt) + max(jobs[i].max_tokens for i in order)
        rows = min(limits.rows, limits.prefill // longest, limits.cache // longest)
        size = 1 if engine.batching is Batching.SINGLE else max(1, rows)
        batch, order = order[:size], order[size:]
        started = time.perf_counter()
        with engine.running(shared=False), quiet(), _own_settings(engine.core):
            results = _by_transformers(engine, [jobs[i] for i in batch])
        share_time(results, started)
        yield list(zip(batch, results, strict=True))


def _by_transformers(engine: Engine, jobs: Sequence[Job]) -> list[Generated]:
    width = max(len(job.prompt) for job in jobs)
    pad = engine.stops[0] if engine.stops else 0
    ids = torch.tensor([[pad] * (width - len(job.prompt)) + list(job.prompt) for job in jobs])
    mask = torch.tensor([[0] * (width - len(job.prompt)) + [1] * len(job.prompt) for job in jobs])
    settings = _settings(
        do_sample=False,
        max_new_tokens=max(job.max_tokens for job in jobs),
        eos_token_id=list(engine.stops) or None,
        pad_token_id=pad,
    )
    out = engine.core.generate(
        ids.to(engine.device),
        attention_mask=mask.to(engine.device),
        generation_config=settings,
        logits_processor=LogitsProcessorList([_Masks(jobs, width, engine.stops)]),
    )
    results = [Generated() for _ in jobs]
    for job, result, tokens in zip(jobs, results, out[:, width:].tolist(), strict=True):
        for token in tokens:
            if result.finish is None:
                result.take(token, Job(job.prompt, job.max_tokens), engine.stops)
    return results


_settings: Any = GenerationConfig  # whose __init__ has no types


class _Masks(LogitsProcessor):
    """Applies each row's matcher, and the noise of those that sample, inside transformers' `generate`."""

    def __init__(self, jobs: Sequence[Job], width: int, stops: Sequence[int]) -> None:
        self._jobs = jobs
        self._matchers = [job.matcher for job in jobs]
        self._width, self._stops = width, stops

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] > self._width:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                matcher = self._matchers[row]
                if matcher is not None and token in self._stops:
                    self._matchers[row] = None
                elif matcher is not None:
                    matcher.advance(token)
        for row, job in enumerate(self._jobs):
            scores[row] = job.perturbed(scores[row], input_ids.shape[1] - self._width)
        for row, matcher in enumerate(self._matchers):
            if matcher is not None:
                refused = torch.from_numpy(~matcher.allowed()).to(scores.device)
                scores[row] = scores[row].masked_fill(refused, float("-inf"))
        return scores


@contextmanager
def _own_settings(core: Any) -> Iterator[None]:
    """The model's generation config put aside: `generate` would fill in its penalties wherever ours says nothing."""
    before = core.generation_config
    core.generation_config = _settings()
    try:
        yield
    finally:
        core.generation_config = before
