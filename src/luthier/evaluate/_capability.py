"""General capability before and after training, item by item."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from luthier.data import content_hash
from luthier.errors import ModelError
from luthier.evaluate._battery import MIN_TEXTS, Battery, BatteryProgress, ScoringModel, TextFamily
from luthier.evaluate._battery_items import AskFamily, ChoiceFamily
from luthier.evaluate._battery_texts import TokenText, make_texts
from luthier.evaluate._capability_gate import Capability, FamilyResult, Pairs, accuracy_results, judge, text_result
from luthier.evaluate._capability_scoring import Outcome, Step, TextOutcome, ask, compare_texts, score_choices
from luthier.models import Model
from luthier.store import read_json, write_json

_STAGE = "general capability"
_RESULTS_FORMAT = 1
Rows = list[dict[str, Any]]


def _silent(stage: str, done: int, total: int, remark: str) -> None:
    """A progress callback that shows nothing."""


def measure_capability(
    base: Model, tuned: Model, battery: Battery, *, progress: BatteryProgress = _silent
) -> Capability:
    """Ask both models the battery and compare them, paired by item.

    Results of a model are kept in the battery's cache, family by family: the base is asked once, and an interrupted
    measurement goes on where it stopped. Base and tuned being one model (weights unchanged) gives a report that says
    so, without running anything.

    Raises:
        ModelError: the battery was built for another base; only one of the models gives log-probabilities; a
            model cannot be asked, or gives log-probabilities that are not finite.
    """
    if tuned.identity == base.identity:
        return _unchanged(base, battery)
    _check_fit(base, tuned, battery)
    run = _Run(battery, progress)
    pairs = [run.choices(base, tuned, family) for family in battery.choices]
    pairs += [run.asked(base, tuned, family) for family in battery.asks]
    texts, not_compared = _compare_all_texts(run, base, tuned, battery)
    run.finish()
    families = [*accuracy_results(pairs), *texts]
    passed, reasons, advice, notes = judge(families)
    return Capability(
        families=tuple(families),
        passed=passed,
        reasons=reasons,
        battery_hash=battery.hash,
        base=base.identity,
        tuned=tuned.identity,
        size=battery.size,
        advice=advice,
        notes=(*battery.notes, *not_compared, *notes),
    )


class _Run:
    """One measurement: shows how far it is, and keeps each family's results as soon as they are known."""

    def __init__(self, battery: Battery, progress: BatteryProgress) -> None:
        self._battery, self._progress = battery, progress
        self._done = 0
        self._total = 2 * sum(len(f.items) for part in (battery.choices, battery.asks) for f in part)
        self._total += 2 * sum(len(family.prompts) for family in battery.texts)

    def choices(self, base: Model, tuned: Model, family: ChoiceFamily) -> Pairs:
        """Both models on a family scored by log-probability."""

        def score(model: Model) -> tuple[Outcome, ...]:
            assert isinstance(model, ScoringModel)
            key, step = [family.name, model.identity], self._stepper(f"{family.name}: {model.name}")
            rows = self._kept(key, step, len(family.items), lambda: map(asdict, score_choices(model, family, step)))
            return tuple(Outcome(**row) for row in rows)

        sizes = [len(item.options) for item in family.items]
        guessing = sum(0.0 if size == 1 else 1 / size for size in sizes) / len(sizes)
        return Pairs(family.name, tuple(item.label for item in family.items), score(base), score(tuned), guessing)

    def asked(self, base: Model, tuned: Model, family: AskFamily) -> Pairs:
        """Both models on a family that is answered."""

        def answers(model: Model) -> tuple[Outcome, ...]:
            key, step = [family.name, model.identity], self._stepper(f"{family.name}: {model.name}")
            rows = self._kept(key, step, len(family.items), lambda: map(asdict, ask(model, family, step)))
            return tuple(Outcome(**row) for row in rows)

        return Pairs(family.name, tuple(item.prompt for item in family.items), answers(base), answers(tuned))

    def texts(self, base: ScoringModel, family: TextFamily) -> list[TokenText]:
        """The family's texts, some of which the base has to write."""
        step = self._stepper(f"{family.name}: written by {base.name}")

        def write() -> Rows:
            made = [asdict(text) for text in make_texts(base, family)]
            step(len(family.prompts))
            return made

        rows = self._kept([family.name, "texts"], step, len(family.prompts), write)
        return [TokenText(tuple(row["ids"]), row["start"], row["text"]) for row in rows]

    def compared(
        self, base: ScoringModel, tuned: ScoringModel, family: TextFamily, texts: list[TokenText]
    ) -> FamilyResult:
        """Both models side by side on texts."""
        key, step = [family.name, base.identity, tuned.identity], self._stepper(f"{family.name}: both models")
        rows = self._kept(key, step, len(texts), lambda: map(asdict, compare_texts(base, tuned, texts, step)))
        outcomes = [TextOutcome(tuple(r["kl"]), tuple(r["before"]), tuple(r["after"])) for r in rows]
        return text_result(family.name, "kl" if family.source == "chat" else "nll", outcomes)

    def finish(self) -> None:
        """Says that all is done, whatever was left out on the way."""
        self._progress(_STAGE, self._total, self._total, "done")

    def _stepper(self, remark: str) -> Step:
        def step(count: int) -> None:
            self._done += count
            self._progress(_STAGE, min(self._done, self._total), self._total, remark)

        return step

    def _kept(self, key: list[str], step: Step, count: int, compute: Callable[[], Iterable[dict[str, Any]]]) -> Rows:
        if self._battery.cache is None:
            return list(compute())
        path = self._battery.cache / f"{content_hash([_RESULTS_FORMAT, self._battery.hash, *key])[:32]}.json"
        if path.exists():
            step(count)
            rows: Rows = read_json(path)["rows"]
            return rows
        rows = list(compute())
        write_json(path, {"format": _RESULTS_FORMAT, "battery": self._battery.hash, "of": key, "rows": rows})
        return rows


def _compare_all_texts(
    run: _Run, base: Model, tuned: Model, battery: Battery
) -> tuple[list[FamilyResult], tuple[str, ...]]:
    """Results of the text families, and why some are missing."""
    if not battery.texts:
        return [], ()
    assert isinstance(base, ScoringModel) and isinstance(tuned, ScoringModel)
    if base.tokenizer.get_vocab() != tuned.tokenizer.get_vocab():
        return [], (
            "the two models have different vocabularies: how far the one drifted from the other has no meaning",
        )
    found, notes = [], []
    for family in battery.texts:
        texts = run.texts(base, family)
        if len(texts) < MIN_TEXTS:
            notes.append(
                f"{family.name}: not compared, the base wrote only {len(texts)} texts of {len(family.prompts)}"
            )
        else:
            found.append(run.compared(base, tuned, family, texts))
    return found, tuple(notes)


def _unchanged(base: Model, battery: Battery) -> Capability:
    return Capability(
        families=(),
        passed=True,
        reasons=(),
        battery_hash=battery.hash,
        base=base.identity,
        tuned=base.identity,
        size=battery.size,
        unchanged=True,
        notes=("unchanged by construction: the weights are the base's own, so nothing was run",),
    )


def _check_fit(base: Model, tuned: Model, battery: Battery) -> None:
    if base.identity != battery.base:
        raise ModelError(
            f"the battery was built for another base than {base.name}",
            why="its texts are written by the base itself",
            fix="build the battery with this base",
        )
    if isinstance(base, ScoringModel) and not isinstance(tuned, ScoringModel):
        raise ModelError(
            f"{base.name} gives log-probabilities and {tuned.name} does not, so they cannot be compared",
            fix="serve both models in the same way, or name the tuned weights instead of their endpoint",
        )
