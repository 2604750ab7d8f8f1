"""What a worker does can be checked afterwards: the model server's trace is valid and names its jobs, and the log that
the setting `decisions` asks for holds what its policy answered."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hotset.fleet_file import read_fleet
from hotset.lab import check_trace, read_traces
from hotset_worker.decision_log import read_decisions
from stack import Stack

AGENTS = ["log-aggregator-loki", "senior-backend-developer", "system-architect"] * 4


def test_a_live_trace_is_valid_and_its_decisions_can_be_replayed(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    stack.fleet().worker(HOTSET_DECISIONS=str(log))
    client = stack.client()
    jobs = client.submit_many((agent, f"task {i}") for i, agent in enumerate(AGENTS))
    for job in jobs:
        job.result(timeout=120)

    events = list(read_traces([stack.trace()]))
    report = check_trace(events, read_fleet(stack.fleet_path))
    assert report.valid, report.problems
    assert Counter(e["job"] for e in events if e["event"] == "start") == Counter(str(job.id) for job in jobs)

    recorded = list(read_decisions(log))
    assert Counter(a["decision"] for each in recorded for a in each.answer)["Run"] >= len(jobs)
    assert all(each.again() == each.answer for each in recorded)
