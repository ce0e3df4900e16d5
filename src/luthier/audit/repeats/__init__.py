"""What is there more than once: copies, templates, test cases that are given away, answers that stand in their input.

`_overlap` looks for runs of words in common; each other module makes findings of one kind of repeat.
"""

from luthier.audit.repeats._answers import check_answers
from luthier.audit.repeats._battery import check_battery
from luthier.audit.repeats._copies import check_repeats
from luthier.audit.repeats._leakage import check_leakage
from luthier.audit.repeats._templates import check_templates

__all__ = ["check_answers", "check_battery", "check_leakage", "check_repeats", "check_templates"]
