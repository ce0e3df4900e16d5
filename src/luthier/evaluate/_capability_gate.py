"""What the two models' results say: differences with intervals, and whether something was lost. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from luthier.errors import StoreError
from luthier.evaluate._capability_scoring import Outcome, TextOutcome
from luthier.evaluate._statistics_paired import bonett_price, mid_p_mcnemar, paired_t

CAPABILITY_FORMAT = 1

Kind = Literal["accuracy", "kl", "nll"]
FamilyState = Literal["kept", "watch", "lost"]

ALPHA = 0.05  # over all families, by Holm
LOSS = -0.05  # a smaller loss of accuracy is not called lost, however sure it is
ALLOWED = -0.10  # an interval that reaches further down is watched
LIMITS: Mapping[Kind, tuple[float, float]] = {"kl": (0.10, 0.50), "nll": (0.05, 0.15)}  # nats a token: watch, lost
_SHOWN = 20
_POWER_Z = 0.8416  # 80 % power
_TYPICAL_FLIPS = 0.10  # share of items that change even where nothing is lost


@dataclass(frozen=True)
class Flips:
    """Items that changed: right before and wrong after, and the other way round."""

    lost: int
    gained: int


@dataclass(frozen=True)
class FamilyResult:
    """One family before and after.

    Accuracies are shares of `n` items; "kl" and "nll" are nats per token over `n` texts, "kl" being KL(base || tuned)
    (so `before` is 0) and "nll" the negative log-likelihood. `difference` is after - before, `low` and `high` its 95 %
    interval. `p` is the one-sided mid-p of a loss (None for texts). `limit` is where the family counts as lost.
    `detectable` is the true loss that these items find with 80 % power (None for texts). `details` has what else was
    found; `regressions` names items that were right before and are wrong now (at most 20).
    """

    name: str
    kind: Kind
    n: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float | None
    flips: Flips
    state: FamilyState
    limit: float
    detectable: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    regressions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Capability:
    """What was kept and what was lost. `passed` is False when any family is lost.

    `reasons` say what was lost, `advice` what to do about it; `notes` what to watch and what could not be measured.
    `unchanged` says that base and tuned are the same model, so nothing was run.
    """

    families: tuple[FamilyResult, ...]
    passed: bool
    reasons: tuple[str, ...]
    battery_hash: str
    base: str = ""
    tuned: str = ""
    size: str = "full"
    unchanged: bool = False
    advice: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For saving as JSON."""
        return {"format": CAPABILITY_FORMAT} | asdict(self)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Capability:
        """The inverse of `as_dict`.

        Raises:
            StoreError: saved by a newer version.
        """
        if value.get("format", CAPABILITY_FORMAT) > CAPABILITY_FORMAT:
            raise StoreError(
                f"this capability report has format {value['format']}; this luthier reads up to {CAPABILITY_FORMAT}",
                fix="pip install -U luthier",
            )
        families = tuple(
            FamilyResult(**{**f, "flips": Flips(**f["flips"]), "regressions": tuple(f["regressions"])})
            for f in value["families"]
        )
        rest: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k not in ("format", "families")
        }
        return Capability(families=families, **rest)


@dataclass(frozen=True)
class Pairs:
    """A family with accuracy, answered by both models. `chance` is the accuracy of guessing (0 where none)."""

    name: str
    labels: tuple[str, ...]
    before: tuple[Outcome, ...]
    after: tuple[Outcome, ...]
    chance: float = 0.0


def accuracy_results(families: Sequence[Pairs]) -> list[FamilyResult]:
    """Paired accuracies: mid-p McNemar, Holm over the families, Bonett-Price intervals.

    Lost: the loss is significant after Holm's correction and at least 0.05. Watch: the interval allows a loss of more
    than 0.10, or the right options have become clearly less likely. A changed answer counts even where as many were
    gained (Dutta et al. 2024): see `flips`.
    """
    flips = [_flips(pairs) for pairs in families]
    raw = [mid_p_mcnemar(flip.lost, flip.gained) for flip in flips]
    return [
        _accuracy(pairs, flip, p, adjusted, len(families))
        for pairs, flip, p, adjusted in zip(families, flips, raw, holm(raw), strict=True)
    ]


def _accuracy(pairs: Pairs, flips: Flips, p: float, adjusted: float, families: int) -> FamilyResult:
    n = len(pairs.before)
    before = sum(outcome.right for outcome in pairs.before) / n
    after = sum(outcome.right for outcome in pairs.after) / n
    difference = (flips.gained - flips.lost) / n
    low, high = bonett_price(flips.gained, flips.lost, n, ALPHA / 2)
    details = {"p_holm": adjusted, "flip_rate": (flips.lost + flips.gained) / n, "guessing": pairs.chance}
    details |= _likelihood(pairs)
    less_likely = details.get("chance_high", 0.0) < 0 and details.get("chance_difference", 0.0) <= LOSS
    state: FamilyState = "kept"
    if adjusted < ALPHA and difference <= LOSS:
        state = "lost"
    elif low < ALLOWED or less_likely:
        state = "watch"
    lost = [
        label
        for label, was, now in zip(pairs.labels, pairs.before, pairs.after, strict=True)
        if was.right and not now.right
    ]
    return FamilyResult(
        pairs.name, "accuracy", n, before, after, difference, low, high, p, flips, state, LOSS,
        detectable_loss(n, details["flip_rate"], ALPHA / families), details, tuple(lost[:_SHOWN]),
    )  # fmt: skip


def _likelihood(pairs: Pairs) -> dict[str, float]:
    """The probability given to the right option: moves before an answer flips, so it shows smaller losses."""
    before = [o.chance for o in pairs.before if o.chance is not None]
    after = [o.chance for o in pairs.after if o.chance is not None]
    if not before:
        return {}
    found = paired_t(np.subtract(after, before), [str(i) for i in range(len(before))], ALPHA / 2)
    return {
        "chance_before": float(np.mean(before)),
        "chance_after": float(np.mean(after)),
        "chance_difference": found.difference,
        "chance_low": found.low,
        "chance_high": found.high,
    }


def text_result(name: str, kind: Kind, texts: Sequence[TextOutcome]) -> FamilyResult:
    """Mean over tokens, standard error over texts (cluster-robust), against the limits of `LIMITS`.

    The state follows the mean. What is not gated (divergence on plain text, likelihood of chat answers, the ratio of
    perplexities) is in `details`. Forgetting follows KL(base || tuned): Shenfeld et al. 2025.
    """
    groups = [str(i) for i, text in enumerate(texts) for _ in text.kl]
    kl = np.concatenate([text.kl for text in texts])
    before = np.concatenate([text.before for text in texts])
    after = np.concatenate([text.after for text in texts])
    mean, low, high = _clustered(kl if kind == "kl" else after - before, groups)
    watch, lost = LIMITS[kind]
    state: FamilyState = "kept" if mean <= watch else "watch" if mean <= lost else "lost"
    delta = float((after - before).mean())
    details = {
        "tokens": float(len(kl)),
        "kl": float(kl.mean()),
        "nll_before": float(before.mean()),
        "nll_after": float(after.mean()),
        "perplexity_ratio": math.exp(min(delta, 700.0)),
    }
    start = 0.0 if kind == "kl" else details["nll_before"]
    return FamilyResult(
        name, kind, len(texts), start, start + mean, mean, low, high, None, Flips(0, 0), state, lost, None, details
    )


def judge(families: Sequence[FamilyResult]) -> tuple[bool, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(passed, reasons, advice, notes) in plain words."""
    lost = [family for family in families if family.state == "lost"]
    reasons = tuple(_sentence(family) for family in lost)
    advice = (
        (
            "lower the adapter's scale: forgetting falls with its square while the gain hardly does above one half",
            "train fewer epochs, or at a half to a third of the learning rate",
        )
        if lost
        else ()
    )
    notes = [f"watch {_sentence(family)}" for family in families if family.state == "watch"]
    notes += _limits_of_sight([family for family in families if family.kind == "accuracy"])
    return not lost, reasons, advice, tuple(notes)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the chance of any false rejection (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def detectable_loss(n: int, flip_rate: float, alpha: float) -> float:
    """The true loss that a paired test of `n` items at one-sided `alpha` finds with 80 % power.

    From n = (z_alpha + z_power)^2 (flips - loss^2) / loss^2 (Miettinen 1968); flips are at least 10 %, and the loss.
    """
    from scipy.special import ndtri

    weight = (_POWER_Z - float(ndtri(alpha))) ** 2
    flips = max(flip_rate, _TYPICAL_FLIPS)
    loss = math.sqrt(weight * flips / (n + weight))
    return loss if loss <= flips else weight / (n + weight)


def _flips(pairs: Pairs) -> Flips:
    changed = [(was.right, now.right) for was, now in zip(pairs.before, pairs.after, strict=True)]
    return Flips(changed.count((True, False)), changed.count((False, True)))


def _clustered(values: Any, groups: Sequence[str]) -> tuple[float, float, float]:
    """Mean with its 95 % interval. Scaled down and up again, because differences of scores are bounded by 1."""
    scale = 1.0 + float(np.abs(values).max()) * len(values)
    found = paired_t(values / scale, groups, ALPHA / 2)
    return found.difference * scale, found.low * scale, found.high * scale


def _sentence(family: FamilyResult) -> str:
    if family.kind == "accuracy":
        return (
            f"{family.name}: {family.before:.2f} before, {family.after:.2f} after ({family.difference:+.2f}, 95 % "
            f"interval {family.low:+.2f} to {family.high:+.2f}; {family.flips.lost} of {family.n} lost, "
            f"{family.flips.gained} gained)"
        )
    ratio = family.details["perplexity_ratio"]
    what = "divergence from the base" if family.kind == "kl" else "rise of the negative log-likelihood"
    return (
        f"{family.name}: {what} {family.difference:.2f} nats a token (95 % interval {family.low:.2f} to "
        f"{family.high:.2f}; limit {family.limit:.2f}; perplexity x {ratio:.3g})"
    )


def _limits_of_sight(families: Sequence[FamilyResult]) -> list[str]:
    """What these items cannot show, said so that no one takes silence for proof."""
    sizes = [f"{family.name} {family.detectable:.2f}" for family in families if family.detectable is not None]
    notes = [f"true losses that are found 8 times in 10 (smaller ones are not): {', '.join(sizes)}"] if sizes else []
    for family in families:
        guessing, right = family.details["guessing"], round(family.before * family.n)
        error = math.sqrt(guessing * (1 - guessing) / family.n)
        if family.before < guessing + 2 * error:
            reason = f"hardly better than guessing ({family.before:.2f}), so a loss cannot show here"
        elif mid_p_mcnemar(right, 0) * len(families) >= ALPHA:
            reason = f"right on only {right} of {family.n}, too few for any loss to be sure"
        else:
            continue
        notes.append(f"{family.name}: the base itself is {reason}")
    return notes
