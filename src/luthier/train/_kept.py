"""Rows as tokens, kept in the run's folder: a run that goes on, or is asked for again, does not render them again.

The name of what is kept is a hash of all that decides the tokens: rows, base (with its tokenizer and template), longest
row, and the versions of the packages that render.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path

import torch

from luthier.data import content_hash
from luthier.models import LocalModel
from luthier.store import new_folder
from luthier.train._files import read_tensors, write_tensors
from luthier.train._rows import EncodedRow, TrainingRow, encode_rows

KEPT, FILE = "rows", "rows.safetensors"
KEEP_FROM = 1_000  # rows; fewer are rendered in a second or two
FORMAT = 1  # raise it when the same rows give other tokens


class KeptRows:
    """The encoded rows of a run, from its folder where they lie there.

    `encoded` are what `encode_rows` gives for the same arguments, and it raises what that raises.
    """

    def __init__(self, base: LocalModel, rows: Sequence[TrainingRow], max_length: int | None, out: Path) -> None:
        self._file = out / KEPT / _key(base, rows, max_length) / FILE
        self._known = len(rows) >= KEEP_FROM and self._file.is_file()
        self.encoded = _read(self._file, rows) if self._known else encode_rows(base, rows, max_length)

    def keep(self) -> None:
        """Write them, whole or not at all, where they are many and not kept yet; what was kept before is not touched.

        Raises:
            DiskFullError, StoreError: they could not be written.
        """
        if self._known or len(self.encoded) < KEEP_FROM:
            return
        tensors = {
            "ids": torch.tensor([token for row in self.encoded for token in row.ids], dtype=torch.int32),
            "lengths": torch.tensor([len(row.ids) for row in self.encoded], dtype=torch.int32),
            "starts": torch.tensor([row.start for row in self.encoded], dtype=torch.int32),
        }
        with new_folder(self._file.parent) as folder:
            write_tensors(folder / FILE, tensors)


def _key(base: LocalModel, rows: Sequence[TrainingRow], max_length: int | None) -> str:
    made_by = [version(name) for name in ("transformers", "tokenizers", "jinja2")]
    content = [[[message.as_dict() for message in row.messages], row.output] for row in rows]
    return content_hash([FORMAT, base.identity, max_length, made_by, content])[:20]


def _read(file: Path, rows: Sequence[TrainingRow]) -> list[EncodedRow]:
    tensors = read_tensors(file)
    ids, lengths, starts = (tensors[name].tolist() for name in ("ids", "lengths", "starts"))
    ends = accumulate(lengths, initial=0)
    return [
        EncodedRow(row.id, row.source, tuple(ids[begin:end]), start)
        for row, (begin, end), start in zip(rows, pairwise(ends), starts, strict=True)
    ]
