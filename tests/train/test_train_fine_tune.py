"""A run from rows to an adapter: what it writes, what it leaves alone, when it stops."""

import json
from dataclasses import replace

import pytest
import torch

from luthier.data import Message
from luthier.errors import TeachesNothingError, TrainingError
from luthier.store import hash_folder, read_json
from luthier.train import Recipe, TrainingRow, TrainProgress, fine_tune
from luthier.train._checkpoint import FOLDER
from luthier.train._rows import replay_rows


def weights_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def run(base, rows, score, tmp_path_factory):
    """One finished LoRA run that several tests look at."""
    out = tmp_path_factory.mktemp("run") / "out"
    recipe = Recipe(rank=4, alpha=8, learning_rate=1e-2, epochs=4.0, batch_size=8, evaluate_every=4)
    before = weights_of(base.module)
    seen = []
    result = fine_tune(base, rows, recipe, out, score=score, progress=seen.append)
    after = weights_of(base.module)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    return result, seen, out


def test_it_learns(run, base, score):
    result, _, _ = run
    assert result.curve[-1].loss < 0.7 * result.curve[0].loss
    assert result.best_score > score(base)


def test_the_base_attends_as_before(run, base):
    assert base.module.config._attn_implementation == "sdpa" and not base.module.training


def test_the_adapter_gives_the_best_score_again(run, base, score):
    result, _, _ = run
    assert score(base.with_adapter(result.folder)) == pytest.approx(result.best_score, rel=1e-6)
    assert result.best_score == max(p.dev_score for p in result.curve if p.dev_score is not None)


def test_the_folder_holds_an_adapter_without_a_place(run, tmp_path):
    result, _, out = run
    names = ["adapter_config.json", "adapter_model.safetensors", "luthier-adapter.json"]
    assert sorted(p.name for p in result.folder.iterdir()) == names
    assert result.adapter_hash == hash_folder(result.folder)
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny" and config["r"] == 4 and config["lora_alpha"] == 8
    assert str(out) not in (result.folder / "adapter_config.json").read_text()
    assert sorted(p.name for p in out.iterdir()) == ["adapter", "luthier-train.json"]


def test_shared_prefixes_are_spared_and_counted(run):
    result, seen, _ = run
    assert result.setting.packing == "tree"
    assert result.saved_share > 0.5
    assert seen[-1].saved_share == pytest.approx(result.saved_share, abs=0.05)
    assert seen[-1].effective_tokens_per_second > 2 * seen[-1].tokens_per_second


def test_progress_counts_up_to_the_end(run):
    _, seen, _ = run
    assert [s.step for s in seen if s.dev_score is None] == list(range(1, 11))
    assert seen[-1].step == seen[-1].steps == 10 and seen[-1].seconds_left == 0
    assert [s.step for s in seen if s.dev_score is not None] == [4, 8, 10]


def test_any_process_can_read_how_far_it_is(base, rows, recipe, score, tmp_path, monkeypatch):
    monkeypatch.setattr("luthier.train._loop.LIVE_SECONDS", 0)
    read = []

    def look(state):
        file = tmp_path / "out" / "progress.json"
        read.append(TrainProgress(**read_json(file)) if file.exists() else None)
        said.append(state)

    said = []
    fine_tune(base, rows, recipe, tmp_path / "out", score=score, progress=look)
    assert read == [None, *said[:-1]]  # what was told before
    assert not (tmp_path / "out" / "progress.json").exists()


def test_a_finished_run_is_read_and_not_run_again(run, base, rows):
    result, _, out = run
    recipe = result.recipe

    def never(model):
        raise AssertionError("scored again")

    assert fine_tune(base, rows, recipe, out, score=never) == result


def test_a_finished_run_of_other_inputs_is_refused(run, base, rows, score):
    result, _, out = run
    before = hash_folder(out)
    for changed, arguments in {
        "rows": (rows[:-1], result.recipe),
        "recipe.seed": (rows, replace(result.recipe, seed=1)),
        "recipe.learning_rate": (rows, replace(result.recipe, learning_rate=1e-3)),
    }.items():
        with pytest.raises(TrainingError, match=changed) as caught:
            fine_tune(base, *arguments, out, score=score)
        assert "rm -r" in caught.value.fix
    with pytest.raises(TrainingError, match="replay"):
        fine_tune(base, rows, result.recipe, out, score=score, replay=rows[:2])
    assert hash_folder(out) == before


def test_a_changed_adapter_is_not_taken_for_the_trained_one(base, rows, score, recipe, tmp_path):
    result = fine_tune(base, rows, replace(recipe, epochs=0.5), tmp_path / "out", score=score)
    (result.folder / "adapter_config.json").write_text("{}")
    with pytest.raises(TrainingError, match="not what was trained"):
        fine_tune(base, rows, replace(recipe, epochs=0.5), tmp_path / "out", score=score)


def test_other_folder_other_process_same_bytes(run, base, rows, score, tmp_path):
    result, _, _ = run
    again = fine_tune(base, rows, result.recipe, tmp_path / "elsewhere", score=score)
    assert again.adapter_hash == result.adapter_hash
    assert [p.loss for p in again.curve] == [p.loss for p in result.curve]


def test_another_seed_gives_other_weights(run, base, rows, score, tmp_path):
    result, _, _ = run
    other = fine_tune(base, rows, replace(result.recipe, seed=1), tmp_path / "out", score=score)
    assert other.adapter_hash != result.adapter_hash


def test_training_leaves_the_random_state_alone(base, rows, score, recipe, tmp_path):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    fine_tune(base, rows, replace(recipe, epochs=0.5), tmp_path / "out", score=score)
    assert torch.equal(torch.rand(3), wanted)


def test_all_weights(base, rows, score, recipe, tmp_path):
    from luthier.models import load_folder

    full = replace(recipe, method="full", learning_rate=2e-3, weight_decay=0.01, epochs=2.0)
    result = fine_tune(base, rows, full, tmp_path / "out", score=score)
    tuned = load_folder(result.folder, name="tuned")
    assert result.curve[-1].loss < result.curve[0].loss
    assert score(tuned) == pytest.approx(result.best_score, rel=1e-6)
    assert tuned.tokenizer.chat_template == base.tokenizer.chat_template
    assert str(tmp_path) not in (result.folder / "config.json").read_text()


def test_the_best_checkpoint_is_kept_and_patience_ends_the_run(base, rows, recipe, tmp_path):
    scores = iter([0.5, 0.7, 0.7, 0.6, 0.65, 0.9])
    long = replace(recipe, epochs=100.0, evaluate_every=2, patience=3)
    result = fine_tune(base, rows, long, tmp_path / "out", score=lambda model: next(scores))
    assert (result.best_score, result.best_step, result.steps, result.stopped) == (0.7, 4, 10, "no better score")


REPLAY = [
    TrainingRow(
        f"replay-{i}", (Message("user", f"what is {i}"),), f"the answer to that is {40 + i}, as far as I know", "replay"
    )
    for i in range(6)
]


def drift_on(base, tuned, rows):
    """KL(base || tuned) in nats a token, from the probabilities themselves."""
    held, _ = replay_rows(base, rows, None)
    found = []
    for row in held:
        p, q = (torch.as_tensor(m.next_token_logprobs(row.ids))[:-1].double() for m in (base, tuned))
        found += (p.exp() * (p - q)).sum(-1).tolist()
    return sum(found) / len(found)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_replay_holds_the_model_to_its_base_while_it_learns(method, base, rows, score, recipe, tmp_path):
    recipe = replace(recipe, method=method, learning_rate=1e-2 if method == "lora" else 2e-3, epochs=12.0)
    free = fine_tune(base, rows, recipe, tmp_path / "free", score=score)
    held = fine_tune(base, rows, recipe, tmp_path / "held", score=score, replay=REPLAY)
    drifts = [drift_on(base, base.with_tuning(run.folder, 1.0), REPLAY) for run in (free, held)]
    assert drifts[1] < drifts[0] / 2
    assert held.curve[-1].loss < 0.7 * held.curve[0].loss
    assert [point.drift for point in free.curve] == [None] * free.steps
    assert held.curve[0].drift == pytest.approx(0, abs=1e-5)
    assert max(point.drift for point in held.curve) > 1e-3


def test_replay_rows_stand_beside_the_rows_of_each_step(base, rows, score, recipe, tmp_path):
    bad = TrainingRow("replay-bad", (Message("user", "x"),), " ", "replay")
    plain = fine_tune(base, rows, replace(recipe, epochs=1.0), tmp_path / "plain", score=score)
    result = fine_tune(base, rows, replace(recipe, epochs=1.0), tmp_path / "out", score=score, replay=[*REPLAY, bad])
    assert result.replay_left_out == 1
    assert result.steps == plain.steps
    assert all(a.row_tokens > b.row_tokens for a, b in zip(result.curve, plain.curve, strict=True))


@pytest.mark.parametrize("off", [{"replay_share": 0.0}, {"replay_weight": 0.0}])
def test_no_replay_is_no_replay(off, base, rows, score, recipe, tmp_path):
    plain = fine_tune(base, rows, recipe, tmp_path / "plain", score=score)
    without = fine_tune(base, rows, replace(recipe, **off), tmp_path / "out", score=score, replay=REPLAY)
    assert without.adapter_hash == plain.adapter_hash


def test_bad_rows_stop_it_before_anything_is_written(base, rows, score, recipe, tmp_path):
    bad = [*rows, TrainingRow("empty", (Message("user", "x"),), "", "data.jsonl:99")]
    with pytest.raises(TeachesNothingError, match=r"data\.jsonl:99"):
        fine_tune(base, bad, recipe, tmp_path / "out", score=score)
    assert not (tmp_path / "out").exists()


def test_an_exploding_loss_names_the_rows_and_keeps_the_checkpoint(base, rows, score, recipe, tmp_path):
    hot = replace(recipe, method="full", learning_rate=0.99, min_warmup=0, evaluate_every=1, patience=1000)
    with pytest.raises(TrainingError, match="cannot be taken: the loss is") as caught:
        fine_tune(base, rows, hot, tmp_path / "out", score=lambda model: 0.0)
    assert len(caught.value.problems) == 8
    assert all(problem.file.startswith("examples.jsonl:") for problem in caught.value.problems)
    assert "learning_rate" in caught.value.fix
    assert (tmp_path / "out" / FOLDER / "state.json").is_file()


def test_a_score_that_is_no_number(base, rows, recipe, tmp_path):
    with pytest.raises(TrainingError, match="development score after step 5 is nan"):
        fine_tune(base, rows, recipe, tmp_path / "out", score=lambda model: float("nan"))


def test_a_base_with_an_adapter_is_refused(run, base, rows, score, recipe, tmp_path):
    result, _, _ = run
    with pytest.raises(TrainingError, match="cannot be trained"):
        fine_tune(base.with_adapter(result.folder), rows, recipe, tmp_path / "out", score=score)
