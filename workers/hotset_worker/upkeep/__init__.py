"""What keeps jobs moving when something fell silent, and memories in order. Every worker does it; locked rows are
skipped, so none leads."""

from hotset_worker.upkeep.main import Upkeep
from hotset_worker.upkeep.memory import MemoryUpkeep
from hotset_worker.upkeep.thread import UpkeepThread

__all__ = ["MemoryUpkeep", "Upkeep", "UpkeepThread"]
