"""The task: what a user writes in `luthier.yaml`, read and checked."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

MethodName = Literal[
    "prompt",
    "few-shot",
    "few-shot nearest",
    "constrained",
    "self-consistency",
    "retrieval",
    "fine-tune",
    "fine-tune + retrieval",
]
VOTED = ("label", "number", "json", "exact", "answer")  # scores under which two answers are often the same
SearchName = Literal["built-in", "gepa"]
TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]


class Frozen(BaseModel):
    """A part of the task: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)


class ExactScore(Frozen):
    """1 when the answer equals the wanted output after white space is trimmed."""

    kind: Literal["exact"]
    ignore_case: bool = False


class LabelScore(Frozen):
    """1 when the answer is the wanted label; the closed set is `labels`, or every label seen in the examples."""

    kind: Literal["label"]
    labels: tuple[str, ...] | None = None


class JsonScore(Frozen):
    """Field-level F1 of the JSON object (0 when it does not parse or breaks the schema), or 1 for all fields exact."""

    kind: Literal["json"]
    schema_file: Path | None = Field(default=None, alias="schema")
    measure: Literal["f1", "exact"] = "f1"


class NumberScore(Frozen):
    """1 when the last number of the answer is within `tolerance` (relative) of the wanted one."""

    kind: Literal["number"]
    tolerance: float = Field(default=1e-6, ge=0)


class ContainsScore(Frozen):
    """1 when the wanted output stands in the answer."""

    kind: Literal["contains"]
    ignore_case: bool = True


class RegexScore(Frozen):
    """1 when the pattern (the wanted output, unless `pattern` is given) is found in the answer."""

    kind: Literal["regex"]
    pattern: str | None = None


class AnswerScore(Frozen):
    """SQuAD token F1 (or exact match) after its normalisation (Rajpurkar et al. 2016)."""

    kind: Literal["answer"]
    measure: Literal["f1", "exact"] = "f1"


class ChrfScore(Frozen):
    """chrF2 in [0, 1] (Popović 2015), by sacrebleu."""

    kind: Literal["chrf"]


class RougeScore(Frozen):
    """ROUGE F-measure in [0, 1] (Lin 2004), by rouge-score."""

    kind: Literal["rouge"]
    measure: Literal["rouge1", "rouge2", "rougeL"] = "rougeL"


class PythonScore(Frozen):
    """A function of the user's: `score(answer: str, wanted: str) -> float | bool`, in [0, 1]."""

    kind: Literal["python"]
    file: Path
    function: str = "score"
    binary: bool = False


class JudgeScore(Frozen):
    """What a model says of the answer, by a rubric: `pass/fail`, or `1..5` mapped to [0, 1].

    `rubric` mode grades the answer beside the wanted output. `pairwise` asks in both orders which of the two is better:
    1 for the answer, 0 for the wanted output, 0.5 where neither is or the orders disagree. `calibration` is a table of
    answers that people labelled (`luthier judge --sample`). A judge of the base's family is refused unless
    `same_family`.
    """

    kind: Literal["judge"]
    model: str = Field(min_length=1)
    rubric: str = Field(min_length=1)
    scale: Literal["pass/fail", "1..5"] = "pass/fail"
    mode: Literal["rubric", "pairwise"] = "rubric"
    calibration: Path | None = None
    same_family: bool = False

    @model_validator(mode="after")
    def _pairs_have_no_scale(self) -> JudgeScore:
        if self.mode == "pairwise" and self.scale != "pass/fail":
            raise ValueError("mode: pairwise has no scale: two texts are compared; leave `scale` out")
        return self


Score = Annotated[
    ExactScore
    | LabelScore
    | JsonScore
    | NumberScore
    | ContainsScore
    | RegexScore
    | AnswerScore
    | ChrfScore
    | RougeScore
    | PythonScore
    | JudgeScore,
    Field(discriminator="kind"),
]


class SplitSettings(Frozen):
    """How examples are divided. Shares are of groups; `test_cases` overrides the test share.

    `group` and `time` are keys of the rows: what must not be divided, and a date; with one, the latest rows are test.
    """

    train: float = Field(default=0.70, gt=0, lt=1)
    development: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)
    test_cases: int | None = Field(default=None, ge=1)
    group: str | None = None
    time: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitSettings:
        total = self.train + self.development + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + development + test must be 1, not {total:.3f}")
        return self


class TrainSettings(Frozen):
    """How to fine-tune. None means: by table, from the size of the base and the number of rows.

    `qlora` is LoRA on a base in 4 bits (NF4 with double quantisation, Dettmers et al. 2023); it needs bitsandbytes.
    `prompt` says what stands before an input: the goal alone, so that what longer instructions describe is learned and
    every request is shorter, or all the instructions, which is safer where rows are few.

    Of LoRA and QLoRA: `alpha` None is 32 (8 with `rslora`); `layers` are names of the linear layers that get an
    adapter, as the model's modules end (`q_proj`), all of them where None; of the blocks that layers stand in, the
    first `from_layer` get none; `variant` is plain LoRA (Hu et al. 2021), `rslora`, which scales by the root of the
    rank (Kalajdzievski 2023), or `dora`, which learns magnitudes apart (Liu et al. 2024). `added_tokens` are texts
    that become one token each, whose rows of the embeddings are trained beside the adapter.

    `micro_batch_tokens` are run at once; fewer need less memory and change the result by rounding only. `seeds` is how
    often a fine-tuned rung is trained and measured, with `seed` and those after it: the first is what is adopted, the
    others show how much training again may change.
    `track` shows the course of training in a tracker as well; it changes nothing of the result.
    """

    method: Literal["lora", "qlora", "full"] = "lora"
    prompt: Literal["goal", "instructions"] = "goal"
    rank: int = Field(default=16, ge=1, le=512)
    alpha: int | None = Field(default=None, ge=1)
    layers: tuple[str, ...] | None = Field(default=None, min_length=1)
    from_layer: int = Field(default=0, ge=0)
    variant: Literal["plain", "rslora", "dora"] = "plain"
    added_tokens: tuple[str, ...] = ()
    learning_rate: float | None = Field(default=None, gt=0, lt=1)
    epochs: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    micro_batch_tokens: int | None = Field(default=None, ge=1)
    max_length: int | None = Field(default=None, ge=16)
    seed: int = 0
    seeds: int = Field(default=1, ge=1, le=20)
    track: TrackerName | None = None


class RetrievalSettings(Frozen):
    """What documents are indexed with: `minilm`, `wordllama`, or any sentence-transformers id or folder.

    `reranker` is a cross-encoder (a hub id or a folder of sentence-transformers) that may put what was found in order.
    """

    embedding: str = "minilm"
    reranker: str | None = None


class DecideSettings(Frozen):
    """How the ladder is climbed.

    `optimise` is how many answers may be asked for to find better instructions and demonstrations; 0 looks for none.
    `optimiser` is the model that writes new instructions (named as a base is); the base itself where None.
    `search` is how new instructions are looked for: as Luthier does, or by GEPA (the extra `gepa`).
    `votes` is how many answers the method `self-consistency` samples for each request.
    """

    methods: tuple[MethodName, ...] | None = Field(default=None, min_length=1)
    development_cases: int = Field(default=48, ge=4)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    margin: float | None = Field(default=None, gt=0, lt=1)
    budget: float | None = Field(default=None, gt=0)
    optimise: int = Field(default=0, ge=0)
    optimiser: str | None = None
    search: SearchName = "built-in"
    votes: int = Field(default=5, ge=3, le=32)

    @model_validator(mode="after")
    def _has_something_to_write(self) -> DecideSettings:
        named = [key for key in ("optimiser", "search") if getattr(self, key) != type(self).model_fields[key].default]
        if named and not self.optimise:
            raise ValueError(f"{named[0]} has nothing to do while optimise is 0: say how many answers it may ask for")
        return self

    @field_validator("methods")
    @classmethod
    def _each_method_once(cls, value: tuple[MethodName, ...] | None) -> tuple[MethodName, ...] | None:
        twice = [name for i, name in enumerate(value or ()) if name in (value or ())[:i]]
        if twice:
            raise ValueError(f"{twice[0]} is named twice")
        return value

    @field_validator("optimiser")
    @classmethod
    def _is_a_model(cls, value: str | None) -> str | None:
        if value in get_args(SearchName):
            raise ValueError(f"{value} is no model but a way to search: write `search: {value}`")
        return value


class LatencySettings(Frozen):
    """How long an answer may take, in seconds, for half of the requests and for 95 of 100; None is no limit."""

    p50_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    p95_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> LatencySettings:
        if self.p50_seconds is not None and self.p95_seconds is not None and self.p50_seconds > self.p95_seconds:
            raise ValueError(
                f"half of the requests may take {self.p50_seconds:g} seconds, but 95 of 100 must take less: "
                f"{self.p95_seconds:g}; exchange p50_seconds and p95_seconds, or leave one out"
            )
        return self


class Task(Frozen):
    """`luthier.yaml`, read and checked. Paths are absolute after loading and lie inside `folder`.

    `other_bases` are tried beside `base` on the same cases, with every method that each of them allows.
    """

    task: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    goal: str = Field(min_length=1)
    examples: Path
    test_examples: Path | None = None
    documents: Path | None = None
    traffic: Path | None = None
    instructions: str = ""
    score: Score
    bar: float | None = Field(default=None, gt=0, le=1)
    base: str = Field(min_length=1)
    other_bases: tuple[str, ...] = ()
    volume: int | None = Field(default=None, ge=1, le=10**15)
    latency: LatencySettings = LatencySettings()
    max_answer_tokens: int | None = Field(default=None, ge=1)
    prices: Path | None = None
    general: tuple[Path, ...] = ()
    review_by: dt.date | None = None
    split: SplitSettings = SplitSettings()
    decide: DecideSettings = DecideSettings()
    train: TrainSettings = TrainSettings()
    retrieval: RetrievalSettings = RetrievalSettings()

    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The folder that holds `luthier.yaml`."""
        return self._folder

    @model_validator(mode="after")
    def _answers_can_agree(self) -> Task:
        if "self-consistency" in (self.decide.methods or ()) and self.score.kind not in VOTED:
            raise ValueError(
                f"self-consistency counts answers that say the same, which answers scored by {self.score.kind} seldom "
                f"do: leave it out of decide.methods, or score by {', '.join(VOTED)}"
            )
        return self

    @model_validator(mode="after")
    def _has_what_is_looked_up(self) -> Task:
        named = [name for name in self.decide.methods or () if "retriev" in name]
        if named and self.documents is None:
            raise ValueError(
                f"decide.methods names {named[0]}, and there are no documents to look up: name their folder "
                "(documents: docs/), or leave the method out"
            )
        return self

    @field_validator("goal")
    @classmethod
    def _one_goal(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("say in a sentence what the answers should be like")
        return value.strip()

    @model_validator(mode="after")
    def _each_base_once(self) -> Task:
        names = (self.base, *self.other_bases)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"other_bases: {twice[0]} is named twice; name the bases beside `base`, each once")
        return self
