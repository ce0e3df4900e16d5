"""What you have: readers, splits, checks."""

from luthier.data._audit import Finding, audit
from luthier.data._duplicates import near_duplicate_groups
from luthier.data._examples import Document, Example, Message, Role, Source, Split, content_hash, messages_from
from luthier.data._fix import Fixed, write_fixed
from luthier.data._read import Reading, read_examples, read_inputs, scan_examples
from luthier.data._split import groups_of, leaks, split_as_dict, split_examples, split_from_dict

__all__ = [
    "Document",
    "Example",
    "Finding",
    "Fixed",
    "Message",
    "Reading",
    "Role",
    "Source",
    "Split",
    "audit",
    "content_hash",
    "groups_of",
    "leaks",
    "messages_from",
    "near_duplicate_groups",
    "read_examples",
    "read_inputs",
    "scan_examples",
    "split_as_dict",
    "split_examples",
    "split_from_dict",
    "write_fixed",
]
