"""The public door: these names and no others."""

import subprocess
import sys

import hotset


def test_the_public_names_are_pinned() -> None:
    assert sorted(hotset.__all__) == [
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
    assert all(getattr(hotset, name).__name__ == name for name in hotset.__all__)


def test_importing_hotset_loads_neither_database_nor_broker() -> None:
    script = "import sys, hotset; print(sorted({'sqlalchemy', 'celery', 'redis', 'httpx'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
