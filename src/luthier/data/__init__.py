"""What you have: readers and splits."""

from luthier.data._characters import visible
from luthier.data._duplicates import near_duplicate_groups
from luthier.data._examples import (
    Document,
    Example,
    Message,
    Origin,
    Role,
    Source,
    Split,
    content_hash,
    messages_from,
    with_instructions,
)
from luthier.data._json import BadValue, parse_json
from luthier.data._read import (
    InputReading,
    Reading,
    first_row,
    read_examples,
    read_inputs,
    scan_examples,
    scan_inputs,
)
from luthier.data._split import families_of, groups_of, leaks, split_as_dict, split_examples, split_from_dict
from luthier.data._words import normalise, words

__all__ = [
    "BadValue",
    "Document",
    "Example",
    "InputReading",
    "Message",
    "Origin",
    "Reading",
    "Role",
    "Source",
    "Split",
    "content_hash",
    "families_of",
    "first_row",
    "groups_of",
    "leaks",
    "messages_from",
    "near_duplicate_groups",
    "normalise",
    "parse_json",
    "read_examples",
    "read_inputs",
    "scan_examples",
    "scan_inputs",
    "split_as_dict",
    "split_examples",
    "split_from_dict",
    "visible",
    "with_instructions",
    "words",
]
