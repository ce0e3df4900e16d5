"""Greedy decoding of many prompts: what they share is computed once, rows that end leave the batch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from luthier.models._constrain import Matcher
from luthier.models._engine import Batching, Engine
from luthier.models._plan import Batch, Item, plan, shared_by_all
from luthier.models._prefix import Prefix, Rows, extend
from luthier.models._quiet import quiet

_REPACK = 0.9  # rows are dropped from the cache when at most this share of them is still open: a drop copies the rest


@dataclass(frozen=True)
class Job:
    """A prompt to continue; a matcher belongs to one job and is used up by it."""

    prompt: tuple[int, ...]
    max_tokens: int
    matcher: Matcher | None = None


@dataclass
class Generated:
    """A continuation, and what it took.

    `tokens` are without the one that stopped it, which `count` counts. `shared` prompt tokens were spared; `seconds`
    is the row's share of the wall time.
    """

    tokens: list[int] = field(default_factory=list)
    count: int = 0
    finish: Literal["stop", "length"] | None = None
    seconds: float = 0.0
    shared: int = 0

    def take(self, token: int, job: Job, stops: Sequence[int]) -> None:
        """Adds the next token and sees whether the answer is over."""
        self.count += 1
        if token in stops:
            self.finish = "stop"
            return
        self.tokens.append(token)
        if job.matcher is not None:
            job.matcher.advance(token)
            self._end_by_force(job.matcher.forced_end(), job.max_tokens)
        if self.finish is None and self.count >= job.max_tokens:
            self.finish = "length"

    def _end_by_force(self, rest: list[int] | None, max_tokens: int) -> None:
        if rest is not None:
            room = max_tokens - self.count
            self.tokens += rest[:room]
            self.count += len(rest[:room])
            self.finish = "stop" if len(rest) <= room else "length"


def generate(engine: Engine, jobs: Sequence[Job]) -> Iterator[list[tuple[int, Generated]]]:
    """Continues every prompt greedily; gives (index of the job, continuation) batch by batch, in any order.

    Greedy is the largest of the model's own logits. Sampling settings and repetition penalties in a model's generation
    config are not applied: neither training nor log-probabilities know them. In fp32 the tokens are those of
    transformers' `generate(do_sample=False)` with such settings off, one prompt at a time.

    Between two batches the model is as it was: same modes, same attention, no cache.
    """
    near = [i for i, job in enumerate(jobs) if engine.may_share(len(job.prompt) + job.max_tokens)]
    far = sorted(set(range(len(jobs))) - set(near))
    for numbers, run in ((near, _shared), (far, _plain)):
        for batch in run(engine, [jobs[i] for i in numbers]):
            yield [(numbers[place], generated) for place, generated in batch]


def _shared(engine: Engine, jobs: Sequence[Job]) -> Iterator[list[tuple[int, Generated]]]:
    items = [Item(job.prompt, room=job.max_tokens) for job in jobs]
    shared = shared_by_all(items)
    common: Prefix | None = None
    for batch in plan(items, shared, engine.limits()):
        started = time.perf_counter()
        results = [Generated(shared=batch.prefix) for _ in batch.rows]
        results[0].shared = 0 if common is None else shared  # somebody has to be the first
        ids = jobs[batch.rows[0]].prompt
        with engine.running(shared=False):
            if common is None and shared:
                common = extend(engine.core, None, ids[:shared], engine.device)
            prefix = common
            if batch.prefix > shared:
                prefix = extend(engine.core, common, ids[shared : batch.prefix], engine.device)
        _share_time(results, started)
        with engine.running(shared=True):
            _decode(engine, prefix, [jobs[i] for i in batch.rows], results, batch)
        yield list(zip(batch.rows, results, strict=True))


def _decode(
    engine: Engine, prefix: Prefix | None, jobs: Sequence[Job], results: Sequence[Generated], batch: Batch
) -> None:
    started = time.perf_counter()
    own = [job.prompt[batch.prefix :] for job in jobs]
    rows = Rows(engine.core, prefix, own, max(job.max_tokens for job in jobs), engine.device)
    places = list(range(len(jobs)))  # which job each row of the cache belongs to
    logits = rows.prefill()
    while True:
        tokens = _choose(logits, [jobs[i].matcher if results[i].finish is None else None for i in places])
        is_open = [results[i] for i in places if results[i].finish is None]
        for i, token in zip(places, tokens.tolist(), strict=True):
            if results[i].finish is None:
                results[i].take(token, jobs[i], engine.stops)
        started = _share_time(is_open, started)
        left = [place for place, i in enumerate(places) if results[i].finish is None]
        if not left:
            return
        if len(left) <= _REPACK * len(places):
            rows.keep(left)
            places, tokens = [places[place] for place in left], tokens[left]
        logits = rows.step(tokens)


def _choose(logits: Tensor, matchers: Sequence[Matcher | None]) -> Tensor:
    """The largest logit of each row, among those that its matcher allows; [rows]."""
    for row, matcher in enumerate(matchers):
        if matcher is not None:
            refused = torch.from_numpy(~matcher.allowed()).to(logits.device)
            logits[row].masked_fill_(refused, float("-inf"))
    return logits.argmax(dim=-1)


def _share_time(results: Sequence[Generated], started: float) -> float:
    """Divides the time since `started` among these rows; gives the time now."""
    now = time.perf_counter()
    for result in results:
        result.seconds += (now - started) / len(results)
    return now


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
        _share_time(results, started)
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
    """Applies each row's matcher inside transformers' `generate`."""

    def __init__(self, jobs: Sequence[Job], width: int, stops: Sequence[int]) -> None:
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
