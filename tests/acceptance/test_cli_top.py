"""`hotset top` in a real terminal, beside a real worker."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from subprocess import CompletedProcess, Popen

from hotset.jobs import State
from screen import terminal
from stack import Stack

Hotset = Callable[..., "CompletedProcess[str]"]
Start = Callable[..., "Popen[str]"]
LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"


def test_the_fleet_live(hotset: Hotset, start: Start, stack: Stack) -> None:
    client = stack.client()
    with terminal("top", env=stack.env, cwd=stack.folder) as screen:
        screen.until("hotset top", "gpu0", "no worker", "deepseek", "Nothing runs.", "No swap seen yet.")
        start("worker")
        long = client.submit(LIGHT, "long", options={"hotset_run_s": 5000})
        screen.until("tinyllama 1 running", "●○", "SIMULATED", long.id, "800/3,686")
        client.pause("queue", "deepseek", reason="later")
        waiting = client.submit(COMPLEX, "waits")
        screen.until("paused later")
        client.submit(BALANCED, "quick").result(timeout=120)
        # A swap that begins and ends between two looks is shown without its reason.
        shown = screen.until("jobs/min", "qwen2.5-coder:7b")
        assert waiting.status is State.QUEUED and " 1 " in next(
            line for line in shown.splitlines() if "deepseek" in line
        )
        # p holds the picture, q gives the terminal back.
        screen.press("p")
        screen.until("HELD")
        screen.press("p")
        client.resume("queue", "deepseek")
        long.cancel()
        screen.until("Nothing runs.", within_s=30)
        assert "HELD" not in screen.text
        screen.press("q")
        assert screen.end() == 0, screen.text

    once = hotset("top", "--once")
    assert once.returncode == 0 and "gpu0" in once.stdout and "\x1b" not in once.stdout
    assert "SIMULATED" in once.stdout and "before" in once.stdout
    said = json.loads(hotset("top", "--json").stdout)
    assert said["simulated"] is True and said["rates"]["jobs_per_min"] >= 2 and said["rates"]["tokens_per_s"] > 0
    assert [q["name"] for q in said["queues"]] == ["tinyllama", "qwen", "deepseek"] and said["swaps"]


def test_ended_from_outside_it_gives_the_terminal_back(stack: Stack) -> None:
    stack.fleet()
    with terminal("top", env=stack.env, cwd=stack.folder) as screen:
        screen.until("hotset top")
        assert not screen.echoes
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 130, screen.text
        assert screen.echoes and "Traceback" not in screen.text


def test_a_broker_that_is_away_is_named(stack: Stack) -> None:
    stack.fleet()
    nowhere = {**stack.env, "HOTSET_BROKER_URL": "redis://127.0.0.1:9/0"}
    with terminal("top", env=nowhere, cwd=stack.folder) as screen:
        assert screen.end() == 1
        assert "Redis (the broker)" in screen.text and "Traceback" not in screen.text
