"""Jobs files: what is read, what is defaulted, and what each mistake says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotset.errors import InvalidJob
from hotset.fleet_file import classic_fleet
from hotset.simulator import SimJob, parse_jobs, read_jobs

FLEET = classic_fleet()
GOOD = {"id": "j1", "arrive_s": 1.5, "queue": "qwen", "run_s": 7}


def test_a_full_line() -> None:
    line = json.dumps({**GOOD, "agent": "a", "priority": "urgent", "deadline_s": 5, "tenant": "t"})
    (job,) = parse_jobs([line], FLEET)
    assert job == SimJob("j1", 1.5, "qwen", 7.0, 5.0, "a", "urgent", "t")
    assert job.deadline == 6.5


def test_defaults() -> None:
    (job,) = parse_jobs([json.dumps(GOOD), "", "  \n"], FLEET)
    assert (job.priority, job.tenant, job.agent, job.deadline_s) == ("normal", "default", "", 120.0)


def test_jobs_are_sorted_by_arrival() -> None:
    lines = [json.dumps({**GOOD, "id": f"j{t}", "arrive_s": t}) for t in (3, 1, 2)]
    assert [j.id for j in parse_jobs(lines, FLEET)] == ["j1", "j2", "j3"]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jobs.jsonl"
    path.write_text(json.dumps(GOOD) + "\n[]\n")
    with pytest.raises(InvalidJob, match=r"^mine\.jobs\.jsonl:2: .*one JSON object"):
        read_jobs(path, FLEET)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": None}, "'id' is missing"),
        ({"id": ""}, "'id' is ''"),
        ({"id": 7}, "'id' is 7"),
        ({"arrive_s": -1}, "zero or more"),
        ({"arrive_s": True}, "'arrive_s' is True"),
        ({"arrive_s": float("nan")}, "'arrive_s' is nan"),
        ({"run_s": 0}, "above zero"),
        ({"run_s": "7"}, "'run_s' is '7'"),
        ({"run_s": float("inf")}, "'run_s' is inf"),
        ({"deadline_s": -5}, "'deadline_s' is -5"),
        ({"queue": "qwem"}, "Did you mean 'qwen'"),
        ({"queue": "zzz"}, "tinyllama, qwen, deepseek"),
        ({"priority": "asap"}, "low, normal, high, urgent"),
    ],
)
def test_mistakes(change: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidJob) as error:
        parse_jobs(["", json.dumps({**GOOD, **change})], FLEET, "j.jsonl")
    assert str(error.value).startswith("j.jsonl:2: ")
    assert says in str(error.value)


@pytest.mark.parametrize("line", ["{", "nonsense", "[1]", "3", "[" * 100_000])
def test_what_is_not_a_json_object(line: str) -> None:
    with pytest.raises(InvalidJob, match=r"^jobs:1: "):
        parse_jobs([line], FLEET)


def test_ids_are_unique() -> None:
    with pytest.raises(InvalidJob, match=r"^jobs:3: .*line 1"):
        parse_jobs([json.dumps(GOOD), "", json.dumps(GOOD)], FLEET)
