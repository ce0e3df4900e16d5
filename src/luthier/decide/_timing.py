"""How long answers take."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from luthier import models
from luthier.decide._bench import Bench
from luthier.decide._evidence import Timing
from luthier.decide._system import System
from luthier.evaluate import Record

PROBES = 20  # answers asked one by one; the first besides, which warms up, is not counted


def timing_of(seconds: Sequence[float], *, alone: bool) -> Timing:
    """Median and 95th percentile (linear between the nearest answers) of times of answers, at least one."""
    p50, p95 = np.quantile(np.asarray(seconds, dtype=float), (0.5, 0.95))
    return Timing(float(p50), float(p95), len(seconds), alone)


def measure_timing(system: System, records: Sequence[Record], bench: Bench) -> Timing:
    """The time of an answer: as measured with a hosted model, which is asked request by request; else asked anew.

    A local model answers many cases together, so that their seconds are shares. Where the task limits latency, up to 20
    test cases are answered once more, one by one.
    """
    seconds = [record.seconds for record in records]
    limits = bench.task.latency
    limited = limits.p50_seconds is not None or limits.p95_seconds is not None
    if isinstance(models.asked_model(system.model), models.EndpointModel):
        looked_up = _lookup_seconds(system, bench) if limited else 0.0
        return timing_of([second + looked_up for second in seconds], alone=True)
    if not limited:
        return timing_of(seconds, alone=False)
    cases = bench.test[:PROBES]
    found = []
    for number, case in enumerate((cases[0], *cases)):
        began = time.perf_counter()
        request = system.request(case.messages)  # with what is looked up for it
        list(system.model.answer([request]))
        found.append(time.perf_counter() - began)
        bench.progress(f"timing {system.setup.method}", number, len(cases), "answers one by one")
    return timing_of(found[1:], alone=True)


def _lookup_seconds(system: System, bench: Bench) -> float:
    """Median time of what happens before a request is sent: demonstrations and passages are looked up."""
    found = []
    for case in (bench.test[0], *bench.test[:PROBES]):
        began = time.perf_counter()
        system.request(case.messages)
        found.append(time.perf_counter() - began)
    return float(np.median(found[1:]))
