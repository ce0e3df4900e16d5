"""What is predicted before a run is what the run does."""

from luthier.train import estimate, fine_tune


def test_tokens_and_steps_are_those_of_the_run(base, rows, recipe, score, tmp_path):
    predicted = estimate(base, rows, recipe)
    result = fine_tune(base, rows, recipe, tmp_path / "out", score=score)
    assert (predicted.steps, predicted.tokens, predicted.row_tokens) == (result.steps, result.tokens, result.row_tokens)
    assert predicted.setting == result.setting
    assert 0 < predicted.seconds < 60


def test_memory_counts_weights_optimizer_and_activations(base, rows, recipe):
    from dataclasses import replace

    trained = {4: estimate(base, rows, recipe), 64: estimate(base, rows, replace(recipe, rank=64))}
    assert trained[4].bytes > 2 * base.n_parameters
    assert trained[64].bytes > trained[4].bytes
    larger = estimate(base, rows, replace(recipe, tokens_per_micro_batch=40))
    assert larger.bytes < trained[4].bytes
