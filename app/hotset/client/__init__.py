"""What agents use: submit, wait, follow, cancel."""

from hotset.client.client import Client
from hotset.client.job import Job
from hotset.client.streaming import StreamEvent

__all__ = ["Client", "Job", "StreamEvent"]
