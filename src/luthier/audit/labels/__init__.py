"""Labels: those that are probably wrong, and those that are one label in several spellings.

`_noise` holds the statistics of doubt; `columns` gives the labels of a task, also those that are values of JSON.
"""

from luthier.audit.labels._doubted import check_labels, columns
from luthier.audit.labels._suspected import Suspected, suspected_labels
from luthier.audit.labels._variants import check_variants, one_slip

__all__ = ["Suspected", "check_labels", "check_variants", "columns", "one_slip", "suspected_labels"]
