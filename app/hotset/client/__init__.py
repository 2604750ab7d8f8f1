"""What agents use: submit, wait, follow, cancel."""

from hotset.client.async_client import AsyncClient, AsyncFlowRun, AsyncJob, AsyncJobs
from hotset.client.client import Client
from hotset.client.flows import FlowRun
from hotset.client.job import Job, Jobs
from hotset.client.streaming import StreamEvent

__all__ = ["AsyncClient", "AsyncFlowRun", "AsyncJob", "AsyncJobs", "Client", "FlowRun", "Job", "Jobs", "StreamEvent"]
