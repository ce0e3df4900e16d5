"""When a step shows that a run has gone wrong: what stops it, and what its error says."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from luthier.errors import Problem, TrainingError
from luthier.train._recipe import Recipe
from luthier.train._result import CurvePoint
from luthier.train._rows import EncodedRow

WORSE_THAN_GUESSING = 1.5  # times the loss of guessing at random, and times the first loss
EXPLODED = 100.0  # times the usual norm of the gradient
IN_A_ROW = 3  # steps; the error says it in words
USUAL_OVER = 100  # steps whose median norm is the usual one
FEW = 10  # steps of which none is usual yet


def trouble(curve: Sequence[CurvePoint], loss: float, norm: float, clip: float, vocabulary: int) -> str | None:
    """What is wrong with a step, None where it may be taken.

    - The loss or the norm of the gradient is not finite; the very first loss is zero.
    - The loss is over 1.5 times that of guessing at random and over 1.5 times the first one.
    - The norm is over 100 times the usual one for the third step in a row. Usual is the median of up to 100 steps
      before those three, but never less than the norm that gradients are clipped to. One such step is no reason to
      stop: clipping bounds what it does, and a row unlike the others has a large gradient in a healthy run. Neither is
      a large multiple of next to nothing: late in a run that has learned its rows the median is small.

    Args:
        curve: the steps before.
        loss: of this step, in nats a label token.
        norm: of this step's gradient before it is clipped.
        clip: the norm that gradients are clipped to.
        vocabulary: tokens that a guess at random chooses from.
    """
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return f"the loss is {loss:.3g} with a gradient of {norm:.3g}"
    if not curve:
        return "the loss is zero: there is nothing to learn" if loss == 0 else None
    guessing, first = math.log(vocabulary), curve[0].loss
    if loss > WORSE_THAN_GUESSING * max(guessing, first):
        return (
            f"the loss is {loss:.3g}, where guessing at random gives {guessing:.3g} and the first step had {first:.3g}"
        )
    lately = [*(point.gradient_norm for point in curve[1 - IN_A_ROW :]), norm]
    earlier = [point.gradient_norm for point in curve[: 1 - IN_A_ROW]][-USUAL_OVER:]
    if len(earlier) < FEW:
        return None
    usual = max(clip, statistics.median(earlier))
    if min(lately) > EXPLODED * usual:
        often = "for the third step in a row"
        return f"the gradient has a norm of {norm:.3g}, over {EXPLODED:g} times the usual {usual:.3g} {often}"
    return None


def stopped_by(what: str, step: int, rows: Sequence[EncodedRow], recipe: Recipe, best: str) -> TrainingError:
    """The error for a step that is not taken.

    Args:
        what: is wrong, as `trouble` says.
        step: counted from 1.
        rows: of the step.
        recipe: of the run.
        best: where the best weights so far lie; empty where none were scored.
    """
    return TrainingError(
        f"step {step} cannot be taken: {what}",
        why="the weights of such a step are of no use; what was saved before it is untouched" + (best and f". {best}"),
        fix=f"lower the learning rate (train: {{learning_rate: {recipe.learning_rate / 3:.1g}}} in luthier.yaml); "
        "if that does not help, look at the rows named above",
        problems=[Problem(f"row {row.id}", row.source or None) for row in rows],
    )


def out_of_memory(step: int, device: str, recipe: Recipe, rows: Sequence[EncodedRow]) -> TrainingError:
    """The error for a step that the device's memory does not hold.

    Args:
        step: counted from 1.
        device: that ran out of memory.
        recipe: of the run.
        rows: of the step.
    """
    longest, budget = max(len(row.ids) for row in rows), recipe.tokens_per_micro_batch
    if longest <= budget // 2:
        fix = (
            f"lower train: {{micro_batch_tokens: {budget // 2}}} in luthier.yaml and run the same command again: it "
            "goes on from the last checkpoint, and the result is the same within rounding"
        )
    else:
        fix = (
            f"the longest row of the step has {longest} tokens, and no micro-batch cuts a row: take such rows out, "
            "give them less to read (shorter instructions), or choose a smaller base (base: in luthier.yaml)"
        )
    return TrainingError(
        f"step {step} does not fit into the memory of {device}",
        why=f"up to {max(longest, budget)} tokens are run at once; the checkpoint of what was done before is kept",
        fix=fix,
        problems=[Problem(f"row {row.id}, {len(row.ids)} tokens", row.source or None) for row in rows],
    )
