"""Why a row cannot be used."""

from __future__ import annotations


class RowError(ValueError):
    """Why a row cannot be used; `code` is the stable kind of the reason."""

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        super().__init__(what)
