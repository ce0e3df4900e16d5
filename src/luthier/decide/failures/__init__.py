"""Why cases fail: the cause of each, clusters of them, and what to do.

`_form` mends answers, `_documents` looks for facts, `_references` doubts wanted answers, `_probes` asks the base;
`_causes` puts these together for each case, `_clusters` for many, `_sentences` in words; `_run` is the whole.
"""

from luthier.decide.failures._result import CAUSES, Cause, Cluster, Failures, FailureSample
from luthier.decide.failures._run import diagnose_failures, most_probes, right_from
from luthier.decide.failures._sentences import cause_lines, remedy_lines, share_words

__all__ = [
    "CAUSES",
    "Cause",
    "Cluster",
    "FailureSample",
    "Failures",
    "cause_lines",
    "diagnose_failures",
    "most_probes",
    "remedy_lines",
    "right_from",
    "share_words",
]
