"""Answers that probably belong to another row, judged by how likely the base finds them beside those of other rows.

`_trials` says what is asked, `_asked` asks it, `_doubt` holds the statistics, `_check` makes a finding of them.
"""

from luthier.audit.surprise._check import check_surprise

__all__ = ["check_surprise"]
