"""Waiters cost no polling, and are all answered when broker and cache are restarted under them.

The full size, 1,000 waiters on 1,000 jobs in one process and in eight, is in tests/chaos.
"""

from __future__ import annotations

from pathlib import Path

from stack import Stack
from waiters import wait_through_restarts


def test_waiters_of_two_processes_outlive_a_restart_of_broker_and_cache(stack: Stack, server_home: Path) -> None:
    figures = wait_through_restarts(stack, server_home, jobs=200, processes=2, how="threads")
    assert figures["answered"] == 200, figures
    assert figures["queries_while_idle"] == 0, figures
    # Accepted in one statement, looked at together, read as they end: a read a job at most.
    assert figures["queries"] <= 240, figures
    assert figures["connections"]["cache"] <= 2 * 2, figures
