"""hotset keeps a fleet of LLM agents moving on GPUs too small to hold all their models.

import hotset
client = hotset.Client()
job = client.submit("senior-backend-developer", "Write a health check for our API.")
print(job.result(timeout=300).text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotset.client import Client as Client
    from hotset.client import Job as Job
    from hotset.client import StreamEvent as StreamEvent
    from hotset.errors import HotsetError as HotsetError
    from hotset.jobs import JobResult as JobResult
    from hotset.jobs import JobView as JobView
    from hotset.jobs import Priority as Priority
    from hotset.jobs import State as State
    from hotset.settings import Settings as Settings
    from hotset.settings import load_settings as load_settings

__version__ = "0.1.0"

#: Where each public name lives. Loaded at first use: the command line's help needs neither database nor broker.
_HOMES = {
    "Client": "hotset.client",
    "HotsetError": "hotset.errors",
    "Job": "hotset.client",
    "JobResult": "hotset.jobs",
    "JobView": "hotset.jobs",
    "Priority": "hotset.jobs",
    "Settings": "hotset.settings",
    "State": "hotset.jobs",
    "StreamEvent": "hotset.client",
    "load_settings": "hotset.settings",
}

__all__ = [
    "Client",
    "HotsetError",
    "Job",
    "JobResult",
    "JobView",
    "Priority",
    "Settings",
    "State",
    "StreamEvent",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hotset' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*globals(), *_HOMES))
