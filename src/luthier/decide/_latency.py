"""Whether a rung answers fast enough: read off the evidence, nothing is measured here."""

from __future__ import annotations

from luthier.decide._evidence import RungEvidence
from luthier.spec import LatencySettings


def too_slow(rung: RungEvidence, limits: LatencySettings) -> str:
    """Why a rung is not shown to keep the limits; empty where it keeps them or there are none."""
    wanted = [
        (name, limit) for name, limit in (("p50", limits.p50_seconds), ("p95", limits.p95_seconds)) if limit is not None
    ]
    if not wanted:
        return ""
    timing = rung.timing
    if timing is None or not timing.alone:
        return "how long an answer takes by itself was not measured: luthier decide"
    measured = {"p50": timing.p50, "p95": timing.p95}
    over = [f"{measured[name]:.3g} s at {name}, over {limit:g} s" for name, limit in wanted if measured[name] > limit]
    return f"{' and '.join(over)}, on {timing.answers} answers" if over else ""
