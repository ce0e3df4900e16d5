"""Is it still good: drift, expiry, base change, and doing it all again."""

from luthier.upkeep._drift import Drift, Window, compare_inputs
from luthier.upkeep._refresh import Refreshed, refresh
from luthier.upkeep._watch import Seen, WatchFinding, WatchReport, watch

__all__ = [
    "Drift",
    "Refreshed",
    "Seen",
    "WatchFinding",
    "WatchReport",
    "Window",
    "compare_inputs",
    "refresh",
    "watch",
]
