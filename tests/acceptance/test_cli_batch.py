"""`hotset batch`: every line one result, whatever happens in between."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import Any

import pytest

from hotset.jobs import State
from screen import terminal
from stack import Stack, eventually

Hotset = Callable[..., "CompletedProcess[str]"]
Start = Callable[..., "Popen[str]"]
LIGHT, BALANCED, COMPLEX = "log-aggregator-loki", "senior-backend-developer", "system-architect"


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def jobs_of(stack: Stack) -> int:
    return len(stack.client().jobs(limit=10_000))


def test_every_line_has_its_result_and_the_same_call_asks_nothing_again(
    hotset: Hotset, start: Start, stack: Stack
) -> None:
    start("worker")
    rows: list[Any] = [{"id": i, "agent": (LIGHT, BALANCED)[i % 2], "prompt": f"task {i}"} for i in range(20)]
    rows += [{"agent": LIGHT, "prompt": "twice"}] * 2
    rows += [{"id": "bad", "agent": LIGHT, "prompt": "x", "max_retries": 0, "options": {"hotset_fault": "cut"}}]
    write(stack.folder / "jobs.jsonl", rows)
    done = hotset("batch", "jobs.jsonl", "-o", "out.jsonl", "--json")
    assert done.returncode == 1, done.stderr  # one failed
    summary = json.loads(done.stdout)
    assert (summary["lines"], summary["succeeded"], summary["failed"], summary["before"]) == (23, 22, 1, 0)
    # Tasks alternate between two models: one after the other they would need a load each.
    assert summary["swaps"] <= 4 and summary["simulated"] is True and summary["fifo_swaps"] >= 1
    out = results(stack.folder / "out.jsonl")
    assert sorted(row["line"] for row in out) == list(range(1, 24))
    by_line = {row["line"]: row for row in out}
    assert by_line[5]["id"] == 4 and by_line[5]["agent"] == LIGHT and by_line[5]["text"].startswith("[simulated]")
    assert by_line[5]["usage"]["output_tokens"] > 0 and by_line[5]["model"] == "tinyllama"
    assert by_line[21]["job"] != by_line[22]["job"], "equal lines are two jobs"
    assert by_line[23]["state"] == "failed" and by_line[23]["error_kind"] == "GenerationFailed"
    before = (stack.folder / "out.jsonl").read_text()

    again = hotset("batch", "jobs.jsonl", "-o", "out.jsonl", "--json")
    assert again.returncode == 1 and json.loads(again.stdout)["before"] == 23
    assert (stack.folder / "out.jsonl").read_text() == before and jobs_of(stack) == 23
    # Elsewhere, in another order, with a line more: the old ones are found by what they say.
    (stack.folder / "moved").mkdir()
    write(stack.folder / "moved" / "jobs.jsonl", [{"agent": LIGHT, "prompt": "new"}, *reversed(rows)])
    moved = hotset("batch", "moved/jobs.jsonl", "-o", "out.jsonl", "--json")
    assert json.loads(moved.stdout)["before"] == 23 and jobs_of(stack) == 24
    # Another name of the run asks anew; without an output file results are printed.
    write(stack.folder / "one.jsonl", rows[:1])
    printed = hotset("batch", "one.jsonl", "--run", "second")
    assert json.loads(printed.stdout)["id"] == 0 and jobs_of(stack) == 25
    piped = hotset("batch", "-", stdin=json.dumps(rows[0]) + "\n")
    assert json.loads(piped.stdout)["job"] == by_line[1]["job"] and jobs_of(stack) == 25


def test_killed_and_resumed_it_neither_loses_nor_doubles(hotset: Hotset, start: Start, stack: Stack) -> None:
    rows = [{"agent": LIGHT, "prompt": f"task {i}", "options": {"hotset_run_s": 10}} for i in range(60)]
    write(stack.folder / "jobs.jsonl", rows)
    out = stack.folder / "out.jsonl"
    words = ("batch", "jobs.jsonl", "-o", "out.jsonl", "--window", "25")
    # Before any job could run: killed right after the first were accepted.
    first = start(*words)
    eventually(lambda: jobs_of(stack) >= 25, within_s=20)
    first.kill()
    first.wait()
    assert jobs_of(stack) == 25, "no more than the window is open"
    start("worker")
    second = start(*words)
    eventually(lambda: out.exists() and len(out.read_bytes().splitlines()) >= 5, within_s=30)
    second.kill()
    second.wait()
    # A crash in the middle of a line.
    whole = out.read_bytes()
    out.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 20])
    done = hotset(*words)
    assert done.returncode == 0, done.stderr
    assert sorted(row["line"] for row in results(out)) == list(range(1, 61))
    assert len({row["job"] for row in results(out)}) == 60 == jobs_of(stack)
    assert all(view.attempt == 1 for view in stack.client().jobs(limit=100))


def test_ctrl_c_leaves_the_jobs_and_says_how_to_go_on(start: Start, stack: Stack) -> None:
    write(stack.folder / "jobs.jsonl", [{"agent": LIGHT, "prompt": "x"}])
    asking = start("batch", "jobs.jsonl", "-o", "my out.jsonl")
    eventually(lambda: jobs_of(stack) == 1, within_s=20)
    time.sleep(0.3)
    asking.send_signal(signal.SIGINT)
    _, errors = asking.communicate(timeout=20)
    assert asking.returncode == 130 and "Traceback" not in errors
    assert (
        "No GPU worker is running" in errors
        and "go on" in errors
        and "hotset batch jobs.jsonl -o 'my out.jsonl'" in errors
    )
    assert stack.client().jobs()[0].state is State.QUEUED


BAD = [
    "{not json",
    "[1, 2]",
    {"agent": LIGHT, "promt": "x"},
    {"agent": "nobody", "prompt": "x"},
    {"agent": LIGHT},
    {"agent": LIGHT, "prompt": "x", "deadline": "soon"},
    {"agent": LIGHT, "prompt": "x", "id": [1]},
]


def test_bad_lines_are_named_and_nothing_is_submitted(hotset: Hotset, stack: Stack) -> None:
    write(stack.folder / "jobs.jsonl", [{"agent": LIGHT, "prompt": "good"}, "", *BAD])
    done = hotset("batch", "jobs.jsonl", "-o", "out.jsonl")
    assert done.returncode == 2 and done.stdout == ""
    for words in ("7 bad lines", "line 3: It is not JSON", "line 5: A line has no 'promt'", "Did you mean 'prompt'"):
        assert words in done.stderr, done.stderr
    assert "line 6: There is no agent 'nobody'" in done.stderr and "--skip-bad" in done.stderr
    assert jobs_of(stack) == 0


def test_bad_lines_can_be_skipped_and_are_written_once(hotset: Hotset, start: Start, stack: Stack) -> None:
    start("worker")
    write(stack.folder / "jobs.jsonl", [{"agent": LIGHT, "prompt": "good", "key": "mine"}, *BAD])
    for before in (0, 8):
        done = hotset("batch", "jobs.jsonl", "-o", "out.jsonl", "--skip-bad", "--json")
        assert done.returncode == 1, done.stderr
        summary = json.loads(done.stdout)
        assert (summary["succeeded"], summary["bad"], summary["before"]) == (1, 7, before)
    out = results(stack.folder / "out.jsonl")
    assert Counter(row["state"] for row in out) == {"bad": 7, "succeeded": 1}
    assert next(row for row in out if row["line"] == 5)["error"].startswith("There is no agent 'nobody'")
    # A key of your own that belongs to another question is named by its line.
    write(
        stack.folder / "jobs.jsonl",
        [{"agent": LIGHT, "prompt": "fine"}, {"agent": LIGHT, "prompt": "y", "key": "mine"}],
    )
    conflict = hotset("batch", "jobs.jsonl", "-o", "other.jsonl")
    assert conflict.returncode == 2 and "line 2" in conflict.stderr and "'mine'" in conflict.stderr
    skipped = hotset("batch", "jobs.jsonl", "-o", "other.jsonl", "--skip-bad")
    assert skipped.returncode == 1
    assert Counter(row["state"] for row in results(stack.folder / "other.jsonl")) == {"bad": 1, "succeeded": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [("my diary\n", "line 1: this is no result"), ('{"id": 1}\n', "line 1: this is no result")],
)
def test_an_output_of_another_kind_is_left_alone(hotset: Hotset, stack: Stack, content: str, said: str) -> None:
    write(stack.folder / "jobs.jsonl", [{"agent": LIGHT, "prompt": "x"}])
    (stack.folder / "diary.txt").write_text(content)
    done = hotset("batch", "jobs.jsonl", "-o", "diary.txt")
    assert done.returncode == 2 and said in done.stderr
    assert (stack.folder / "diary.txt").read_text() == content and jobs_of(stack) == 0


def test_the_progress_in_a_terminal(stack: Stack, start: Start) -> None:
    start("worker")
    agents = (LIGHT, BALANCED, COMPLEX)
    rows = [{"agent": agents[i % 3], "prompt": f"{i}", "options": {"hotset_run_s": 20}} for i in range(30)]
    write(stack.folder / "jobs.jsonl", rows)
    words = ("batch", "jobs.jsonl", "-o", "out.jsonl")
    with terminal(*words, env=stack.env, cwd=stack.folder, columns=110, lines=12) as screen:
        screen.until("Jobs", "/30", "left", "swaps", "avoided")
        assert screen.end(within_s=60) == 0, screen.text
        assert "30 lines: 30 succeeded" in screen.text and "SIMULATED" in screen.text
        assert "first come, first served would have needed about" in screen.text
    with terminal(*words, env=stack.env, cwd=stack.folder, columns=110, lines=12) as screen:
        assert screen.end() == 0 and "30 had their results before" in screen.text
