"""Waiters cost no polling, and are all answered when broker and cache are restarted under them.

The full size, 1,000 waiters on 1,000 jobs in one process and in eight, is in tests/chaos.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import event

from hotset.client.news import Seen
from hotset.client.steps import Box
from stack import Stack
from waiters import LIGHT, wait_through_restarts


def test_waiters_of_two_processes_outlive_a_restart_of_broker_and_cache(stack: Stack, server_home: Path) -> None:
    figures = wait_through_restarts(stack, server_home, jobs=200, processes=2, how="threads")
    assert figures["answered"] == 200, figures
    assert figures["queries_while_idle"] == 0, figures
    # Accepted in one statement, looked at together, read as they end: a read a job at most.
    assert figures["queries"] <= 240, figures
    assert figures["connections"]["cache"] <= 2 * 2, figures


def test_many_calls_that_begin_to_wait_are_looked_up_together(stack: Stack) -> None:
    stack.fleet()
    looks: list[float] = []

    def count(*said: Any) -> None:
        if "jobs that somebody waits for" in said[2]:
            looks.append(time.monotonic())

    with stack.client() as client:
        jobs = client.submit_many([(LIGHT, f"job {i}") for i in range(300)])
        event.listen(client._store.engine, "before_cursor_execute", count)
        boxes = [Box(follow=True) for _ in jobs]
        for job, box in zip(jobs, boxes, strict=True):
            client._listener.watch([UUID(job.id)], box)
            time.sleep(0.002)
        until = time.monotonic() + 10
        for box in boxes:
            assert any(isinstance(news, Seen) for news in iter(partial(box.take, until), None))
    taken = looks[-1] - looks[0]
    # At first every 10 ms, soon every 100.
    assert len(looks) <= 8 + taken / 0.09, (len(looks), taken)
