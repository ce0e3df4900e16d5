"""What a rung costs, and from which volume another one is cheaper."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from luthier.decide._cost import PROCESSOR, cost_of, machine_price, written_tokens
from luthier.errors import EvidenceError, ModelError
from luthier.evaluate import Record


@dataclass
class Named:
    name: str
    module: Any = field(default_factory=lambda: SimpleNamespace(device="cpu"))


def record(prompt: int, shared: int, answer: int, seconds: float) -> Record:
    return Record("c", "a", 1.0, {}, prompt, shared, answer, seconds, "stop")


RECORDS = [record(1000, 800, 20, 1.0), record(1200, 800, 40, 2.0), record(800, 800, 30, 9.0)]


def sheet(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(
        "{date: 2026-01-31, source: my contract, models: {big: {input: 2.0, cached: 0.2, output: 8.0}}" + text
    )
    return path


def test_a_hosted_model_costs_its_tokens_with_the_cached_share(tmp_path: Path) -> None:
    found = cost_of(RECORDS, Named("https://x/v1#big"), volume=50_000, sheet=sheet(tmp_path, "}"))  # type: ignore[arg-type]  # only the name is read
    # 1000 prompt tokens, 80 % of them cached at a tenth of the price, 30 answer tokens
    assert found.per_1000 == pytest.approx(1000 * (1000 * (0.2 * 2.0 + 0.8 * 0.2) + 30 * 8.0) / 1e6)
    assert found.per_month == pytest.approx(50 * found.per_1000)
    assert (found.prompt_tokens, found.completion_tokens, found.shared, found.seconds) == (1000, 30, 0.8, 2.0)
    assert "my contract" in found.basis and found.once == 0


def test_a_local_model_costs_machine_time() -> None:
    found = cost_of(RECORDS, Named("smollm2-135m"), volume=None, build_seconds=1800)  # type: ignore[arg-type]  # only the name is read
    assert found.per_1000 == pytest.approx(1000 * 4.0 * PROCESSOR.usd_per_hour / 3600)
    assert found.once == pytest.approx(PROCESSOR.usd_per_hour / 2)
    assert found.per_month is None and "assumed" in found.basis
    assert (found.mean_seconds, found.machine, found.build_seconds, found.price) == (4.0, 0.10, 1800, None)


def test_a_machine_with_a_gpu_is_dearer() -> None:
    gpu = Named("m", SimpleNamespace(device="cuda:0"))
    assert machine_price(gpu, None).usd_per_hour > 10 * PROCESSOR.usd_per_hour  # type: ignore[arg-type]  # only the device is read


def test_nothing_measured_costs_nothing_that_could_be_said() -> None:
    with pytest.raises(EvidenceError, match="nothing was measured with m"):
        cost_of([], Named("m"), volume=1)  # type: ignore[arg-type]  # only the name is read


def test_tokens_are_written_to_a_cache_only_where_that_has_a_price(tmp_path: Path) -> None:
    cold = [record(1000, 0, 20, 1.0), record(1000, 800, 20, 1.0), record(700, 500, 20, 1.0)]
    # the kept prefix is 800 tokens: the first request wrote all of it, the last one 200, as its prompt ends after 700
    assert written_tokens(cold) == pytest.approx((800 + 0 + 200) / 3)
    assert written_tokens([record(1000, 0, 20, 1.0)] * 3) == 0
    plain = cost_of(cold, Named("big"), volume=None, sheet=sheet(tmp_path, "}"))  # type: ignore[arg-type]  # only the name is read
    assert plain.written == 0
    path = sheet(tmp_path, "}")
    path.write_text(path.read_text().replace("cached: 0.2", "cached: 0.2, write: 2.5"))
    charged = cost_of(cold, Named("big"), volume=None, sheet=path)  # type: ignore[arg-type]  # only the name is read
    assert charged.per_1000 is not None and plain.per_1000 is not None
    assert charged.per_1000 - plain.per_1000 == pytest.approx(1000 * (1000 / 3) * 0.5 / 1e6)


def test_the_price_of_the_machine_is_the_users_own_where_given(tmp_path: Path) -> None:
    path = sheet(tmp_path, ", machine: {usd_per_hour: 0.5, source: mine, date: 2026-02-01}}")
    found = machine_price(Named("m"), path)  # type: ignore[arg-type]  # only the device is read
    assert (found.usd_per_hour, found.source, found.date) == (0.5, "mine", "2026-02-01")
    with pytest.raises(ModelError, match="is not a price sheet") as caught:
        machine_price(Named("m"), sheet(tmp_path, ", machine: {usd_per_hour: -1}}"))  # type: ignore[arg-type]  # only the device is read
    assert "machine.usd_per_hour: must be greater than 0, not -1" in str(caught.value)
