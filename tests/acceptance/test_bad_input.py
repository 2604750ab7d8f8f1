"""What is wrong is named, with the remedy; nothing is half-written, nothing is lost."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from subprocess import CompletedProcess, Popen
from typing import Any

import pytest
from sqlalchemy import make_url

from hotset.jobs import State
from stack import Stack

Hotset = Callable[..., "CompletedProcess[str]"]
AGENT = "senior-backend-developer"
NOBODY = "127.0.0.1:9"


def refused(done: CompletedProcess[str], status: int, *said: str) -> None:
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("senior-backend-develper", "hi"), ("error:", "'senior-backend-develper'", f"Did you mean '{AGENT}'")),
        ((AGENT, " \n"), ("The prompt is empty",)),
        ((AGENT, "hi", "--deadline", "soon"), ("deadline='soon'", "15m")),
        ((AGENT, "hi", "--priority", "hihg"), ("'hihg' is not a priority", "'high'")),
        ((AGENT, "hi", "-o", "temprature=1"), ("temprature", "temperature")),
        ((AGENT, "hi", "--prio", "high"), ("--prio",)),
    ],
)
def test_a_bad_job_is_refused_before_anything_is_written(
    hotset: Hotset, stack: Stack, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    refused(hotset("run", *words), 2, *said)
    assert stack.client().jobs() == []


def test_a_real_process_says_the_same(start: Callable[..., Popen[str]]) -> None:
    process = start("run", "senior-backend-develper", "hi")
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "") and "Did you mean" in errors and "Traceback" not in errors


def test_a_prompt_over_the_limit_is_refused(hotset: Hotset, stack: Stack) -> None:
    done = hotset("run", AGENT, "-", stdin="x" * 60, HOTSET_MAX_PROMPT_CHARS="50")
    refused(done, 2, "60 characters", "limit of 50", "HOTSET_MAX_PROMPT_CHARS")
    assert stack.client().jobs() == []


def test_without_postgres_nothing_is_accepted(hotset: Hotset) -> None:
    done = hotset("run", AGENT, "hi", HOTSET_DATABASE_URL=f"postgresql://me:secret@{NOBODY}/hotset")
    refused(done, 1, "Postgres does not answer", NOBODY, "hotset up")
    assert "secret" not in done.stderr


def test_without_redis_a_job_is_accepted_and_waits(hotset: Hotset, stack: Stack) -> None:
    done = hotset("run", AGENT, "hi", "--timeout", "0.5", HOTSET_BROKER_URL=f"redis://{NOBODY}/0")
    refused(done, 1, "The job is accepted", NOBODY, "has not ended within 0.5 s")
    assert [view.state for view in stack.client().jobs()] == [State.QUEUED]
    refused(hotset("status", HOTSET_BROKER_URL=f"redis://{NOBODY}/0"), 1, "Redis (the broker)", NOBODY, "hotset up")


def test_a_database_without_tables_names_the_command_that_makes_them(hotset: Hotset, stack: Stack) -> None:
    # `postgres` is there on every server, and nothing of hotset is in it.
    url = make_url(stack.env["HOTSET_DATABASE_URL"]).set(database="postgres").render_as_string(hide_password=False)
    refused(hotset("run", AGENT, "hi", HOTSET_DATABASE_URL=url), 1, "hotset migrate")


@pytest.mark.parametrize("words", [("serve", "--simulate"), ("flower",)])
def test_a_taken_port_is_named(start: Callable[..., Popen[str]], words: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(*words, "--port", port)
        out, errors = process.communicate(timeout=30)
    refused(CompletedProcess(words, process.returncode, out, errors), 1, f"Port {port} of 127.0.0.1 is taken", "--port")


def test_a_wrong_fleet_file_is_told_by_line_and_fix(hotset: Hotset, stack: Stack) -> None:
    path = stack.folder / "wrong.yaml"
    path.write_text(stack.fleet_path.read_text().replace("size_mb: 800", "size: 800"))
    line = 1 + path.read_text().split("size: 800")[0].count("\n")
    for words in (("run", AGENT, "hi"), ("worker",), ("serve", "--simulate"), ("agents", "list")):
        refused(hotset(*words, HOTSET_FLEET=str(path)), 2, f"wrong.yaml:{line}:", "size_mb")


def test_a_model_larger_than_the_gpu_is_refused(hotset: Hotset, stack: Stack) -> None:
    path = stack.folder / "large.yaml"
    path.write_text(stack.fleet_path.read_text().replace("size_mb: 3200", "size_mb: 9000"))
    refused(hotset("worker", HOTSET_FLEET=str(path)), 2, "large.yaml", "'deepseek-r1:8b' needs 9000 MiB")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("serve",), "--simulate"),
        (("worker", "--gpu", "gpu7"), "no GPU 'gpu7'"),
        (("jobs", "list", "--state", "sleeping"), "no state 'sleeping'"),
        (("simulate", "--jobs", "jobs.jsonl", "--policy", "fif"), "Did you mean 'fifo'"),
        (("bench", "speed"), "no bench 'speed'"),
        (("config",), "HOTSET_SCLE"),
    ],
)
def test_wrong_usage_has_exit_status_2(hotset: Hotset, stack: Stack, words: tuple[str, ...], said: str) -> None:
    row = {"id": "a", "arrive_s": 0.0, "queue": "qwen", "run_s": 1.0}
    (stack.folder / "jobs.jsonl").write_text(json.dumps(row))
    environ: dict[str, Any] = {"HOTSET_SCLE": "0.1"} if words == ("config",) else {}
    refused(hotset(*words, **environ), 2, said)


@pytest.mark.parametrize("job_id", ["nonsense", "01a1febf-93a3-7352-85c4-317eac0be3b3"])
def test_an_unknown_job_is_named(hotset: Hotset, job_id: str) -> None:
    refused(hotset("jobs", "show", job_id), 1, job_id)
    refused(hotset("jobs", "cancel", job_id), 1, job_id)
