"""Error rates of the whole verdict on tasks with a known truth: the benchmark at a small scale."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "verdict_simulation.py"
    spec = importlib.util.spec_from_file_location("verdict_simulation", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up here
    spec.loader.exec_module(module)
    return module


def at_most(share: float, tasks: int) -> float:
    """The share that is exceeded once in a thousand runs when the true one is `share`."""
    return float(stats.binom.ppf(0.999, tasks, share)) / tasks


@pytest.mark.parametrize(("kind", "tasks"), [("binary", 60), ("graded", 16), ("clustered", 16)])
def test_wrong_adoptions_and_wrong_warrants_are_rare(simulation: ModuleType, kind: str, tasks: int) -> None:
    for truth in simulation.TRUTHS[:3]:
        found = simulation.simulate(kind, truth, tasks=tasks, seed=11)
        assert found.adopted_wrongly <= at_most(0.05, tasks)
        assert found.warranted_wrongly <= at_most(0.05, tasks)
        assert found.covered >= 1 - at_most(0.05, tasks)


@pytest.mark.parametrize(("kind", "share"), [("binary", 0.8), ("graded", 0.9), ("clustered", 0.5)])
def test_clear_truths_are_found_with_few_answers(simulation: ModuleType, kind: str, share: float) -> None:
    enough, needed, hopeless = (simulation.simulate(kind, t, tasks=12, seed=12) for t in simulation.TRUTHS[3:])
    assert min(enough.right, needed.right) >= share and hopeless.right >= 0.97
    assert hopeless.answers <= 0.4 and enough.answers <= 0.6
