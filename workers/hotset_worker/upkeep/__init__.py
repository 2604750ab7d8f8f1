"""What keeps jobs moving when something fell silent. Every worker does it; locked rows are skipped, so none leads."""

from hotset_worker.upkeep.main import Upkeep

__all__ = ["Upkeep"]
