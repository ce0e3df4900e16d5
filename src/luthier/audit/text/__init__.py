"""How rows are written: the form of outputs, damage of texts, language, and outputs that are no answers.

`_form` and `_schema` say which rows cannot be used; `_formats`, `_keys`, `_language`, `_quality`, `_degenerate` and
`_refusals` which stand apart from the rest; `_traces` and `_damage` what befell a text, and `_mend` repairs it.
"""

from luthier.audit.text._damage import check_text, texts
from luthier.audit.text._degenerate import check_degenerate
from luthier.audit.text._form import check_form, wrong_output
from luthier.audit.text._formats import check_formats
from luthier.audit.text._keys import check_keys
from luthier.audit.text._language import check_language
from luthier.audit.text._mend import mender
from luthier.audit.text._quality import check_quality
from luthier.audit.text._refusals import check_refusals

__all__ = [
    "check_degenerate",
    "check_form",
    "check_formats",
    "check_keys",
    "check_language",
    "check_quality",
    "check_refusals",
    "check_text",
    "mender",
    "texts",
    "wrong_output",
]
