"""hotset keeps a fleet of LLM agents moving on GPUs too small to hold all their models.

import hotset
client = hotset.Client()
job = client.submit("senior-backend-developer", "Write a health check for our API.")
print(job.result(timeout=300).text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotset.agents.own import agent as agent
    from hotset.client import AsyncClient as AsyncClient
    from hotset.client import AsyncFlowRun as AsyncFlowRun
    from hotset.client import AsyncJob as AsyncJob
    from hotset.client import AsyncJobs as AsyncJobs
    from hotset.client import AsyncMessage as AsyncMessage
    from hotset.client import Client as Client
    from hotset.client import Context as Context
    from hotset.client import FlowRun as FlowRun
    from hotset.client import Job as Job
    from hotset.client import Jobs as Jobs
    from hotset.client import Message as Message
    from hotset.client import StreamEvent as StreamEvent
    from hotset.errors import HotsetError as HotsetError
    from hotset.jobs import JobResult as JobResult
    from hotset.jobs import JobView as JobView
    from hotset.jobs import Priority as Priority
    from hotset.jobs import State as State
    from hotset.jobs.flows import Flow as Flow
    from hotset.jobs.flows import chain as chain
    from hotset.jobs.flows import chord as chord
    from hotset.jobs.flows import group as group
    from hotset.jobs.flows import step as step
    from hotset.settings import Settings as Settings
    from hotset.settings import load_settings as load_settings

__version__ = "0.1.0"

#: Where each public name lives. Loaded at first use: the command line's help needs neither database nor broker.
_HOMES = {
    "AsyncClient": "hotset.client",
    "AsyncFlowRun": "hotset.client",
    "AsyncJob": "hotset.client",
    "AsyncJobs": "hotset.client",
    "AsyncMessage": "hotset.client",
    "Client": "hotset.client",
    "Context": "hotset.client",
    "Flow": "hotset.jobs.flows",
    "FlowRun": "hotset.client",
    "HotsetError": "hotset.errors",
    "Job": "hotset.client",
    "JobResult": "hotset.jobs",
    "JobView": "hotset.jobs",
    "Jobs": "hotset.client",
    "Message": "hotset.client",
    "Priority": "hotset.jobs",
    "Settings": "hotset.settings",
    "State": "hotset.jobs",
    "StreamEvent": "hotset.client",
    "agent": "hotset.agents.own",
    "chain": "hotset.jobs.flows",
    "chord": "hotset.jobs.flows",
    "group": "hotset.jobs.flows",
    "load_settings": "hotset.settings",
    "step": "hotset.jobs.flows",
}

__all__ = [
    "AsyncClient",
    "AsyncFlowRun",
    "AsyncJob",
    "AsyncJobs",
    "AsyncMessage",
    "Client",
    "Context",
    "Flow",
    "FlowRun",
    "HotsetError",
    "Job",
    "JobResult",
    "JobView",
    "Jobs",
    "Message",
    "Priority",
    "Settings",
    "State",
    "StreamEvent",
    "agent",
    "chain",
    "chord",
    "group",
    "load_settings",
    "step",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hotset' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*globals(), *_HOMES))
