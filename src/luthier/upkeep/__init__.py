"""Is it still good: drift, expiry, base change, refresh."""

from luthier.upkeep._drift import Drift, Window
from luthier.upkeep._refresh import Champion, Refreshed, refresh
from luthier.upkeep._watch import Seen, WatchFinding, WatchReport, watch

__all__ = [
    "Champion",
    "Drift",
    "Refreshed",
    "Seen",
    "WatchFinding",
    "WatchReport",
    "Window",
    "refresh",
    "watch",
]
