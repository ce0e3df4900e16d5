"""Is it better: scorers, the runner, statistics."""

from luthier.evaluate._asking import AnswerStore
from luthier.evaluate._battery import Battery, build_battery
from luthier.evaluate._battery_files import general_texts
from luthier.evaluate._battery_items import battery_texts, replay_prompts
from luthier.evaluate._capability import measure_capability
from luthier.evaluate._capability_gate import Capability, FamilyResult, Flips
from luthier.evaluate._judge import JudgeScorer
from luthier.evaluate._labels import (
    ToLabel,
    answer_id,
    drawing_order,
    label_table,
    label_words,
    read_labels,
    read_table,
    usable_labels,
)
from luthier.evaluate._records import Record, Scored
from luthier.evaluate._runner import Answerer, answer_key, ask_all, measure, measure_together, spent_on
from luthier.evaluate._scorers import Scorer, make_scorer
from luthier.evaluate._scorers_text import last_number, squad_tokens
from luthier.evaluate._statistics import (
    MIN_GROUPS,
    clopper_pearson,
    grouped,
    is_clustered,
    mean_bounds,
    mean_p,
    wilson,
)
from luthier.evaluate._statistics_adequacy import (
    LOOK_EVERY,
    Adequacy,
    AdequacyState,
    Settled,
    adequacy_state,
    bounds,
    display_interval,
    settle,
)
from luthier.evaluate._statistics_assurance import MIN_CASES, more_cases, more_pairs
from luthier.evaluate._statistics_calibration import Agreement, Rate, agreement
from luthier.evaluate._statistics_chances import (
    Chances,
    cases_to_settle,
    least_difference,
    pair_chances,
    pairs_to_see,
    settled_chances,
)
from luthier.evaluate._statistics_judged import Corrected, corrected_difference, corrected_mean
from luthier.evaluate._statistics_judged_tries import JudgedTries
from luthier.evaluate._statistics_paired import (
    Paired,
    better_by,
    bonett_price,
    compare,
    mid_p_mcnemar,
    paired_t,
)
from luthier.evaluate._statistics_power import (
    DISCORDANT,
    POWER,
    adequacy_cases,
    adequate_score,
    detectable_difference,
)
from luthier.evaluate._statistics_sequential import (
    betting_e_process,
    confidence_sequence,
    e_process_adequacy,
)
from luthier.evaluate._statistics_tries import ICC, Tries, enlarged, least_difference_tried, sources_to_show
from luthier.evaluate._votes import vote_form

__all__ = [
    "DISCORDANT",
    "ICC",
    "LOOK_EVERY",
    "MIN_CASES",
    "MIN_GROUPS",
    "POWER",
    "Adequacy",
    "AdequacyState",
    "Agreement",
    "AnswerStore",
    "Answerer",
    "Battery",
    "Capability",
    "Chances",
    "Corrected",
    "FamilyResult",
    "Flips",
    "JudgeScorer",
    "JudgedTries",
    "Paired",
    "Rate",
    "Record",
    "Scored",
    "Scorer",
    "Settled",
    "ToLabel",
    "Tries",
    "adequacy_cases",
    "adequacy_state",
    "adequate_score",
    "agreement",
    "answer_id",
    "answer_key",
    "ask_all",
    "battery_texts",
    "better_by",
    "betting_e_process",
    "bonett_price",
    "bounds",
    "build_battery",
    "cases_to_settle",
    "clopper_pearson",
    "compare",
    "confidence_sequence",
    "corrected_difference",
    "corrected_mean",
    "detectable_difference",
    "display_interval",
    "drawing_order",
    "e_process_adequacy",
    "enlarged",
    "general_texts",
    "grouped",
    "is_clustered",
    "label_table",
    "label_words",
    "last_number",
    "least_difference",
    "least_difference_tried",
    "make_scorer",
    "mean_bounds",
    "mean_p",
    "measure",
    "measure_capability",
    "measure_together",
    "mid_p_mcnemar",
    "more_cases",
    "more_pairs",
    "pair_chances",
    "paired_t",
    "pairs_to_see",
    "read_labels",
    "read_table",
    "replay_prompts",
    "settle",
    "settled_chances",
    "sources_to_show",
    "spent_on",
    "squad_tokens",
    "usable_labels",
    "vote_form",
    "wilson",
]
