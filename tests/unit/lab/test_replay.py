"""History as a jobs file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from hotset.fleet import Gpu
from hotset.fleet_file import classic_fleet
from hotset.jobs import Priority
from hotset.lab.replay import Exported, Pseudonyms, job_rows
from hotset.simulator import parse_jobs
from hotset.store.history import PastJob

FLEET = replace(classic_fleet(), gpus=(Gpu("slow", 3686), Gpu("fast", 7373, speed=2.0)))
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def past(
    after_s: float, queue: str = "qwen", *runs: tuple[str, float], agent: str = "a", waited_s: float = 1.0
) -> PastJob:
    came = NOON + timedelta(seconds=after_s)
    return PastJob(uuid4(), queue, agent, "acme", Priority.HIGH, came, 120.0, waited_s, runs or (("slow@host:1", 8.0),))


def test_lines_can_be_simulated() -> None:
    counted = Exported()
    rows = list(job_rows([past(0), past(2.5, "tinyllama", waited_s=500.0)], FLEET, counted))
    jobs = parse_jobs([json.dumps(row) for row in rows], FLEET)
    assert [(j.arrive_s, j.queue, j.run_s, j.priority, j.tenant, j.deadline_s) for j in jobs] == [
        (0.0, "qwen", 8.0, "high", "acme", 120.0),
        (2.5, "tinyllama", 8.0, "high", "acme", 120.0),
    ]
    assert (counted.jobs, counted.missed, counted.last_s) == (2, 1, 2.5)
    assert rows[1]["waited_s"] == 500.0


def test_every_attempt_counts_at_the_speed_of_its_gpu() -> None:
    (row,) = job_rows([past(0, "qwen", ("fast@h:1", 3.0), ("slow@h:2", 4.0), ("gone@h:3", 1.0))], FLEET, Exported())
    assert row["run_s"] == 3.0 * 2 + 4.0 + 1.0


def test_queues_that_the_fleet_does_not_have_are_counted() -> None:
    counted = Exported()
    assert len(list(job_rows([past(0, "gone"), past(5)], FLEET, counted))) == 1
    assert (counted.unknown_queue, counted.jobs) == (1, 1)


def test_pseudonyms_tell_apart_and_tell_nothing() -> None:
    jobs = [past(0, agent="lawyer"), past(1, agent="lawyer"), past(2, agent="doctor")]
    rows = list(job_rows(jobs, FLEET, Exported(), Pseudonyms()))
    assert rows[0]["agent"] == rows[1]["agent"] != rows[2]["agent"]
    text = json.dumps(rows)
    assert "lawyer" not in text and "acme" not in text and str(jobs[0].id) not in text
    again = list(job_rows(jobs, FLEET, Exported(), Pseudonyms()))
    assert again[0]["agent"] != rows[0]["agent"], "two exports cannot be joined"
