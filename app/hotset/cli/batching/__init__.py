"""The work of `hotset batch`: lines in, results out, once each, however often it is interrupted."""

from hotset.cli.batching.batch import Batch, Summary
from hotset.cli.batching.display import display

__all__ = ["Batch", "Summary", "display"]
