"""The recipe: tables by size, schedule, saving."""

import json
from itertools import pairwise

import pytest

from luthier.errors import TrainingError
from luthier.spec import TrainSettings
from luthier.train import Recipe


@pytest.mark.parametrize(
    ("n", "batch", "epochs"), [(300, 8, 4.0), (2_000, 16, 3.0), (8_000, 32, 3.0), (20_000, 32, 1.0)]
)
def test_batch_and_epochs_by_number_of_rows(n, batch, epochs):
    recipe = Recipe.for_task(TrainSettings(), n, 135_000_000)
    assert (recipe.batch_size, recipe.epochs) == (batch, epochs)


@pytest.mark.parametrize("n", [5, 40, 100])
def test_few_rows_get_at_least_sixty_steps(n):
    recipe = Recipe.for_task(TrainSettings(), n, 135_000_000)
    assert recipe.steps(n) == pytest.approx(max(60, n), abs=1)


def test_many_rows_get_at_most_two_thousand_steps():
    assert Recipe.for_task(TrainSettings(), 200_000, 135_000_000).steps(200_000) == 2000


@pytest.mark.parametrize(
    ("parameters", "lora", "full"),
    [(135e6, 5e-4, 5e-5), (3e9, 5e-4, 3e-5), (8e9, 2.5e-4, 1.5e-5), (70e9, 2e-4, 7e-6)],
)
def test_learning_rate_by_size(parameters, lora, full):
    assert Recipe.for_task(TrainSettings(), 300, int(parameters)).learning_rate == lora
    recipe = Recipe.for_task(TrainSettings(method="full"), 300, int(parameters))
    assert (recipe.learning_rate, recipe.weight_decay) == (full, 0.01)


def test_settings_win_over_tables():
    settings = TrainSettings(learning_rate=1e-3, epochs=0.5, batch_size=3, rank=2, max_length=99, seed=7)
    recipe = Recipe.for_task(settings, 300, 135_000_000, completion_tokens=10**9)
    assert (recipe.learning_rate, recipe.epochs, recipe.batch_size) == (1e-3, 0.5, 3)
    assert (recipe.rank, recipe.max_length, recipe.seed) == (2, 99, 7)


def test_what_bounds_memory_is_a_setting_that_a_run_is_not_known_by():
    settings = TrainSettings(micro_batch_tokens=128)
    small, usual = (Recipe.for_task(s, 300, 135_000_000) for s in (settings, TrainSettings()))
    assert (small.tokens_per_micro_batch, usual.tokens_per_micro_batch) == (128, 1024)
    assert small.as_dict() != usual.as_dict() and small.decisive() == usual.decisive()
    other = Recipe.for_task(TrainSettings(seed=1), 300, 135_000_000)
    assert other.decisive() != usual.decisive()


def test_rank_grows_until_the_adapter_can_hold_the_completions():
    assert Recipe.for_task(TrainSettings(), 300, 134_515_008, completion_tokens=4_800_000).rank == 16
    assert Recipe.for_task(TrainSettings(), 300, 134_515_008, completion_tokens=5_000_000).rank == 32
    assert Recipe.for_task(TrainSettings(), 300, 134_515_008, completion_tokens=10**12).rank == 256


def test_evaluations_come_every_half_epoch_but_not_more_often_than_ten_steps():
    assert Recipe.for_task(TrainSettings(), 100, 135_000_000).evaluate_every == 10
    assert Recipe.for_task(TrainSettings(), 3200, 135_000_000).evaluate_every == 100


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [(81, [20, 40, 60, 81]), (80, [20, 40, 60, 80]), (90, [20, 40, 60, 80, 90]), (7, [7]), (29, [29])],
)
def test_the_last_evaluation_stands_for_one_just_before_it(steps, wanted):
    recipe = Recipe(evaluate_every=20)
    assert [step for step in range(1, steps + 1) if recipe.is_scored(step, steps)] == wanted


def test_rate_rises_for_five_percent_and_falls_to_zero_after_the_last_step():
    recipe = Recipe(learning_rate=1.0)
    rates = [recipe.rate(step, 200) for step in range(200)]
    assert max(rates) == rates[10] == 1.0
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert all(a > b > 0 for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(1 / 190)


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_short_runs_have_a_rate_at_every_step(steps):
    assert all(0 < Recipe().rate(step, steps) <= Recipe().learning_rate for step in range(steps))


def test_saved_and_read_back():
    recipe = Recipe(method="full", rank=3, max_length=None, epochs=1.5)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe


@pytest.mark.parametrize(("change", "what"), [({"version": 99}, "version 99"), ({"optimiser": "sgd"}, "optimiser")])
def test_unknown_recipes_are_refused(change, what):
    with pytest.raises(TrainingError, match=what):
        Recipe.from_dict(Recipe().as_dict() | change)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": float("nan")}, {"method": "x"}])
def test_impossible_values_are_refused(change):
    with pytest.raises(TrainingError, match=next(iter(change))):
        Recipe(**change)


def test_a_gpu_runs_more_tokens_at_once_unless_told():
    told = TrainSettings(micro_batch_tokens=300)
    sizes = [
        Recipe.for_task(settings, 300, 135_000_000, on_gpu=on_gpu).tokens_per_micro_batch
        for settings in (TrainSettings(), told)
        for on_gpu in (False, True)
    ]
    assert sizes == [1024, 4096, 300, 300]
