"""The commands that ask "what if": workloads drawn, policies compared, GPUs planned, history replayed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from subprocess import CompletedProcess, Popen

import pytest

from hotset.simulator import POLICIES
from stack import Stack

Hotset = Callable[..., "CompletedProcess[str]"]
Start = Callable[..., "Popen[str]"]
LIGHT = "log-aggregator-loki"


def test_a_drawn_workload_is_simulated_under_every_policy_and_drawn(hotset: Hotset, stack: Stack) -> None:
    drawn = hotset("workload", "bursty", "--load", "0.8", "--jobs", "60", "--seed", "7", "--priorities", "high=1,low=1")
    assert drawn.returncode == 0, drawn.stderr
    assert "60 jobs in" in drawn.stderr and "seed 7" in drawn.stderr
    assert (
        drawn.stdout
        == hotset(
            "workload", "bursty", "--load", "0.8", "--jobs", "60", "--seed", "7", "--priorities", "high=1,low=1"
        ).stdout
    )
    assert {json.loads(line)["priority"] for line in drawn.stdout.splitlines()} == {"high", "low"}

    words = ("simulate", "--jobs", "-", "--policy", "all", "--plot", "all.svg")
    done = hotset(*words, "--json", stdin=drawn.stdout)
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)["policies"]
    assert list(reports) == list(POLICIES)
    assert all(report["jobs"] == 60 for report in reports.values())
    assert (stack.folder / "all.svg").read_text().startswith("<?xml")

    table = hotset("simulate", "--jobs", "-", "--policy", "hotset,unlimited", stdin=drawn.stdout).stdout
    assert "SIMULATED" in table and "hotset" in table and "hot-first" not in table
    one = hotset("simulate", "--jobs", "-", "--gpus", "3", "--plot", "one.html", "--json", stdin=drawn.stdout)
    assert json.loads(one.stdout)["policy"] == "hotset"
    assert "<table>" in (stack.folder / "one.html").read_text()


def test_agents_in_a_closed_loop(hotset: Hotset) -> None:
    words = ("simulate", "--closed", "9", "--rounds", "3", "--think", "10s")
    report = json.loads(hotset(*words, "--json").stdout)
    assert report["agents"]["fewest_answers"] >= 3 and report["jobs"] >= 27
    assert report["agents"]["fairness"].keys() == {"tinyllama", "qwen", "deepseek"}
    assert "fairness" in hotset(*words).stdout


def test_a_drawn_fleet_is_a_fleet_file(hotset: Hotset, stack: Stack) -> None:
    done = hotset("workload", "fleet", "--gpus", "5", "--models", "4", "-o", "drawn.yaml")
    assert done.returncode == 0, done.stderr
    words = ("--fleet", "drawn.yaml", "--mix", "zipf", "--jobs", "30", "-o", "jobs.jsonl")
    assert hotset("workload", "poisson", *words).returncode == 0
    report = json.loads(hotset("simulate", "--fleet", "drawn.yaml", "--jobs", "jobs.jsonl", "--json").stdout)
    assert report["jobs"] == 30 and len(report["queues"]) == 4


def test_gpus_are_planned_and_the_frontier_is_drawn(hotset: Hotset, stack: Stack) -> None:
    load = ("--load", "1.5", "--hours", "0.2", "--seeds", "1")
    done = hotset("plan", *load, "--misses", "5%", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)["kinds"][0]
    tried = {trial["gpus"]: trial["lacks"] for trial in answer["trials"]}
    assert tried[answer["gpus"]] == [] and all(lacks for gpus, lacks in tried.items() if gpus < answer["gpus"])
    assert "enough" in done.stderr

    (stack.folder / "kinds.yaml").write_text(
        "- {name: small, vram_mb: 3686, cost_per_h: 0.1}\n- {name: tiny, vram_mb: 900, cost_per_h: 0.01}\n"
    )
    page = hotset("plan", *load, "--misses", "5%", "--kinds", "kinds.yaml").stdout
    assert "small (cheapest)" in page and "tiny: none: " in page
    too_few = hotset("plan", "--load", "6", "--hours", "0.2", "--seeds", "1", "--max-gpus", "1")
    assert too_few.returncode == 1 and "1 are not enough" in too_few.stdout

    frontier = hotset("plan", *load, "--frontier", "--plot", "frontier.svg", "--json")
    assert {"balanced", "unlimited"} <= {point["name"] for point in json.loads(frontier.stdout)["points"]}
    assert "balanced" in (stack.folder / "frontier.svg").read_text()


def test_what_really_happened_is_exported_and_replayed(hotset: Hotset, start: Start, stack: Stack) -> None:
    start("worker")
    client = stack.client()
    rows = [{"agent": LIGHT, "prompt": "a secret", "options": {"hotset_run_s": 2.0}, "priority": "high"}] * 3
    submitted = time.monotonic()
    for job in client.submit_many(rows):
        job.result(timeout=120)
    most = (time.monotonic() - submitted) / float(stack.env["HOTSET_SCALE"])
    client.submit("senior-backend-developer", "never runs").cancel("not needed")

    done = hotset("replay", "export", "--since", "1h", "-o", "past.jsonl")
    assert done.returncode == 0, done.stderr
    assert "3 jobs ran" in done.stderr and "As it was" in done.stderr
    lines = [json.loads(line) for line in (stack.folder / "past.jsonl").read_text().splitlines()]
    assert [line["arrive_s"] for line in lines] == sorted(line["arrive_s"] for line in lines)
    for line in lines:
        assert (line["queue"], line["agent"], line["priority"], line["deadline_s"]) == (
            "tinyllama",
            LIGHT,
            "high",
            30.0,
        )
        assert 1.9 < line["run_s"] < most, "model seconds: the simulated run and what the wall clock adds at this scale"
        assert line["waited_s"] > 0
    assert "secret" not in (stack.folder / "past.jsonl").read_text()
    assert json.loads(hotset("simulate", "--jobs", "past.jsonl", "--json").stdout)["jobs"] == 3

    hidden = hotset("replay", "export", "--pseudonyms").stdout
    agents = {json.loads(line)["agent"] for line in hidden.splitlines()}
    assert len(agents) == 1 and LIGHT not in hidden and lines[0]["id"] not in hidden

    assert hotset("replay", "export", "--since", "1h", "--tenant", "nobody").stdout == ""
    both = json.loads(hotset("replay", "run", "--policy", "hotset,fifo", "--gpus", "2", "--json").stdout)["policies"]
    assert both["hotset"]["jobs"] == both["fifo"]["jobs"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("workload", "poison"), "Did you mean 'poisson'"),
        (("workload", "closed"), "simulate --closed"),
        (("simulate",), "--jobs FILE"),
        (("simulate", "--jobs", "jobs.jsonl", "--closed", "3"), "--closed"),
        (("workload", "poisson", "--mix", "qwen"), "--mix a=3,b=1"),
        (("workload", "poisson", "--period", "soon"), "--period"),
        (("simulate", "--jobs", "jobs.jsonl", "--plot", "run.gif"), ".svg"),
        (("simulate", "--jobs", "jobs.jsonl", "--policy", "all", "--trace", "t.jsonl"), "one policy"),
        (("plan",), "--load"),
        (("plan", "--load", "1", "--misses", "few"), "--misses"),
        (("plan", "--load", "1", "--plot", "x.svg"), "--frontier"),
        (("replay", "export", "--since", "yesterday"), "--since"),
        (("bench", "schedule", "--part", "sngle"), "Did you mean 'single'"),
        (("bench", "drain", "--part", "single"), "--part"),
    ],
)
def test_wrong_usage_is_told(hotset: Hotset, stack: Stack, words: tuple[str, ...], said: str) -> None:
    (stack.folder / "jobs.jsonl").write_text(json.dumps({"id": "a", "arrive_s": 0.0, "queue": "qwen", "run_s": 1.0}))
    done = hotset(*words)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_the_schedule_bench_gives_bars_and_losses(hotset: Hotset) -> None:
    words = ("bench", "schedule", "--part", "exact", "--part", "single", "--seeds", "1", "--jobs", "30")
    done = hotset(*words, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bench"] == "schedule" and report["runs"] == 1
    assert {"arms", "ratios", "machine", "losses", "bars", "parts"} <= report.keys()
    assert {bar["part"] for bar in report["bars"]} == {"exact", "single"}
    assert all({"bar", "target", "median", "worst", "met"} <= bar.keys() for bar in report["bars"])
    assert report["machine"]["python_loops_per_s"] > 0
    assert {"hotset", "hot-first", "unlimited"} <= report["arms"].keys()
    assert "hotset/hot-first" in report["ratios"]
    assert "met" in hotset(*words[:4], "--seeds", "1", "--jobs", "30").stdout
