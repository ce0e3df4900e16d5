"""Is it better: scorers, the runner, statistics."""

from luthier.evaluate._records import Record, Scored
from luthier.evaluate._runner import Answerer, AnswerStore, answer_key, measure
from luthier.evaluate._scorers import Scorer, make_scorer
from luthier.evaluate._scorers_text import last_number, squad_tokens
from luthier.evaluate._statistics import (
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
    adequacy_state,
    bounds,
    display_interval,
)
from luthier.evaluate._statistics_assurance import more_cases, more_pairs
from luthier.evaluate._statistics_paired import (
    Paired,
    better_by,
    bonett_price,
    compare,
    mid_p_mcnemar,
    paired_t,
)
from luthier.evaluate._statistics_sequential import (
    betting_e_process,
    confidence_sequence,
    e_process_adequacy,
)

__all__ = [
    "LOOK_EVERY",
    "Adequacy",
    "AdequacyState",
    "AnswerStore",
    "Answerer",
    "Paired",
    "Record",
    "Scored",
    "Scorer",
    "adequacy_state",
    "answer_key",
    "better_by",
    "betting_e_process",
    "bonett_price",
    "bounds",
    "clopper_pearson",
    "compare",
    "confidence_sequence",
    "display_interval",
    "e_process_adequacy",
    "grouped",
    "is_clustered",
    "last_number",
    "make_scorer",
    "mean_bounds",
    "mean_p",
    "measure",
    "mid_p_mcnemar",
    "more_cases",
    "more_pairs",
    "paired_t",
    "squad_tokens",
    "wilson",
]
