"""All hyper-parameters of a run in one value, with defaults that depend on the size of base and data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from luthier.errors import TrainingError
from luthier.spec import TrainSettings

Method = Literal["lora", "qlora", "full"]

RECIPE_VERSION = 4
MIN_STEPS, MAX_STEPS = 60, 2000
MAX_RANK = 256

# (parameters of the base up to, learning rate for LoRA, for all weights). LoRA wants about ten times the rate of full
# fine-tuning, and the best rate depends weakly on size (Schulman et al. 2025, LoRA Without Regret).
RATES: tuple[tuple[float, float, float], ...] = (
    (0.7e9, 5e-4, 5e-5),
    (5e9, 5e-4, 3e-5),
    (20e9, 2.5e-4, 1.5e-5),
    (math.inf, 2e-4, 7e-6),
)
BATCHES: tuple[tuple[float, int], ...] = ((500, 8), (5_001, 16), (math.inf, 32))  # (fewer rows than, sequences a step)
AT_ONCE_ON_GPU = 4096  # tokens: it is not filled by as few as a processor likes
EPOCHS: tuple[tuple[float, float], ...] = ((200, 8.0), (1_000, 4.0), (10_001, 3.0), (math.inf, 1.0))


@dataclass(frozen=True)
class Recipe:
    """How to train: everything that, with the rows and the base, decides the result.

    `batch_size` is in sequences per optimizer step, `tokens_per_micro_batch` in tokens that are really run (shared
    prefixes counted once); the latter bounds memory and changes the result only by rounding. `max_length` None means:
    the longest row. `epochs` counts passes over the rows; `evaluate_every` and `patience` count steps and evaluations
    without a better score. `replay_share` is replay rows per row of a step (at least one a step), `replay_weight` the
    weight of the divergence from the base on them, in nats a token, beside the loss in nats a label token. `layers`
    None adapts all linear layers but the output head, and none in the first `from_layer` blocks; `variant` is of LoRA
    (see `spec.TrainSettings`). `added_tokens` get rows of the embeddings that are trained too.
    """

    method: Method = "lora"
    rank: int = 16
    alpha: int = 32
    layers: tuple[str, ...] | None = None
    from_layer: int = 0
    variant: Literal["plain", "rslora", "dora"] = "plain"
    added_tokens: tuple[str, ...] = ()
    learning_rate: float = 5e-4
    epochs: float = 4.0
    batch_size: int = 8
    tokens_per_micro_batch: int = 1024
    max_length: int | None = None
    warmup_share: float = 0.05
    min_warmup: int = 5
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    clip: float = 1.0
    evaluate_every: int = 10
    patience: int = 3
    replay_share: float = 0.125
    replay_weight: float = 1.0
    seed: int = 0
    version: int = RECIPE_VERSION

    def __post_init__(self) -> None:
        wrong = [f"{name} must be {rule}, not {getattr(self, name)!r}" for name, rule, ok in self._rules() if not ok]
        if wrong:
            raise TrainingError(
                f"the recipe cannot be used: {'; '.join(wrong)}",
                fix="correct the value(s) under train: in luthier.yaml",
            )

    def _rules(self) -> list[tuple[str, str, bool]]:
        positive = ("rank", "alpha", "batch_size", "tokens_per_micro_batch", "evaluate_every", "patience")
        return [
            ("method", "lora, qlora or full", self.method in ("lora", "qlora", "full")),
            ("variant", "plain, rslora or dora", self.variant in ("plain", "rslora", "dora")),
            ("from_layer", "at least 0", self.from_layer >= 0),
            ("layers", "left out or at least one name", self.layers is None or len(self.layers) > 0),
            *((name, "at least 1", getattr(self, name) >= 1) for name in positive),
            ("learning_rate", "above 0", 0 < self.learning_rate < math.inf),
            ("epochs", "above 0", 0 < self.epochs < math.inf),
            ("max_length", "at least 2", self.max_length is None or self.max_length >= 2),
            ("warmup_share", "in [0, 1)", 0 <= self.warmup_share < 1),
            ("min_warmup", "at least 0", self.min_warmup >= 0),
            ("beta1", "in [0, 1)", 0 <= self.beta1 < 1),
            ("beta2", "in [0, 1)", 0 <= self.beta2 < 1),
            ("weight_decay", "at least 0", 0 <= self.weight_decay < math.inf),
            ("clip", "above 0", self.clip > 0),
            ("replay_share", "in [0, 10]", 0 <= self.replay_share <= 10),
            ("replay_weight", "at least 0", 0 <= self.replay_weight < math.inf),
            ("seed", "at least 0", self.seed >= 0),
        ]

    @classmethod
    def for_task(
        cls, settings: TrainSettings, n_rows: int, n_params: int, completion_tokens: int = 0, on_gpu: bool = False
    ) -> Recipe:
        """The recipe for a task: what the settings say, and tables by size for what they leave open.

        Args:
            settings: `train:` of `luthier.yaml`.
            n_rows: training rows.
            n_params: parameters of the base.
            completion_tokens: label tokens in all rows; LoRA's parameters should not be fewer (Schulman et al. 2025).
            on_gpu: whether it will be trained on one.
        """
        full = settings.method == "full"
        batch = settings.batch_size or _below(BATCHES, n_rows)
        rank = _rank(settings, n_params, completion_tokens)
        usual = AT_ONCE_ON_GPU if on_gpu else cls.tokens_per_micro_batch
        recipe = cls(
            method=settings.method,
            rank=rank,
            alpha=settings.alpha or (8 if settings.variant == "rslora" else 32),  # either scales rank 16 by 2
            layers=settings.layers,
            from_layer=settings.from_layer,
            variant=settings.variant,
            added_tokens=settings.added_tokens,
            learning_rate=settings.learning_rate or next(r[2 if full else 1] for r in RATES if n_params <= r[0]),
            epochs=settings.epochs or _epochs(n_rows, batch, full),
            batch_size=batch,
            tokens_per_micro_batch=settings.micro_batch_tokens or usual,
            max_length=settings.max_length,
            weight_decay=0.01 if full else 0.0,
            seed=settings.seed,
        )
        return replace(recipe, evaluate_every=max(10, math.ceil(n_rows / batch / 2)))

    def steps(self, n_rows: int) -> int:
        """Optimizer steps for `n_rows` rows."""
        return max(1, round(self.epochs * n_rows / self.batch_size))

    def is_scored(self, step: int, steps: int) -> bool:
        """Whether the development score is taken after a step (counted from 1).

        It is after the last one, and at regular steps unless the last one is nearer than half the way to the next.
        """
        regular = step % self.evaluate_every == 0 and 2 * (steps - step) >= self.evaluate_every
        return regular or step >= steps

    @property
    def scalable(self) -> bool:
        """Whether what comes out can be scaled down: a low-rank product and nothing else."""
        return self.method != "full" and self.variant != "dora" and not self.added_tokens

    @property
    def replay_rows(self) -> int:
        """Replay rows beside the rows of a step."""
        if self.replay_share == 0 or self.replay_weight == 0:
            return 0
        return max(1, round(self.replay_share * self.batch_size))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step (counted from 0): linear warm-up, then linear to 0 just after the last step."""
        warmup = min(max(self.min_warmup, math.ceil(self.warmup_share * steps)), steps // 2)
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        return self.learning_rate * (steps - step) / (steps - warmup)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON."""
        return asdict(self) | {
            "layers": None if self.layers is None else list(self.layers),
            "added_tokens": list(self.added_tokens),
        }

    def decisive(self) -> dict[str, Any]:
        """What of the recipe a run is known by: all of it but what bounds memory and changes the result by rounding."""
        return {name: value for name, value in self.as_dict().items() if name != "tokens_per_micro_batch"}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Recipe:
        """The recipe from its JSON.

        Raises:
            TrainingError: written by a newer version, or with keys that this version does not know.
        """
        version = value.get("version")
        if not isinstance(version, int) or version > RECIPE_VERSION:
            raise TrainingError(
                f"a recipe of version {version!r} cannot be read; this version of luthier knows up to {RECIPE_VERSION}",
                fix="pip install --upgrade luthier",
            )
        unknown = sorted(set(value) - {field.name for field in fields(cls)})
        if unknown:
            raise TrainingError(
                f"a recipe has unknown keys: {', '.join(unknown)}", fix="remove them, or train again from luthier.yaml"
            )
        layers = value.get("layers")
        tuples = {
            "layers": None if layers is None else tuple(layers),
            "added_tokens": tuple(value.get("added_tokens", ())),
        }
        return cls(**dict(value) | tuples)


def _below(table: tuple[tuple[float, Any], ...], n: int) -> Any:
    return next(value for limit, value in table if n < limit)


def _epochs(n_rows: int, batch: int, full: bool) -> float:
    steps: float = _below(EPOCHS, n_rows) * (0.5 if full else 1.0) * n_rows / batch
    return min(max(steps, MIN_STEPS), MAX_STEPS) * batch / max(n_rows, 1)


def _rank(settings: TrainSettings, n_params: int, completion_tokens: int) -> int:
    """The rank asked for; unless it was asked for, doubled until the adapter has a parameter for each label token.

    Parameters per unit of rank on all linear layers follow 305,280 · (n / 134.5 M)^0.526, through SmolLM2-135M and
    Llama-3.1-8B.
    """
    if "rank" in settings.model_fields_set:
        return settings.rank
    per_rank = 305_280 * (n_params / 134.5e6) ** 0.526
    rank = settings.rank
    while rank < MAX_RANK and rank * per_rank < completion_tokens:
        rank *= 2
    return rank
