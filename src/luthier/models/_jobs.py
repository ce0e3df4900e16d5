"""What is to be continued, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from luthier.models._base import Sample
from luthier.models._constrain import Matcher


@dataclass(frozen=True)
class Job:
    """A prompt to continue; a matcher belongs to one job and is used up by it."""

    prompt: tuple[int, ...]
    max_tokens: int
    matcher: Matcher | None = None
    sample: Sample | None = None

    @property
    def plain(self) -> bool:
        """Whether the next token is the one with the largest logit, whichever it is."""
        return self.matcher is None and self.sample is None

    def perturbed(self, logits: Tensor, position: int) -> Tensor:
        """Logits, [vocabulary], whose largest is a draw from the softmax of the given ones at the job's temperature.

        Gumbel-max (Gumbel 1954; Maddison et al. 2014): the draw depends on the seed and the position in the answer
        only, so it is the same whatever runs beside it. Without sampling they are the logits as they are.
        """
        if self.sample is None:
            return logits
        stream = np.random.Generator(np.random.Philox(key=[self.sample.seed, position]))
        noise = torch.from_numpy(stream.gumbel(size=logits.shape[-1])).to(logits)
        return logits / self.sample.temperature + noise


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


def share_time(results: Sequence[Generated], started: float) -> float:
    """Divides the time since `started` among these rows; gives the time now."""
    now = time.perf_counter()
    for result in results:
        result.seconds += (now - started) / len(results)
    return now
