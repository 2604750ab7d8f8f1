"""`hotset jobs` and `hotset audit`: filters, pages, bulk, follow."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from subprocess import CompletedProcess, Popen

import pytest

from hotset import chain, step
from hotset.jobs import State
from hotset.store import upkeep
from screen import terminal
from stack import Stack, eventually

Hotset = Callable[..., "CompletedProcess[str]"]
Start = Callable[..., "Popen[str]"]
LIGHT, BALANCED = "log-aggregator-loki", "senior-backend-developer"


def test_lists_by_filter_and_page_by_page(hotset: Hotset, stack: Stack) -> None:
    client = stack.client()
    light = [job.id for job in client.submit_many((LIGHT, f"{i}") for i in range(5))]
    core = client.submit(BALANCED, "x", metadata={"team": "core"}, priority="high")

    def ids(*words: str) -> list[str]:
        done = hotset("jobs", "list", "--json", *words)
        assert done.returncode == 0, done.stderr
        return [row["id"] for row in json.loads(done.stdout)]

    assert ids() == [core.id, *reversed(light)]
    assert ids("--metadata", "team=core") == [core.id] == ids("--queue", "qwen") == ids("--agent", BALANCED)
    assert ids("--state", "running,failed") == [] == ids("--until", "1h") == ids("--tenant", "them")
    assert len(ids("--state", "open", "--since", "1h", "--tenant", "*")) == 6
    assert [hotset("jobs", "show", core.id, "--tenant", tenant).returncode for tenant in ("default", "them")] == [0, 1]
    first = ids("--limit", "4")
    assert ids("--limit", "4", "--after", first[-1]) == [*reversed(light)][3:]
    shown = hotset("jobs", "list", "--limit", "4")
    assert f"--after {first[-1]}" in shown.stderr and core.id in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "--state", "fialed"), "Did you mean 'failed'"),
        (("list", "--since", "yesterday"), "--since='yesterday' is no time"),
        (("list", "--metadata", "core"), "name=value"),
        (("list", "--agent", "senior-backend-develper"), "Did you mean"),
        (("cancel",), "Which jobs"),
        (("retry",), "Which jobs"),
        (("cancel", "0198c0de-0000-7000-8000-000000000000", "--queue", "qwen"), "not both"),
    ],
)
def test_wrong_filters_are_refused(hotset: Hotset, words: tuple[str, ...], said: str) -> None:
    done = hotset("jobs", *words)
    assert done.returncode == 2 and said in done.stderr and done.stdout == "", done.stderr


def test_cancel_of_many_asks_first_and_takes_only_what_matches(hotset: Hotset, stack: Stack) -> None:
    client = stack.client()
    light = client.submit_many((LIGHT, f"{i}") for i in range(12))
    balanced = client.submit_many((BALANCED, f"{i}") for i in range(3))
    refused = hotset("jobs", "cancel", "--all", "--queue", "tinyllama")
    assert refused.returncode == 2 and "would cancel 12 jobs" in refused.stderr and "--yes" in refused.stderr
    words = ("jobs", "cancel", "--all", "--queue", "tinyllama")
    for answer, status in (("n", 1), ("y", 0)):
        with terminal(*words, env=stack.env, cwd=stack.folder) as screen:
            screen.until("Cancel 12 jobs? [y/N]")
            screen.press(answer + "\r")
            assert screen.end() == status, screen.text
            assert ("Nothing was done." if status else "12 jobs are cancelled.") in screen.text
    assert {job.status for job in light} == {State.CANCELLED} and {job.status for job in balanced} == {State.QUEUED}
    done = hotset("jobs", "cancel", balanced[0].id, light[0].id, "--json")
    assert done.returncode == 1 and "ended already" in done.stderr
    assert [(row["state"], row["changed"]) for row in json.loads(done.stdout)] == [
        ("cancelled", True),
        ("cancelled", False),
    ]
    rest = hotset("jobs", "cancel", "--state", "queued", "--yes", "--reason", "home time", "--json")
    assert json.loads(rest.stdout) == {"cancelled": 2, "asked": 0}
    assert client.audit(balanced[2].id)[-1]["detail"] == {"reason": "home time"}
    # The broker forgot them: a worker that starts now has nothing to do.
    assert stack.client()._lanes.lengths(["qwen", "tinyllama"]) == {"qwen": 0, "tinyllama": 0}
    assert json.loads(hotset("jobs", "cancel", "--all", "--yes", "--json").stdout) == {"cancelled": 0, "asked": 0}


def test_running_jobs_of_a_bulk_are_broken_off_and_all_can_run_again(
    hotset: Hotset, start: Start, stack: Stack
) -> None:
    start("worker")
    client = stack.client()
    long = client.submit_many({"agent": LIGHT, "prompt": f"{i}", "options": {"hotset_run_s": 5000}} for i in range(2))
    eventually(lambda: {job.status for job in long} == {State.RUNNING}, within_s=20)
    watching = start("jobs", "watch", long[0].id, "--json")
    assert watching.stdout is not None and json.loads(watching.stdout.readline())["state"] == "running"
    done = hotset("jobs", "cancel", "--state", "open", "--yes", "--json")
    assert json.loads(done.stdout) == {"cancelled": 0, "asked": 2}
    eventually(lambda: {job.status for job in long} == {State.CANCELLED}, within_s=15)
    last, _ = watching.communicate(timeout=20)
    assert json.loads(last)["state"] == "cancelled" and watching.returncode == 1

    failed = client.submit_many(
        {"agent": LIGHT, "prompt": f"{i}", "max_retries": 0, "options": {"hotset_fault": "cut"}} for i in range(3)
    )
    eventually(lambda: all(job.status is State.FAILED for job in failed), within_s=20)
    question = hotset("jobs", "retry", "--all", "--state", "failed")
    assert question.returncode == 2 and "would retry 3 jobs" in question.stderr
    again = json.loads(hotset("jobs", "retry", "--error-kind", "GenerationFailed", "--yes", "--json").stdout)
    assert [row["replay_of"] for row in again] == [job.id for job in failed]
    # Those were retried: the same words do it once. The new ones must end before they count.
    eventually(lambda: all(client.job(row["id"]).status.terminal for row in again), within_s=20)
    once_more = json.loads(hotset("jobs", "retry", "--all", "--yes", "--queue", "tinyllama", "--json").stdout)
    assert {row["replay_of"] for row in once_more} == {row["id"] for row in again} | {job.id for job in long}
    one = hotset("jobs", "retry", failed[0].id, "--json")
    assert one.returncode == 0 and json.loads(one.stdout)[0]["replay_of"] == failed[0].id
    hotset("jobs", "cancel", "--all", "--yes")


def test_the_audit_is_listed_and_followed(hotset: Hotset, start: Start, stack: Stack) -> None:
    client = stack.client()
    first = client.submit(LIGHT, "x")
    tail = start("audit", "tail", "--since", "1h", "--json")
    assert tail.stdout is not None
    assert json.loads(tail.stdout.readline())["job_id"] == first.id
    first.cancel("enough")
    seen = json.loads(tail.stdout.readline())
    assert (seen["action"], seen["detail"]) == ("cancelled", {"reason": "enough"})
    tail.send_signal(signal.SIGINT)
    _, errors = tail.communicate(timeout=20)
    assert tail.returncode == 130 and "Traceback" not in errors
    stack.client(tenant="them").submit(LIGHT, "y")

    def actions(*words: str) -> list[str]:
        return [row["action"] for row in json.loads(hotset("audit", "list", "--json", *words).stdout)]

    assert actions() == ["accept", "cancelled"] == actions("--job", first.id)
    assert actions("--action", "cancelled", "--since", "1h") == ["cancelled"]
    assert actions("--tenant", "*") == ["accept", "cancelled", "accept"] and actions("--tenant", "them") == ["accept"]
    assert actions("--until", "1h") == [] and actions("--limit", "1") == ["cancelled"]
    table = hotset("audit", "list", "--tenant", "*").stdout
    assert "reason=enough" in table and "them" in table


def test_a_flow_is_shown_as_a_tree_and_a_bulk_retry_takes_each_step_once(
    hotset: Hotset, start: Start, stack: Stack
) -> None:
    start("worker")
    client = stack.client()
    bad = {"max_retries": 0, "options": {"hotset_fault": "cut"}}
    run = client.submit(chain(step(LIGHT, "first", **bad), step(LIGHT, "second: {prev}"), step(BALANCED, "{prev}")))
    eventually(lambda: all(job.status is State.FAILED for job in run.jobs), within_s=20)
    first, second, _ = (job.id for job in run.jobs)
    shown = hotset("jobs", "show", second)
    assert shown.returncode == 0 and "DependencyFailed" in shown.stdout
    assert shown.stdout.count(LIGHT) >= 3 and BALANCED in shown.stdout, shown.stdout
    again = json.loads(hotset("jobs", "retry", "--all", "--yes", "--json").stdout)
    assert [row["replay_of"] for row in again] == [first]
    replayed = [view.replay_of for view in client.jobs() if view.replay_of is not None]
    assert len(replayed) == len(set(replayed)) == 3


def test_dead_letters_have_reasons_and_run_again_once(hotset: Hotset, stack: Stack) -> None:
    client = stack.client()
    store, words = client._store, ("jobs", "dead", "--json")
    poison, failed, fine = (client.submit(LIGHT, name) for name in ("poison", "failed", "fine"))
    store.claim(client.id_of(poison.id), worker="dead", lease_s=-1)
    upkeep.reap(store.engine, actor="u", max_crashes=1)
    store.refuse(client.id_of(failed.id), worker="w", error_kind="UnknownAgent", error="There is no such agent.")
    store.claim(client.id_of(fine.id), worker="w", lease_s=60)

    def letters(*more: str) -> dict[str, dict[str, object]]:
        done = hotset(*words, *more)
        assert done.returncode == 0, done.stderr
        return {row["id"]: row for row in json.loads(done.stdout)}

    found = letters()
    assert set(found) == {poison.id, failed.id} and found[poison.id]["crashes"] == 1
    assert "died 1 times" in str(found[poison.id]["error"]) and not found[poison.id]["retried"]
    assert set(letters("--state", "quarantined")) == {poison.id} == set(letters("--error-kind", "Crashed"))
    assert "UnknownAgent: There is no such agent." in hotset("jobs", "dead").stdout
    assert hotset("jobs", "dead", fine.id, "--retry").returncode == 2
    assert hotset("jobs", "dead", "--state", "succeeded").returncode == 2
    one = hotset(*words, poison.id, "--retry")
    assert [row["replay_of"] for row in json.loads(one.stdout)] == [poison.id], one.stderr
    rest = hotset(*words, "--retry", "--yes")
    assert [row["replay_of"] for row in json.loads(rest.stdout)] == [failed.id], rest.stderr
    assert json.loads(hotset(*words, "--retry", "--yes").stdout) == []
    assert [row["retried"] for row in letters().values()] == [True, True]
