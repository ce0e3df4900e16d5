"""What would ruin a run: findings about the data, each with its rows, its reason, its fix and its effect."""

from luthier.audit._catalogue import EFFECTS
from luthier.audit._finding import Dataset, Finding, Sample, Severity, finding, sample
from luthier.audit._fix import Fixed, write_fixed
from luthier.audit._run import audit, worst_first

__all__ = [
    "EFFECTS",
    "Dataset",
    "Finding",
    "Fixed",
    "Sample",
    "Severity",
    "audit",
    "finding",
    "sample",
    "worst_first",
    "write_fixed",
]
