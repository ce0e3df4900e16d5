"""Is it still good: drift, expiry, base change, refresh."""

from luthier.upkeep._refresh import Refreshed, refresh
from luthier.upkeep._watch import Seen, WatchFinding, WatchReport, watch

__all__ = ["Refreshed", "Seen", "WatchFinding", "WatchReport", "refresh", "watch"]
