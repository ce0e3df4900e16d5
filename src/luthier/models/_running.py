"""A running batch: rows that end leave it, prompts that wait join it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from luthier.models._attention import KeyValues
from luthier.models._constrain import Matcher
from luthier.models._engine import Engine
from luthier.models._jobs import Generated, Job, share_time
from luthier.models._plan import Stream, trees
from luthier.models._prefix import extend
from luthier.models._rows import Rows, run_tree
from luthier.models._trie import Integers, lay_down

_REPACK = 0.9  # rows are dropped from the cache when at most this share of them is still open: a drop copies the rest
# Prompts join when at most this share of the places is taken. Each joining costs a pass, each empty place its share of
# a pass in every step: for answers of 30 tokens the sum is least at 1 - sqrt(2 / 30) = 0.74, and flat around it.
_REFILL = 0.75


class Running:
    """The jobs of one stream, of which as many are open at a time as fit.

    Args:
        engine: the model.
        jobs: among which the stream's rows are.
        results: of all jobs; those of the stream are filled in.
        stream: which jobs, in which order, behind which beginning.
    """

    def __init__(self, engine: Engine, jobs: Sequence[Job], results: Sequence[Generated], stream: Stream) -> None:
        self._engine, self._jobs, self._results = engine, jobs, results
        self._limits = engine.limits()
        self._waiting = deque(stream.rows)
        self._places: list[int] = []  # which job each row of the batch belongs to
        self._tokens: list[int] = []  # each row's next token
        self._full = 0  # rows that were open when the last ones joined
        self._ended: list[int] = []
        started = time.perf_counter()
        first = stream.rows[0]
        self._prefix, kept = engine.beginning(jobs[first].prompt[: stream.prefix])
        self._before = stream.prefix
        self._rows = Rows(engine.core, self._prefix, engine.device)
        for i in stream.rows:
            results[i].shared = kept if i == first else stream.prefix  # somebody has to be the first
        share_time([results[i] for i in stream.rows], started)

    @property
    def goes_on(self) -> bool:
        """Whether a job is not done."""
        return bool(self._waiting or self._open)

    @property
    def _open(self) -> list[int]:
        return [i for i in self._places if self._results[i].finish is None]

    def advance(self) -> list[int]:
        """Lets prompts join, and continues all rows until others may join; gives the jobs that ended."""
        with self._engine.running(shared=True):
            self._take_up()
            while self._open and not (self._waiting and len(self._open) <= _REFILL * self._full):
                self._step()
        ended, self._ended = self._ended, []
        return ended

    def _take_up(self) -> None:
        chosen = self._fitting()
        self._full = len(self._open) + len(chosen)
        if not chosen:
            return
        self._drop_ended()
        own = [self._jobs[i].prompt[self._before :] for i in chosen]
        for part in trees(own, self._limits.prefill):
            self._prefill([chosen[place] for place in part], [own[place] for place in part])

    def _fitting(self) -> list[int]:
        """Takes from those that wait as many as there is room for; at least one if nothing runs."""
        now = self._open
        need = max((self._room(i) for i in now), default=0)
        chosen: list[int] = []
        while self._waiting and len(now) + len(chosen) < self._limits.rows:
            need = max(need, self._room(self._waiting[0]))
            rows = len(now) + len(chosen) + 1
            if rows > 1 and self._before + rows * need > self._limits.cache:
                break
            chosen.append(self._waiting.popleft())
        return chosen

    def _room(self, i: int) -> int:
        return len(self._jobs[i].prompt) - self._before + self._jobs[i].max_tokens

    def _prefill(self, numbers: Sequence[int], own: Sequence[tuple[int, ...]]) -> None:
        """Runs prompts as one tree; those that are not answered by that become rows."""
        started = time.perf_counter()
        ahead = [self._ahead(self._jobs[i].matcher, len(numbers)) for i in numbers]
        branches = [(*ids, *more) for ids, follows in zip(own, ahead, strict=True) for more in follows]
        if len(own) == 1 and not branches and len(own[0]) > self._limits.prefill:
            paths, logits, found = self._run_long(own[0])
            steps, places = {}, {int(paths[0][-1]): 0}
        else:
            trie = lay_down([*own, *branches])
            paths = trie.paths[: len(own)]
            # A step from a token to one of those that were run ahead.
            tips = [path[-1] for path in trie.paths[len(own) :]]
            steps = {(int(trie.parents[tip]), int(trie.ids[tip])): int(tip) for tip in tips}
            kept = np.unique(np.asarray([path[-1] for path in paths] + tips))
            places = {int(node): place for place, node in enumerate(kept)}
            logits, found = run_tree(self._engine.core, self._prefix, trie, kept, self._engine.device)
        self._count_shared(numbers, paths)
        best = logits.argmax(dim=-1).tolist()
        joining: list[Integers] = []
        for i, path in zip(numbers, paths, strict=True):
            node, walked = int(path[-1]), [int(node) for node in path]
            while True:
                token = best[places[node]] if self._jobs[i].plain else self._chosen(i, logits[places[node]])
                self._take(i, token)
                if self._results[i].finish is not None or (node, token) not in steps:
                    break
                node = steps[node, token]
                walked.append(node)
            if self._results[i].finish is None:
                joining.append(np.asarray(walked, dtype=np.int64))
                self._places.append(i)
                self._tokens.append(token)
        if joining:
            self._rows.join(found, joining)
        share_time([self._results[i] for i in numbers], started)

    def _ahead(self, matcher: Matcher | None, rows: int) -> frozenset[tuple[int, ...]]:
        """Tokens to run with a prompt because the answer may go through them: where that is cheaper than half a step.

        Half, because most answers need no step: of 16 to banking77's 77 labels (49 decisions), 2 needed one, and
        running all decisions ahead took 8.2 s instead of 1.0.
        """
        decisions = frozenset() if matcher is None else matcher.decisions
        return decisions if 2 * len(decisions) <= 1 + self._limits.overhead // rows else frozenset()

    def _run_long(self, own: tuple[int, ...]) -> tuple[tuple[Integers, ...], Tensor, KeyValues]:
        """A prompt too long for a tree, under the model's plain attention, whose memory does not grow with a square."""
        with self._engine.running(shared=False):
            whole, logits = extend(self._engine.core, self._prefix, own, self._engine.device)
        found = [(keys[:, self._before :], values[:, self._before :]) for keys, values in whole.layers]
        return (np.arange(len(own)),), logits[None], found

    def _count_shared(self, numbers: Sequence[int], paths: Sequence[Integers]) -> None:
        seen: set[int] = set()
        for i, path in zip(numbers, paths, strict=True):
            nodes = path.tolist()
            self._results[i].shared += sum(node in seen for node in nodes)
            seen.update(nodes)

    def _step(self) -> None:
        started = time.perf_counter()
        if len(self._open) <= _REPACK * len(self._places):
            self._drop_ended()
        logits = self._rows.step(torch.tensor(self._tokens, device=self._engine.device))
        now = self._open
        self._tokens = logits.argmax(dim=-1).tolist()
        for place, i in enumerate(self._places):
            if self._results[i].finish is None:
                if not self._jobs[i].plain:
                    self._tokens[place] = self._chosen(i, logits[place])
                self._take(i, self._tokens[place])
        share_time([self._results[i] for i in now], started)

    def _chosen(self, i: int, logits: Tensor) -> int:
        """The next token of a job that samples, or may not take every token."""
        job = self._jobs[i]
        drawn = job.perturbed(logits, self._results[i].count)
        return int(drawn.argmax()) if job.matcher is None else _best_allowed(drawn, job.matcher)

    def _take(self, i: int, token: int) -> None:
        self._results[i].take(token, self._jobs[i], self._engine.stops)
        if self._results[i].finish is not None:
            self._ended.append(i)

    def _drop_ended(self) -> None:
        left = [place for place, i in enumerate(self._places) if self._results[i].finish is None]
        if len(left) < len(self._places):
            self._rows.keep(left)
            self._places, self._tokens = ([kind[place] for place in left] for kind in (self._places, self._tokens))


def _best_allowed(logits: Tensor, matcher: Matcher) -> int:
    """The token with the largest of these logits, [vocabulary], among those that the matcher allows."""
    refused = torch.from_numpy(~matcher.allowed()).to(logits.device)
    return int(logits.masked_fill(refused, float("-inf")).argmax())
