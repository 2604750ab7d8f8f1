"""The commands of an ordinary day, on real servers and a real worker."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, Popen

from hotset.jobs import State
from stack import Stack, eventually

Hotset = Callable[..., "CompletedProcess[str]"]
Start = Callable[..., "Popen[str]"]
LIGHT = "log-aggregator-loki"


def test_ask_look_and_cancel(hotset: Hotset, start: Start, stack: Stack) -> None:
    worker = start("worker")
    said = hotset("run", LIGHT, "-", "--priority", "high", stdin="Find the errors.")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("[simulated]")
    for words in ("Job ", "waited", "tokens", "tinyllama", "SIMULATED"):
        assert words in said.stderr

    asked = json.loads(hotset("run", LIGHT, "Find more.", "--json").stdout)
    assert asked["state"] == "succeeded" and asked["result"]["simulated"] is True

    listed = json.loads(hotset("jobs", "list", "--agent", LIGHT, "--json").stdout)
    assert len(listed) == 2 and listed[0]["id"] == asked["id"]
    shown = json.loads(hotset("jobs", "show", asked["id"], "--json").stdout)
    assert [row["action"] for row in shown["audit"]] == ["accept", "claim", "succeeded"]
    assert shown["arrived_at"].endswith("Z")
    assert "SIMULATED" in hotset("jobs", "show", asked["id"]).stdout

    status = json.loads(hotset("status", "--json").stdout)
    assert status["queues"]["tinyllama"]["succeeded"] == 2
    assert status["gpus"]["gpu0"]["simulated"] is True and "tinyllama" in status["gpus"]["gpu0"]["residents"]
    assert "SIMULATED" in hotset("status").stdout

    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=30)
    waiting = stack.client().submit(LIGHT, "later")
    assert hotset("jobs", "cancel", waiting.id).returncode == 0
    assert waiting.status is State.CANCELLED
    again = hotset("jobs", "cancel", waiting.id)
    assert again.returncode == 1 and "ended already" in again.stderr


def test_ctrl_c_while_waiting_leaves_the_job(start: Start, stack: Stack) -> None:
    asking = start("run", LIGHT, "hi")
    client = stack.client()
    eventually(lambda: len(client.jobs()) == 1, within_s=20)
    assert asking.stderr is not None
    first = asking.stderr.readline()
    assert client.jobs()[0].id.hex in first.replace("-", "")
    assert "No GPU worker is running" in asking.stderr.readline()
    asking.send_signal(signal.SIGINT)
    _, errors = asking.communicate(timeout=20)
    assert asking.returncode == 130
    assert "goes on" in errors and "Traceback" not in errors
    assert client.jobs()[0].state is State.QUEUED


def test_up_is_found_by_other_commands_and_down_ends_it(hotset: Hotset, server_home: Path) -> None:
    where = {
        "HOTSET_HOME": str(server_home),
        "HOTSET_DATABASE_URL": "",
        "HOTSET_BROKER_URL": "",
        "HOTSET_CACHE_URL": "",
    }
    up = json.loads(hotset("up", "--json", **where).stdout)
    assert up["started"] is True
    # The addresses come from running.toml: nothing names them here.
    assert json.loads(hotset("status", "--json", **where).stdout)["gpus"] == {}
    assert json.loads(hotset("up", "--json", **where).stdout)["started"] is False
    assert hotset("down", **where).returncode == 0
    assert not (server_home / "running.toml").exists()
    gone = hotset("down", **where)
    assert gone.returncode == 0 and "Nothing was running" in gone.stderr


def test_a_served_gpu_says_where_and_that_it_is_simulated(start: Start) -> None:
    server = start("serve", "--simulate", "--port", "0", "--scale", "0.01", "--json")
    assert server.stdout is not None
    said = json.loads(server.stdout.readline())
    assert said["url"].startswith("http://127.0.0.1:") and said["simulated"] is True
    server.send_signal(signal.SIGINT)
    _, errors = server.communicate(timeout=20)
    assert server.returncode == 130
    assert "SIMULATED" in errors and "Traceback" not in errors


def test_simulate_prints_one_object_and_writes_a_trace(hotset: Hotset, stack: Stack) -> None:
    jobs = stack.folder / "jobs.jsonl"
    rows = [
        {"id": f"j{i}", "arrive_s": float(i), "queue": ("qwen", "tinyllama")[i % 2], "run_s": 2.0} for i in range(20)
    ]
    jobs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = hotset("simulate", "--jobs", str(jobs), "--trace", "trace.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["jobs"] == 20 and report["policy"] == "hotset"
    events = [json.loads(line) for line in (stack.folder / "trace.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "load" for event in events) == report["swaps"]
    assert "SIMULATED" in hotset("simulate", "--jobs", str(jobs)).stdout


def test_a_demo_removes_no_folder_that_was_there_before(start: Start, server_home: Path) -> None:
    (server_home / "precious.txt").write_text("mine")
    demo = start("demo", "--home", str(server_home))
    assert demo.stderr is not None
    assert "Starting" in demo.stderr.readline()
    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=40)
    assert demo.returncode == 130 and "Traceback" not in errors
    assert (server_home / "precious.txt").read_text() == "mine"
