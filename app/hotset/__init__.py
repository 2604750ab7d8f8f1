"""hotset keeps a fleet of LLM agents moving on GPUs too small to hold all their models.

import hotset
client = hotset.Client()
job = client.submit("senior-backend-developer", "Write a health check for our API.")
print(job.result(timeout=300).text)
"""

from hotset.client import Client, Job, StreamEvent
from hotset.errors import HotsetError
from hotset.jobs import JobResult, JobView, Priority, State
from hotset.settings import Settings, load_settings

__version__ = "0.1.0"

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
