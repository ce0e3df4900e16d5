"""The fine-tuned rungs: rows rendered as they will be served, training, the adapter's scale chosen on development."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier import models
from luthier import train as training
from luthier.data import Message, content_hash
from luthier.decide._bench import Bench
from luthier.decide._choose import Prepared
from luthier.decide._open_book import open_book_rows
from luthier.decide._rungs import plain_system
from luthier.decide._system import System
from luthier.errors import ModelError
from luthier.evaluate import measure, replay_prompts
from luthier.models import Outline, Request, render_prompt
from luthier.spec import TrainSettings
from luthier.store import hash_folder
from luthier.train import Recipe, Tracking, TrainingRow, require_tracker

if TYPE_CHECKING:
    from luthier.models import LocalModel
    from luthier.train import Change, Estimate, TrainProgress, TrainResult

Method = Literal["lora", "full", "qlora"]

SCALES = (1.0, 0.75, 0.5)
SCALE_TOLERANCE = 0.01
REPLAY_TOKENS = 64
REPLAY_LENGTH = 48  # tokens of an answer that is cut to whole sentences


def tuned(bench: Bench, reader: System | None = None, *, shard: bool = False) -> Prepared:
    """Train on the training examples and choose the adapter's scale on development cases.

    Args:
        bench: what to build on; its base must be a local model.
        reader: the chosen retrieval system, to train with its passages in the prompt; None trains closed-book.
        shard: have each process of a launched group keep a part of every weight.

    Raises:
        TrainingError: training cannot start or had to stop.
    """
    require_tracker(bench.task.train.track)
    untrained, result, shown = _train(bench, reader, shard)
    found = _choose_scale(bench, untrained, result)
    return replace(found, choices=found.choices | ({"passages": shown} if shown else {}))


def train_along(bench: Bench, *, shard: bool = False) -> None:
    """What a further process of a launched group does: its share of the training, and nothing else."""
    _train(bench, None, shard)


def train_untouched(bench: Bench) -> tuple[System, TrainResult]:
    """Train closed-book in this process; the system has the adapter as it was trained.

    Raises:
        ModelError: the base is not a local model.
        TrainingError: training cannot start or had to stop.
    """
    untrained, result, _ = _train(bench, None, False)
    return _scaled(bench, untrained, result, 1.0), result


def steps_of(bench: Bench) -> int:
    """Optimizer steps that closed-book training takes at most.

    Raises:
        ModelError: the base is not a local model.
    """
    rows = training_rows(bench, _untrained(bench, None))
    return recipe_for(bench, rows).steps(len(rows))


def _train(bench: Bench, reader: System | None, shard: bool) -> tuple[System, TrainResult, dict[str, int]]:
    """The untrained system, what training gave, and which passages its rows show (empty without a reader)."""
    base = local_base(bench)
    untrained = _untrained(bench, reader)
    rows, shown = (training_rows(bench, untrained), {}) if reader is None else open_book_rows(bench, untrained)
    recipe = recipe_for(bench, rows)
    group = training.current_group()
    replay = replay_rows(bench, _held_rows(recipe, rows)) if group.first else []
    group.wait()
    if not group.first:
        replay = replay_rows(bench, _held_rows(recipe, rows))  # what the first process has put into the store
    out = adapter_place(bench, rows, replay, recipe)
    score = _development_score(bench, untrained)
    library = bench.task.train.track
    track = None if library is None else Tracking(library, bench.task.task, bench.store.folder / "tracking")
    how: dict[str, Any] = {"replay": replay, "progress": _shown(bench), "track": track, "shard": shard}
    return untrained, training.fine_tune(base, rows, recipe, out, score=score, **how), shown


@dataclass(frozen=True)
class TrainingForecast:
    """What closed-book training by one method would take.

    `replay_seconds` are for the base's answers to general prompts (0 where an earlier run had them; None where the time
    is unknown). `changes` say what would make it fit, where it does not.
    """

    method: Method
    estimate: Estimate
    replay_seconds: float | None
    changes: tuple[Change, ...]

    @property
    def seconds(self) -> float | None:
        """All of it."""
        if self.estimate.seconds is None or self.replay_seconds is None:
            return None
        return self.estimate.seconds + self.replay_seconds


def forecast_training(bench: Bench, method: Method) -> TrainingForecast:
    """What closed-book training would take; of a base whose weights are not here all but the time.

    Raises:
        ModelError: the base is not a local model.
        TeachesNothingError, TrainingError: the rows cannot be trained on.
    """
    untrained = _untrained(bench, None)
    rows, base = training_rows(bench, untrained), _planned_base(bench)
    settings = bench.task.train.model_copy(update={"method": method})
    recipe = _recipe(settings, base, rows)
    prompts = _prompts_to_replay(_held_rows(recipe, rows))
    known = _known_replay(bench, prompts)
    lengths = tuple(len(base.tokenizer.encode(case.output)) + 1 for case in bench.development)
    asked = training.Asked(tuple(untrained.request(case.messages) for case in bench.development), lengths)
    job = training.Job.of(base, rows, recipe, _assumed_replay(base, prompts) if known is None else known)
    missing = 0 if isinstance(base, models.LocalModel) else 2 * base.n_parameters
    found = training.estimate(
        job, asked=asked, place=bench.store.artefact_path("adapters", "planned"), model_bytes=missing
    )
    seconds = 0.0 if known is not None else _replay_seconds(base, prompts, found.answer_seconds)
    needed = () if found.fits else tuple(training.changes(job, asked, found.limit))
    return TrainingForecast(method, found, seconds, needed)


def _planned_base(bench: Bench) -> LocalModel | Outline:
    return bench.base if isinstance(bench.base, Outline) else local_base(bench)


def _assumed_replay(base: LocalModel | Outline, prompts: Sequence[str]) -> list[TrainingRow]:
    """Stand-ins for answers that were not asked for yet: general text of about their length."""
    tokens = base.tokenizer.encode(" ".join(prompts), add_special_tokens=False)
    found = []
    for i, prompt in enumerate(prompts):
        start = i * REPLAY_LENGTH % max(1, len(tokens) - REPLAY_LENGTH)
        answer = base.tokenizer.decode(tokens[start : start + REPLAY_LENGTH])
        found.append(TrainingRow(f"replay {i}", (Message("user", prompt),), answer, "replay"))
    return found


def _replay_seconds(base: LocalModel | Outline, prompts: Sequence[str], answer_seconds: float | None) -> float | None:
    if not isinstance(base, models.LocalModel) or answer_seconds is None:
        return None
    rendered = [render_prompt(base.tokenizer, (Message("user", prompt),)) for prompt in prompts]
    ends = [REPLAY_TOKENS] * len(prompts)
    core, kind = base.module, base.device.type
    found = models.forecast_answers(core.config, rendered, ends, REPLAY_TOKENS, itemsize=core.dtype.itemsize, kind=kind)
    return answer_seconds * found.work


def local_base(bench: Bench) -> LocalModel:
    """The base as a model whose weights can be trained.

    Raises:
        ModelError: the base is not a local model.
    """
    if not isinstance(bench.base, models.LocalModel):
        raise ModelError(
            f"{bench.base.name} cannot be fine-tuned here",
            why="only local transformers models are trained; this base is asked over the network",
            fix="set base: in luthier.yaml to a hub id, a folder or a GGUF file",
        )
    return bench.base


def training_rows(bench: Bench, untrained: System) -> list[TrainingRow]:
    """The training examples as the untrained system would ask them: what is trained is what is served."""
    rows = []
    for example in bench.split.train:
        asked = untrained.request(example.messages)
        rows.append(TrainingRow(example.id, asked.messages, example.output, str(example.source)))
    return rows


def recipe_for(bench: Bench, rows: Sequence[TrainingRow]) -> Recipe:
    """The hyper-parameters for these rows on this base."""
    return _recipe(bench.task.train, local_base(bench), rows)


def _recipe(settings: TrainSettings, base: LocalModel | Outline, rows: Sequence[TrainingRow]) -> Recipe:
    completion = sum(len(base.tokenizer.encode(row.output, add_special_tokens=False)) + 1 for row in rows)
    return Recipe.for_task(settings, len(rows), base.n_parameters, completion, training.device_of(base).type == "cuda")


def _held_rows(recipe: Recipe, rows: Sequence[TrainingRow]) -> int:
    """How many replay rows a run takes, if none is taken twice."""
    return recipe.replay_rows * recipe.steps(len(rows))


def _prompts_to_replay(held: int) -> tuple[str, ...]:
    """Prompts for so many replay rows, two of each (a conversation, and plain text); all of them where too few."""
    prompts = replay_prompts()
    count = min(len(prompts), -(-held // 2))
    return tuple(prompts[i * len(prompts) // count] for i in range(count))


def replay_rows(bench: Bench, held: int) -> list[TrainingRow]:
    """Answers of the base itself to general prompts, on which training holds the model to its base.

    No more are asked for than training takes (`held` rows, two of each answer). Self-generated replay needs no outside
    data and keeps the base's own distribution (Béthune et al. 2025 show that about 1 % of replayed data holds the
    pre-training loss).
    """
    prompts = _prompts_to_replay(held)
    known = _known_replay(bench, prompts)
    if known is not None:
        return known
    requests = [Request((Message("user", prompt),), REPLAY_TOKENS) for prompt in prompts]
    answers = [""] * len(requests)
    for done, (index, answer) in enumerate(bench.base.answer(requests), start=1):
        answers[index] = answer.text if answer.finish == "stop" else whole_sentences(answer.text)
        bench.progress("replay: the base answers general prompts", done, len(requests), "prompts")
    bench.store.put_document("replay", _replay_key(bench, prompts), {"answers": answers})
    return _answered(prompts, answers)


def _known_replay(bench: Bench, prompts: Sequence[str]) -> list[TrainingRow] | None:
    """The replay rows if the base was asked before."""
    known = bench.store.get_document("replay", _replay_key(bench, prompts))
    return None if known is None else _answered(prompts, known["answers"])


def _replay_key(bench: Bench, prompts: Sequence[str]) -> str:
    return content_hash(["replay", bench.base.identity, list(prompts), REPLAY_TOKENS])


def _answered(prompts: Sequence[str], answers: Sequence[str]) -> list[TrainingRow]:
    pairs = zip(prompts, answers, strict=True)
    return [TrainingRow(content_hash([p, a])[:16], (Message("user", p),), a, "replay") for p, a in pairs if a.strip()]


def whole_sentences(text: str) -> str:
    """The text up to its last sentence end: a cut-off answer must not teach to stop in mid-sentence."""
    end = max(text.rfind(mark) for mark in (". ", ".\n", "! ", "? ", '."', "."))
    return text[: end + 1].strip() if end > 0 else ""


def adapter_place(bench: Bench, rows: Sequence[TrainingRow], replay: Sequence[TrainingRow], recipe: Recipe) -> Path:
    """Where the adapter of exactly this data, recipe and base lies, or will lie."""
    content = [[row.id, [m.as_dict() for m in row.messages], row.output] for row in (*rows, *replay)]
    cases = [example.id for example in bench.development]
    key = content_hash([bench.base.identity, content, recipe.decisive(), cases, bench.score_hash])
    return bench.store.artefact_path("adapters", key[:20])


def _untrained(bench: Bench, reader: System | None) -> System:
    """The system to train. With the goal as its whole instructions, what a long prompt would describe is learned.

    A short prompt makes every request cheaper, and a small base follows it better once it is trained.
    """
    task = bench.task
    whole = task.instructions.strip() if task.train.prompt == "instructions" else ""
    instructions = whole or task.goal
    if reader is None:
        return plain_system(bench, "fine-tune", instructions)
    setup = replace(reader.setup, method="fine-tune + retrieval", instructions=instructions, demonstrations=())
    return replace(reader, setup=replace(setup, nearest=None), demonstration_index=None, pool={})


def _development_score(bench: Bench, untrained: System) -> Callable[[LocalModel], float]:
    def score(model: LocalModel) -> float:
        done = 0

        def count(_: object) -> None:
            nonlocal done
            done += 1
            bench.progress("training: development score", done, len(bench.development), "cases")

        # Kept like any answer: the scale 1 of the best checkpoint is not asked again.
        records = measure(
            replace(untrained, model=model), bench.development, bench.scorer, bench.store, on_record=count
        )
        return sum(record.score for record in records) / len(records)

    return score


def _shown(bench: Bench) -> Callable[[TrainProgress], None]:
    def show(state: TrainProgress) -> None:
        if state.note:
            bench.progress("training goes on", state.step, state.step, state.note)
        left = f"{state.seconds_left / 60:.0f} min left" if state.seconds_left is not None else ""
        score = "" if state.dev_score is None else f", development {state.dev_score:.3f}"
        remark = f"loss {state.loss:.3f}{score}, {state.effective_tokens_per_second:.0f} tokens/s, {left}"
        bench.progress("training", state.step, state.steps, remark)

    return show


def _choose_scale(bench: Bench, untrained: System, result: TrainResult) -> Prepared:
    """The smallest scale of the adapter that is not worse on development: forgetting falls with its square.

    Source: weight interpolation (Wortsman et al. 2022; Lin et al. 2024).
    """
    table: list[dict[str, Any]] = []
    systems = []
    scales = SCALES if result.recipe.scalable else SCALES[:1]
    for scale in scales:
        system = _scaled(bench, untrained, result, scale)
        records = measure(system, bench.development, bench.scorer, bench.store)
        score = sum(r.score for r in records) / len(records)
        bench.progress("choosing the adapter's scale", len(table) + 1, len(scales), f"{scale}: {score:.3f}")
        table.append({"candidate": f"scale {scale}", "cases": len(records), "score": score})
        systems.append(system)
    best = max(row["score"] for row in table)
    kept = max(i for i, row in enumerate(table) if row["score"] >= best - SCALE_TOLERANCE)
    choices = {"chosen": table[kept]["candidate"], "development": table, "training": result.as_dict()}
    return Prepared(systems[kept], choices)


def _scaled(bench: Bench, untrained: System, result: TrainResult, scale: float) -> System:
    setup = replace(untrained.setup, adapter=hash_folder(result.folder), scale=scale)
    model = local_base(bench).with_tuning(result.folder, scale)
    return replace(untrained, setup=setup, model=model, adapter_folder=result.folder)
