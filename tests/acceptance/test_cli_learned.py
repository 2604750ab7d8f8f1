"""`hotset swaps`, `hotset models` with what was learned, `hotset jobs show` with the expected start."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess, Popen
from typing import Any

from hotset.store import ledger
from hotset.store.ledger import Slots
from stack import Stack, eventually

Hotset = Callable[..., "CompletedProcess[str]"]
Start = Callable[..., "Popen[str]"]
LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"


def test_swaps_models_and_expected_starts_are_shown(hotset: Hotset, start: Start, stack: Stack) -> None:
    client = stack.client()
    empty = json.loads(hotset("swaps", "--json").stdout)
    assert empty["swaps"] == [] == empty["days"] and empty["last_hour"]["goodput"] is None
    assert "No swap was noted." in hotset("swaps").stdout
    waiting = client.submit(LIGHT, "x", options={"hotset_run_s": 5})
    shown = json.loads(hotset("jobs", "show", waiting.id, "--json").stdout)
    assert shown["eta"]["start_in_s"] is None and "no GPU worker" in shown["eta"]["basis"]
    assert "It will start unknown when: no GPU worker is running" in hotset("jobs", "show", waiting.id).stdout

    start("worker")
    waiting.result(timeout=120)
    for agent in (BALANCED, COMPLEX):
        client.submit(agent, "x", options={"hotset_run_s": 5}).result(timeout=120)
    eventually(lambda: sum(s.jobs_served for s in ledger.swaps(client.engine)) == 3, within_s=15)
    eventually(lambda: ledger.slots_lately(client.engine).get("gpu0", Slots()).busy >= 15, within_s=15)
    said = json.loads(hotset("swaps", "--json").stdout)
    assert [s["model"] for s in said["swaps"]] == ["deepseek-r1:8b", "qwen2.5-coder:7b", "tinyllama"]
    newest = said["swaps"][0]
    assert newest["ok"] and newest["reason"] and newest["load_s"] > 5 and newest["gpu"] == "gpu0"
    assert newest["decided_at"].endswith("Z") and newest["jobs_served"] == 1 and newest["left_at"] is None
    day = said["days"][0]
    assert (day["swaps"], day["jobs_per_swap"]) == (3, 1.0) and day["load_s"] > 12
    hour = said["last_hour"]
    assert 0 < hour["goodput"] < 1 and 0 < hour["distance_to_unlimited"] < 1
    assert hour["gpus"]["gpu0"]["slot_s"]["loading"] > 0
    table = hotset("swaps", "--gpu", "gpu0", "--since", "1h").stdout
    assert "from unlimited VRAM" in table and "still there" in table and newest["reason"] in table
    only = json.loads(hotset("swaps", "--model", "tinyllama", "--limit", "5", "--json").stdout)
    assert [s["model"] for s in only["swaps"]] == ["tinyllama"] and only["days"][0]["goodput"] is None
    assert json.loads(hotset("swaps", "--gpu", "gpu9", "--json").stdout)["swaps"] == []
    wrong = hotset("swaps", "--model", "tinylama")
    assert wrong.returncode == 2 and "Did you mean 'tinyllama'" in wrong.stderr
    assert hotset("swaps", "--since", "yesterday").returncode == 2

    def models() -> dict[str, dict[str, Any]]:
        return {m["name"]: m["learned"] for m in json.loads(hotset("models", "--json").stdout)}

    eventually(lambda: models()["deepseek-r1:8b"]["queues"]["deepseek"]["run_s"]["n"] == 1, within_s=15)
    learned = models()
    load = learned["deepseek-r1:8b"]["load_s"]
    assert load["n"] == 1 and load["stated"] == 6.0 and load["gpus"]["gpu0"]["n"] == 1
    run = learned["tinyllama"]["queues"]["tinyllama"]
    assert run["agents"][LIGHT]["run_s"]["n"] == 1 and run["output_tokens"]["mean"] > 0
    assert learned["tinyllama"]["size_mb"] == {"gpu0": 800.0}
    assert "load s" in hotset("models").stdout and "gpu0" in hotset("models", "--gpus").stdout
    assert hotset("models", "--gpus").stdout.count("tokens/s") > hotset("models").stdout.count("tokens/s")
    status = json.loads(hotset("status", "--json").stdout)
    assert status["last_hour"]["goodput"] == json.loads(hotset("swaps", "--json").stdout)["last_hour"]["goodput"]
    assert "goodput" in hotset("status").stdout

    ended = json.loads(hotset("jobs", "show", waiting.id, "--json").stdout)
    assert ended["eta"] is None and "It will start" not in hotset("jobs", "show", waiting.id).stdout
