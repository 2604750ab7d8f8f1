"""What the fleet learns of itself: costs from what was observed, and starts of waiting jobs from those. Pure."""

from hotset.learning.costs import KINDS, OTHERS_WORTH, QUEUE_WORTH, Estimate, Key, Kind, Sort, estimate, figures
from hotset.learning.forecast import Forecast, Line, Server, forecast
from hotset.learning.sketch import EMPTY, Sketch

__all__ = [
    "EMPTY",
    "KINDS",
    "OTHERS_WORTH",
    "QUEUE_WORTH",
    "Estimate",
    "Forecast",
    "Key",
    "Kind",
    "Line",
    "Server",
    "Sketch",
    "Sort",
    "estimate",
    "figures",
    "forecast",
]
