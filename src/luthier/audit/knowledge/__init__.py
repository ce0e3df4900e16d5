"""Knowledge or behaviour: which answers state facts that nothing gives, which of those change, which the base knows.

`_words` cuts a text into pieces, `_leaves` finds the values of JSON, `_given` says what a prompt gives, `_repeated`
what the answers share; `_novelty` puts these together and asks no model. `_probe`, `_rows` and `_label` ask the base.
`_check` and `_deep` make findings of it, without and with the base; for the diagnosis, `_stated` counts, and `_support`
looks for facts in passages.
"""

from luthier.audit.knowledge._check import check_knowledge
from luthier.audit.knowledge._deep import check_with_base
from luthier.audit.knowledge._probe import local
from luthier.audit.knowledge._stated import StatedFacts, stated_facts
from luthier.audit.knowledge._support import AnswerFacts, Passages, Support

__all__ = [
    "AnswerFacts",
    "Passages",
    "StatedFacts",
    "Support",
    "check_knowledge",
    "check_with_base",
    "local",
    "stated_facts",
]
