"""Keep and ship: the gate, the lock, the registry of releases, the card, exports, and the server."""

from luthier.release._card import render_card
from luthier.release._chat import SystemMessages, system_messages_in
from luthier.release._export import ExportKind, export
from luthier.release._gates import Check, GateReport, gate
from luthier.release._lock import (
    REVIEW_DAYS,
    Provenance,
    base_problems,
    compare_files,
    document_hashes,
    environment,
    lock_hash,
    make_lock,
    verify,
)
from luthier.release._parity import Parity, measure_parity
from luthier.release._registry import (
    Release,
    StoredCase,
    champion,
    find_release,
    promote,
    publish,
    releases,
    roll_back,
    verify_release,
)
from luthier.release._serve import create_app, serve

__all__ = [
    "REVIEW_DAYS",
    "Check",
    "ExportKind",
    "GateReport",
    "Parity",
    "Provenance",
    "Release",
    "StoredCase",
    "SystemMessages",
    "base_problems",
    "champion",
    "compare_files",
    "create_app",
    "document_hashes",
    "environment",
    "export",
    "find_release",
    "gate",
    "lock_hash",
    "make_lock",
    "measure_parity",
    "promote",
    "publish",
    "releases",
    "render_card",
    "roll_back",
    "serve",
    "system_messages_in",
    "verify",
    "verify_release",
]
