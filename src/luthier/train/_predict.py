"""What would be trained, and the memory it would take, before any of it is loaded."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from luthier.models import Forecast, LocalModel, Outline, Request, forecast_answers, render_prompt
from luthier.train._attention import FLEX_DEVICES
from luthier.train._course import Course
from luthier.train._memory import Ground, Memory, ground_of, predict_memory
from luthier.train._model import load_body, shares
from luthier.train._products import (
    PRODUCT_BYTES,
    keep_few_products,
    products,
    products_kept,
    products_needed,
    weight_shapes,
)
from luthier.train._recipe import Recipe
from luthier.train._rest import give_back, goes_aside
from luthier.train._room import resident
from luthier.train._rows import EncodedRow, TrainingRow, encode_rows, replay_rows
from luthier.train._setting import Setting, assumed_setting, find_setting
from luthier.train._simulate import Footprint, simulate
from luthier.train._trie import tree_tokens
from luthier.train._work import Arithmetic

# Bytes of a weight in 4 bits: with a scale for 64 of them in 8 bits, and one for 256 of those in fp32 (Dettmers 2023).
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
SAMPLED = 50  # steps; they stand for the rest where there are more


@dataclass(frozen=True)
class Asked:
    """What one development score asks, and how many tokens each wanted answer has."""

    requests: tuple[Request, ...] = ()
    lengths: tuple[int, ...] = ()


NOTHING = Asked()


@dataclass(frozen=True)
class Job:
    """What would be trained, as tokens."""

    base: LocalModel | Outline
    recipe: Recipe
    rows: tuple[EncodedRow, ...]
    held: tuple[EncodedRow, ...]

    @classmethod
    def of(
        cls, base: LocalModel | Outline, rows: Sequence[TrainingRow], recipe: Recipe, replay: Sequence[TrainingRow]
    ) -> Job:
        """Rows rendered and put in order.

        Raises:
            TeachesNothingError: as `fine_tune`.
        """
        if recipe.added_tokens and not isinstance(base, Outline):
            base = base.with_tokens(recipe.added_tokens)
        encoded = encode_rows(base, rows, recipe.max_length)
        held, _ = replay_rows(base, replay, recipe.max_length)
        return cls(base, recipe, tuple(encoded), tuple(held))

    @property
    def four_bits(self) -> bool:
        """Whether the frozen weights of linear layers are kept in NF4."""
        return self.recipe.method == "qlora"

    @cached_property
    def course(self) -> Course:
        """The order of training."""
        return Course(self.rows, self.held, self.recipe)

    @property
    def config(self) -> Any:
        """The base's configuration."""
        return self.base.module.config if isinstance(self.base, LocalModel) else self.base.config

    @property
    def device(self) -> torch.device:
        """Where it would run."""
        return device_of(self.base)

    @property
    def evaluations(self) -> int:
        """Development scores without an early stop."""
        steps = self.course.steps
        return sum(self.recipe.is_scored(step, steps) for step in range(1, steps + 1))

    def setting(self) -> Setting:
        """Precision and packing: tried out where the weights are here, assumed from the architecture elsewhere."""
        if isinstance(self.base, Outline):
            return self.assumed_setting()
        base = self.base
        self.bound_products()
        return find_setting(base, self.rows, self.recipe, lambda dtype: load_body(base, dtype, self.recipe.method))

    @cached_property
    def weight_shapes(self) -> int | None:
        """In how many shapes the weights come; None of experts (`_products`)."""
        return weight_shapes(self.config)

    @cached_property
    def products(self) -> int | None:
        """How many products a processor should keep for the micro-batches of the first steps; None of experts."""
        shapes = self.weight_shapes
        return None if shapes is None else products_needed(self.micro_batches("tree"), shapes)

    def bound_products(self) -> None:
        """Have a processor that would multiply in half precision keep no more of what it compiles than is needed."""
        if self.device.type == "cpu" and self.assumed_setting().dtype.itemsize <= 2:
            keep_few_products(self.products)

    def assumed_setting(self) -> Setting:
        """Precision and packing as the architecture lets expect."""
        return assumed_setting(self.config, self.device, self.recipe)

    def with_recipe(self, recipe: Recipe) -> Job:
        """The same rows trained in another way."""
        return replace(self, recipe=recipe)

    def micro_batches(self, packing: str) -> list[list[EncodedRow]]:
        """Those of the first steps."""
        sampled = range(min(SAMPLED, self.course.steps))
        return [part for step in sampled for part in self.course.micro_batches(step, packing)]


def device_of(base: LocalModel | Outline) -> torch.device:
    """Where a base runs, or would run once its weights are here."""
    if isinstance(base, LocalModel):
        return base.device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Prediction:
    """Memory of a job from its architecture; what is measured corrects it.

    Args:
        job: what would be trained.
        setting: precision and packing.
        asked: what each development score would ask.
    """

    def __init__(self, job: Job, setting: Setting, asked: Asked) -> None:
        self.job, self.setting, self.asked = job, setting, asked
        self.parts = job.micro_batches(setting.packing)
        self.largest, self.footprint = self._largest()
        self.arithmetic = Arithmetic.of(job.config, job.recipe, self.footprint.trained)
        if job.four_bits:
            saved = (setting.dtype.itemsize - NF4) * self.arithmetic.layers
            self.footprint = replace(self.footprint, weights=self.footprint.weights - round(saved))
        held = sum(p.nbytes for p in job.base.module.parameters()) if isinstance(job.base, LocalModel) else 0
        on_host = job.device.type == "cpu"
        if on_host:
            gc.collect()
            give_back()  # what another prediction has tried out is not part of what this run begins with
        holds = resident() if on_host else torch.cuda.memory_allocated(job.device)
        runtime = max(0, holds - held)
        ground = ground_of(job.config, job.device, runtime, self.compiled(self.parts))
        # On a processor the base is emptied while a smaller copy of it trains, beside 4 bits always; on a GPU it may go
        # aside (`_rest`).
        rests = job.four_bits or (on_host and self.footprint.weights < ground.base)
        rests = rests or goes_aside(job.recipe.method, job.device, bool(job.course.replay(0)))
        own = torch.float32 if on_host else torch.bfloat16
        self.ground: Ground = replace(ground, rests=rests, shared=shares(own, setting.dtype, job.recipe.method))
        self.answers = self.forecast(asked.lengths)

    def memory(self, factor: float) -> Memory:
        """By phase; `factor` is measured over simulated activations."""
        return predict_memory(self.ground, self.footprint, self.job.recipe, self.answers, factor)

    def forecast(self, lengths: Sequence[int]) -> Forecast:
        """One development score whose answers have these lengths."""
        requests = self.asked.requests
        if not requests:
            return Forecast(0.0, 0)
        prompts = [render_prompt(self.job.base.tokenizer, request.messages) for request in requests]
        room = max(request.max_tokens for request in requests)
        itemsize, kind = self.ground.itemsize, self.ground.kind
        return forecast_answers(self.job.config, prompts, lengths, room, itemsize=itemsize, kind=kind)

    def compiled(self, parts: Sequence[Sequence[EncodedRow]]) -> int:
        """Bytes of what a processor has compiled for micro-batches, and kept, after it ran these."""
        if self.job.device.type != "cpu" or self.setting.dtype.itemsize > 2:
            return 0
        shapes, most = self.job.weight_shapes, products_kept(self.job.products)
        return PRODUCT_BYTES * (most if shapes is None else min(most, sum(products(part, shapes) for part in parts)))

    def work(self, rows: Sequence[EncodedRow]) -> float:
        """Of a micro-batch."""
        return self.arithmetic.work(rows, self.setting)

    def _largest(self) -> tuple[list[EncodedRow], Footprint]:
        """The micro-batch that needs most memory: that of most tokens, of most logits, or the longest row alone."""
        size = tree_tokens if self.setting.packing == "tree" else _row_tokens
        tokens = max(self.parts, key=size)
        logits = max(self.parts, key=lambda part: sum(row.labels * (1 + row.held) for row in part))
        longest = [max(self.job.rows, key=lambda row: len(row.ids))]
        tried = [tokens] + [part for part in (logits, longest) if part is not tokens]
        recipe = replace(self.job.recipe, method="lora") if self.job.four_bits else self.job.recipe
        kernels = self.job.device.type in FLEX_DEVICES
        found = simulate(self.job.config, recipe, self.setting, tried, kernels)
        footprint, part = max(zip(found, tried, strict=True), key=lambda pair: pair[0].batch)
        return part, footprint


def _row_tokens(rows: Sequence[EncodedRow]) -> int:
    return sum(len(row.ids) for row in rows)


def predict(job: Job, setting: Setting, asked: Asked, limit: int) -> Prediction:
    """The prediction for a job as the engine would run it: layers are computed again where memory is too short."""
    found = Prediction(job, setting, asked)
    if setting.recompute or found.memory(1.0).peak <= limit:
        return found
    again = Prediction(job, replace(setting, recompute=True), asked)
    return again if again.memory(1.0).peak < found.memory(1.0).peak else found
