"""The demo as a newcomer runs it: one command, one object, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HOTSET = [sys.executable, "-m", "hotset.cli"]


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("HOTSET_", "OLLAMA_"))}


def processes_of(home: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\x00", b" ").decode(errors="replace")
            environ = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(home) in line or str(home) in environ:
            found.append(line)
    return found


def test_all_agents_are_served_once_with_few_swaps(server_home: Path) -> None:
    home = server_home / "demo"
    command = [*HOTSET, "demo", "--json", "--scale", "0.02", "--home", str(home)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=150, check=False)
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    assert (summary["jobs"], summary["succeeded"], summary["simulated"]) == (131, 131, True)
    assert summary["exactly_once"] and summary["audit_complete"]
    assert summary["swaps"] <= summary["baselines"]["hot-first"]["swaps"] + 2
    assert summary["swaps"] < summary["baselines"]["fifo"]["swaps"]
    assert summary["swaps"] < summary["baselines"]["round-robin"]["swaps"]
    assert summary["wait_s"]["max"] > 0
    assert "SIMULATED" in run.stderr
    assert processes_of(home) == [] and not home.exists()


def test_an_interrupted_demo_leaves_no_process_and_loses_no_job(server_home: Path) -> None:
    home = server_home / "demo"
    process = subprocess.Popen(
        [*HOTSET, "demo", "--json", "--scale", "0.2", "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "jobs done" in line:
            break
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert out == "" and "No job is lost" in errors
    assert processes_of(home) == []
    # What was accepted is still there.
    up = subprocess.run(
        [*HOTSET, "up", "--json", "--home", str(home)], capture_output=True, text=True, env=environment(), check=False
    )
    assert up.returncode == 0, up.stderr
    try:
        listed = subprocess.run(
            [*HOTSET, "jobs", "list", "--limit", "500", "--json"],
            capture_output=True,
            text=True,
            env=environment() | {"HOTSET_HOME": str(home)},
            check=True,
        )
        jobs = json.loads(listed.stdout)
        rows = jobs["jobs"] if isinstance(jobs, dict) else jobs
        assert len(rows) == 131
        assert {row["state"] for row in rows} <= {"queued", "succeeded", "scheduled"}
    finally:
        subprocess.run([*HOTSET, "down", "--home", str(home)], env=environment(), check=True, capture_output=True)
    assert processes_of(home) == []
