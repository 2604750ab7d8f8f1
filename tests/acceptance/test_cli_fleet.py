"""Queues, GPUs, models, status, agents: the fleet seen and steered from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, Popen

import pytest

from hotset.jobs import State
from stack import Stack, eventually

Hotset = Callable[..., "CompletedProcess[str]"]
Start = Callable[..., "Popen[str]"]
LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"


def test_queues_gpus_and_models_as_they_work(hotset: Hotset, start: Start, stack: Stack) -> None:
    client = stack.client()
    client.submit(BALANCED, "urgent", priority="urgent", deadline="1h")
    client.submit(BALANCED, "late", deadline="1s")
    queues = {q["name"]: q for q in json.loads(hotset("queues", "--json").stdout)}
    assert queues["qwen"]["by_priority"] == {"urgent": 1, "high": 0, "normal": 1, "low": 0}
    assert queues["qwen"]["waiting"] == 2 and queues["qwen"]["oldest_wait_s"] > 0 and queues["qwen"]["late"] == 1
    assert queues["tinyllama"]["waiting"] == 0 and queues["tinyllama"]["oldest_wait_s"] is None
    assert "no worker" in hotset("gpus").stdout and "qwen2.5-coder:7b" in hotset("models").stdout
    assert "No GPU worker" in hotset("status").stdout

    paused = hotset("queues", "pause", "qwen", "--reason", "new weights", "--json")
    assert json.loads(paused.stdout) == {"kind": "queue", "name": "qwen", "paused": True, "changed": True}
    assert "is paused already" in hotset("queues", "pause", "qwen").stderr
    assert "paused new weights" in hotset("queues", "list").stdout
    assert "Queue qwen is paused since" in hotset("status").stdout
    start("worker")
    long = client.submit(LIGHT, "long", options={"hotset_run_s": 5000})
    eventually(lambda: long.status is State.RUNNING, within_s=20)

    def gpu() -> dict[str, object]:
        found: dict[str, object] = json.loads(hotset("gpus", "list", "--json").stdout)[0]
        return found

    eventually(lambda: gpu()["residents"] == {"tinyllama": {"mb": 800.0, "requests": 1}}, within_s=10)
    said = gpu()
    assert (said["alive"], said["busy"], said["swaps"], said["simulated"]) == (True, 1, 1, True)
    models = {m["name"]: m for m in json.loads(hotset("models", "--json").stdout)}
    assert models["tinyllama"]["resident_on"] == ["gpu0"] and models["tinyllama"]["measured_mb"] == 800
    assert (models["tinyllama"]["requests"], models["qwen2.5-coder:7b"]["waiting"]) == (1, 2)
    assert models["qwen2.5-coder:7b"]["measured_mb"] is None and models["qwen2.5-coder:7b"]["size_mb"] == 2500

    assert hotset("gpus", "pause", "gpu0").returncode == 0
    assert "paused, 1 still running" in hotset("gpus", "list").stdout
    status = json.loads(hotset("status", "--json").stdout)
    assert {(p["kind"], p["name"]) for p in status["paused"]} == {("queue", "qwen"), ("gpu", "gpu0")}
    assert set(status["versions"]) == {"hotset", "postgres", "schema", "broker"} and all(status["versions"].values())
    assert hotset("queues", "resume", "qwen").returncode == 0 == hotset("gpus", "resume", "gpu0").returncode
    assert "was not paused" in hotset("gpus", "resume", "gpu0").stderr
    long.cancel()
    eventually(lambda: all(v.state.terminal for v in client.jobs()), within_s=30)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("queues", "pause", "qwem"), "Did you mean 'qwen'"),
        (("queues", "resume", "qwem"), "Did you mean 'qwen'"),
        (("gpus", "pause", "gpu1"), "no GPU 'gpu1'"),
        (("agents", "show", "senior-backend-develper"), "Did you mean"),
        (("agents", "list", "--tier", "heavy"), "no tier 'heavy'"),
        (("completion", "tcsh"), "bash, zsh, fish"),
    ],
)
def test_mistyped_names_are_refused(hotset: Hotset, words: tuple[str, ...], said: str) -> None:
    done = hotset(*words)
    assert done.returncode == 2 and said in done.stderr and done.stdout == "", done.stderr


def test_agents_are_found_and_shown(hotset: Hotset) -> None:
    found = json.loads(hotset("agents", "list", "--search", "LOKI", "--json").stdout)
    assert found and all("loki" in f"{a['name']} {a['domain']} {a['role']}".lower() for a in found)
    light = json.loads(hotset("agents", "list", "--tier", "light", "--json").stdout)
    domain = light[0]["domain"]
    assert light[0] in json.loads(hotset("agents", "list", "--domain", domain, "--json").stdout)
    shown = json.loads(hotset("agents", "show", BALANCED, "--json").stdout)
    assert shown["model"] == "qwen2.5-coder:7b" and shown["system"] and 0.5 <= shown["options"]["temperature"] <= 0.7
    assert shown["system"] in hotset("agents", "show", BALANCED).stdout


OWN = """# Ours. Keep this remark.
-   name: invoice-reader   # and this one
    tier: balanced
    domain: finance
    role: Invoice reader
    task_type: analysis
    system: You read invoices.
"""


def test_an_agent_is_added_without_losing_a_remark(hotset: Hotset, stack: Stack) -> None:
    path = stack.folder / "agents.yaml"
    path.write_text(OWN)
    path.chmod(0o640)
    own = {"HOTSET_AGENTS": str(path)}
    checked = hotset("agents", "check", str(path), "--json")
    assert json.loads(checked.stdout) == {"file": str(path), "agents": ["invoice-reader"]}
    system = 'You write verse.\nShort: always "short".'
    added = hotset("agents", "add", "poet", "--tier", "light", "--system", system, "--temperature", "0.9", **own)
    assert added.returncode == 0, added.stderr
    assert path.read_text().startswith(OWN) and path.stat().st_mode & 0o777 == 0o640
    shown = json.loads(hotset("agents", "show", "poet", "--json", **own).stdout)
    assert (shown["system"], shown["role"], shown["temperature"]) == (system, "Poet", 0.9)
    before = path.read_text()
    for words, said in (
        (("poet", "--tier", "light"), "the name is taken"),
        (("Poet 2", "--tier", "light"), "agent 'Poet 2': name"),
        (("other", "--tier", "heavy"), "no queue of the fleet serves tier 'heavy'"),
        ((BALANCED, "--tier", "light"), "replaces"),
    ):
        refused = hotset("agents", "add", *words, "--system", "x", **own)
        assert refused.returncode == 2 and said in refused.stderr, refused.stderr
        assert path.read_text() == before
    assert hotset("agents", "add", BALANCED, "--tier", "light", "--system", "x", "--replaces", **own).returncode == 0
    # A file that does not exist yet, a system prompt from a file.
    (stack.folder / "prompt.txt").write_text("You answer in JSON.")
    new = hotset(
        "agents", "add", "parser", "--tier", "light", "--system", "@prompt.txt", "--file", "new.yaml", "--json"
    )
    assert json.loads(new.stdout) == {"file": "new.yaml", "name": "parser", "used": False}
    assert list(stack.folder.glob(".new.yaml*")) == []
    shown = json.loads(hotset("agents", "show", "parser", "--json", HOTSET_AGENTS="new.yaml").stdout)
    assert shown["system"] == "You answer in JSON."


def test_a_wrong_agents_file_is_told_by_line_and_fix(hotset: Hotset, stack: Stack) -> None:
    path = stack.folder / "agents.yaml"
    path.write_text(OWN.replace("balanced", "heavy"))
    done = hotset("agents", "check", str(path))
    assert done.returncode == 2 and "agents.yaml, line 2" in done.stderr and "Served are" in done.stderr
    # A file that is wrong before is not blamed on what is added.
    added = hotset("agents", "add", "poet", "--tier", "light", "--system", "x", "--file", str(path))
    assert added.returncode == 2 and "invoice-reader" in added.stderr and "poet" not in path.read_text()


def test_every_remaining_command_speaks_json(hotset: Hotset, stack: Stack, server_home: Path) -> None:
    assert json.loads(hotset("init", "mine.yaml", "--json").stdout) == {"file": "mine.yaml"}
    migrated = json.loads(hotset("migrate", "--json").stdout)
    assert migrated["before"] == migrated["after"] and migrated["after"] >= "0003"
    down = hotset("down", "--home", str(server_home), "--json")
    assert json.loads(down.stdout) == {"home": str(server_home), "stopped": False}
