"""What you have: readers, splits, checks."""

from luthier.data._examples import Document, Example, Message, Role, Source, Split, content_hash, messages_from
from luthier.data._read import Reading, read_examples, read_inputs, scan_examples

__all__ = [
    "Document",
    "Example",
    "Message",
    "Reading",
    "Role",
    "Source",
    "Split",
    "content_hash",
    "messages_from",
    "read_examples",
    "read_inputs",
    "scan_examples",
]
