"""What agents use: submit, wait, follow, cancel."""

from hotset.client.async_client import AsyncClient, AsyncFlowRun, AsyncJob, AsyncJobs, AsyncMessage
from hotset.client.client import Client
from hotset.client.context import Context
from hotset.client.eta import Eta
from hotset.client.flows import FlowRun
from hotset.client.inbox import Message
from hotset.client.job import Job, Jobs
from hotset.client.streaming import StreamEvent

__all__ = [
    "AsyncClient",
    "AsyncFlowRun",
    "AsyncJob",
    "AsyncJobs",
    "AsyncMessage",
    "Client",
    "Context",
    "Eta",
    "FlowRun",
    "Job",
    "Jobs",
    "Message",
    "StreamEvent",
]
