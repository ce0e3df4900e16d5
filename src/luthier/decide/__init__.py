"""Which rung: the ladder, the verdict, the warrant, the cost, the diagnosis."""

from luthier.decide._bench import Bench, Progress, silent
from luthier.decide._choose import answers_to_choose
from luthier.decide._cost import own_machine_price
from luthier.decide._costs import CostReport, Crossing, Draws, Effect, RungCost, Turn
from luthier.decide._curve import CurveMethod, CurveWork, forecast_curve, measure_curve
from luthier.decide._evidence import (
    Comparison,
    Cost,
    Evidence,
    JudgeEvidence,
    Repeat,
    Rules,
    RungEvidence,
    RungVerdict,
    State,
    Timing,
    Verdict,
    VerdictKind,
    Warrant,
)
from luthier.decide._judged import JudgedPair, judged_pair, with_labels
from luthier.decide._judged_standing import ALL_LABELS, RUNG_LABELS, JudgedStanding, judged_standing
from luthier.decide._ladder import Climb, Climbed, climb, rules_of
from luthier.decide._latency import too_slow
from luthier.decide._optimise import most_written, optimiser_answers, require_search
from luthier.decide._planned import LADDER, Planned, planned_rungs, rung_names
from luthier.decide._power import Power, power_of
from luthier.decide._power_outlooks import Outlook, PairOutlook
from luthier.decide._rungs import draw_demonstrations, plain_system, variant_count
from luthier.decide._system import Lookup, Setup, System, read_setup
from luthier.decide._tuning import SCALES, Method, TrainingForecast, forecast_training, train_along
from luthier.decide._tuning import tuned as prepare_tuned
from luthier.decide._verdict import decide
from luthier.decide.failures import Cluster, Failures, FailureSample, cause_lines, most_probes, share_words

__all__ = [
    "ALL_LABELS",
    "LADDER",
    "RUNG_LABELS",
    "SCALES",
    "Bench",
    "Climb",
    "Climbed",
    "Cluster",
    "Comparison",
    "Cost",
    "CostReport",
    "Crossing",
    "CurveMethod",
    "CurveWork",
    "Draws",
    "Effect",
    "Evidence",
    "FailureSample",
    "Failures",
    "JudgeEvidence",
    "JudgedPair",
    "JudgedStanding",
    "Lookup",
    "Method",
    "Outlook",
    "PairOutlook",
    "Planned",
    "Power",
    "Progress",
    "Repeat",
    "Rules",
    "RungCost",
    "RungEvidence",
    "RungVerdict",
    "Setup",
    "State",
    "System",
    "Timing",
    "TrainingForecast",
    "Turn",
    "Verdict",
    "VerdictKind",
    "Warrant",
    "answers_to_choose",
    "cause_lines",
    "climb",
    "decide",
    "draw_demonstrations",
    "forecast_curve",
    "forecast_training",
    "judged_pair",
    "judged_standing",
    "measure_curve",
    "most_probes",
    "most_written",
    "optimiser_answers",
    "own_machine_price",
    "plain_system",
    "planned_rungs",
    "power_of",
    "prepare_tuned",
    "read_setup",
    "require_search",
    "rules_of",
    "rung_names",
    "share_words",
    "silent",
    "too_slow",
    "train_along",
    "variant_count",
    "with_labels",
]
