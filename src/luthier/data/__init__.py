"""What you have: readers, splits, checks."""

from luthier.data._examples import Document, Example, Message, Role, Source, Split, content_hash, messages_from

__all__ = ["Document", "Example", "Message", "Role", "Source", "Split", "content_hash", "messages_from"]
