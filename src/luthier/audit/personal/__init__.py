"""Personal data and secrets in texts: where they stand, how they are shown, and how they are masked.

`_scan` finds them, with a module for each kind; `_veil` is for texts that are shown, `_mask` for rows that are written.
Nothing here knows of findings, which are shown through `veiled`; what is found becomes one in `_personal_findings`.
"""

from luthier.audit.personal._mask import mask_rows
from luthier.audit.personal._match import Kind, Match
from luthier.audit.personal._scan import scan_row, texts_of
from luthier.audit.personal._veil import excerpt, veiled

__all__ = ["Kind", "Match", "excerpt", "mask_rows", "scan_row", "texts_of", "veiled"]
