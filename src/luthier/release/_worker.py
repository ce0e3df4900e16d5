"""The one thread that runs the model for a server, and the queue before it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from luthier.data import Message
from luthier.errors import LuthierError, ModelError, StoreError
from luthier.models import Answer, Request

if TYPE_CHECKING:
    from luthier.decide import System

log = logging.getLogger("luthier.serve")

TOGETHER = 8  # requests that wait are answered in one batch of at most this many


@dataclass(frozen=True, eq=False)
class Job:
    """A client's conversation that waits for its answer. `limit` is the client's own limit of tokens."""

    messages: tuple[Message, ...]
    limit: int | None
    logged: dict[str, Any]
    answer: asyncio.Future[Answer]


class Worker:
    """Answers jobs in order of arrival, on one thread: a model is not safe to run on two.

    Args:
        system: what answers.
        record: called on the worker's thread with (what to log, answer) after each answer.
    """

    def __init__(self, system: System, record: Callable[[dict[str, Any], Answer], None]) -> None:
        self._system = system
        self._record = record
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="luthier-model")
        self.unlogged = ""  # why the last answer could not be logged

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._waiting.qsize()

    def ask(self, messages: tuple[Message, ...], limit: int | None, logged: dict[str, Any]) -> asyncio.Future[Answer]:
        """Queue a conversation. Cancel the future to withdraw it; it raises what the model raised."""
        job = Job(messages, limit, logged, asyncio.get_running_loop().create_future())
        self._waiting.put_nowait(job)
        return job.answer

    async def run(self) -> None:
        """Answer until cancelled; then the jobs that wait are cancelled too, and the thread has ended."""
        loop = asyncio.get_running_loop()
        jobs: list[Job] = []
        try:
            while True:
                jobs = [job for job in await self._next() if not job.answer.cancelled()]
                if not jobs:
                    continue
                batch = loop.run_in_executor(self._threads, self._answer, jobs)
                await asyncio.wait([batch])
                error = batch.exception()
                for place, job in enumerate(jobs):
                    _settle(job, batch.result()[place] if error is None else error)
        finally:
            while not self._waiting.empty():
                jobs.append(self._waiting.get_nowait())
            for job in jobs:
                job.answer.cancel()
            self._threads.shutdown(cancel_futures=True)

    async def _next(self) -> list[Job]:
        jobs = [await self._waiting.get()]
        while len(jobs) < TOGETHER and not self._waiting.empty():
            jobs.append(self._waiting.get_nowait())
        return jobs

    def _answer(self, jobs: Sequence[Job]) -> list[Answer | LuthierError]:
        """On the model's thread: the answer of each job, or what went wrong with it."""
        outcomes: dict[int, Answer | LuthierError] = {}
        requests: dict[int, Request] = {}
        for place, job in enumerate(jobs):
            try:
                requests[place] = self._request(job)
            except LuthierError as error:
                outcomes[place] = error
        try:
            places = list(requests)
            for index, answer in self._system.model.answer(list(requests.values())):
                self._log(jobs[places[index]].logged, answer)
                outcomes[places[index]] = answer
        except ModelError as error:
            outcomes |= self._one_by_one(jobs, [p for p in requests if p not in outcomes], error)
        return [outcomes[place] for place in range(len(jobs))]

    def _one_by_one(self, jobs: Sequence[Job], left: list[int], error: ModelError) -> dict[int, Answer | LuthierError]:
        """After a batch failed: each of the rest by itself, so that only the one at fault fails."""
        if len(jobs) == 1:
            return {place: error for place in left}
        return {place: self._answer([jobs[place]])[0] for place in left}

    def _request(self, job: Job) -> Request:
        request = self._system.request(job.messages)
        if job.limit is not None and job.limit < request.max_tokens:
            return replace(request, max_tokens=job.limit)
        return request

    def _log(self, what: dict[str, Any], answer: Answer) -> None:
        try:
            self._record(what, answer)
        except StoreError as error:  # a client's answer does not wait for room on our disk; /health says it
            self.unlogged = str(error)
            log.error("the answer was given, but not logged: %s", error)
        else:
            self.unlogged = ""


def _settle(job: Job, outcome: Answer | BaseException) -> None:
    if job.answer.done():  # the client has gone
        return
    if isinstance(outcome, BaseException):
        job.answer.set_exception(outcome)
    else:
        job.answer.set_result(outcome)
