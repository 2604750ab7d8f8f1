"""1,000 waiters on 1,000 jobs, in one process and in eight; broker and cache are restarted meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stack import Stack
from waiters import wait_through_restarts


@pytest.mark.timeout(600)
@pytest.mark.parametrize("restart", [False, True], ids=["quiet", "restart"])
@pytest.mark.parametrize(("processes", "how"), [(1, "threads"), (1, "tasks"), (8, "threads"), (8, "tasks")])
def test_a_thousand_waiters(stack: Stack, server_home: Path, processes: int, how: str, restart: bool) -> None:
    figures = wait_through_restarts(stack, server_home, jobs=1000, processes=processes, how=how, restart=restart)
    print(json.dumps({**figures, "restart": restart}))
    assert figures["answered"] == 1000, figures
    assert figures["queries_while_idle"] == 0, figures
    assert figures["queries"] <= 1000 + 20 * processes, figures
    assert figures["connections"]["cache"] <= 2 * processes, figures
    assert figures["connections"]["broker"] <= 2 * processes, figures
