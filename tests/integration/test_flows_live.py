"""Flows on a real worker: released at once, told at once, and their answers passed on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import hotset
from hotset.errors import JobFailed
from hotset.jobs import State
from hotset.settings import load_settings
from stack import Stack, eventually

LIGHT = "log-aggregator-loki"
S = State.SUCCEEDED
step = hotset.step


def test_a_flow_runs_and_passes_its_answers_on(client: hotset.Client) -> None:
    flow = hotset.chain(
        (LIGHT, "first"),
        hotset.group((LIGHT, "left of {prev}"), step(LIGHT, lambda prev: f"right of {prev} {{prev}}")),
        step(LIGHT, "{prev[0]} | {prev[1]}"),
    )
    run = client.submit(flow, priority="high", metadata={"team": "core"})
    assert len(run.jobs) == 4 and run.job("2.2").view.metadata == {"team": "core"}
    result = run.result(timeout=120)
    assert isinstance(result, hotset.JobResult) and result.text
    assert run.status is S
    again = client.flow(run.id)
    assert again == run
    tree = again.tree()
    assert tree.splitlines()[0] == f"flow {run.id}  succeeded"
    for job in run.jobs:
        assert job.id in tree
    shown = again.as_dict()
    assert [s["path"] for s in shown["steps"]] == ["1", "2.1", "2.2", "3"]
    assert shown["steps"][3]["after"] == ["2.1", "2.2"] and shown["status"] == "succeeded"
    for before, after in (("1", "2.1"), ("2.2", "3")):
        released, ended = run.job(after).view.released_at, run.job(before).view.finished_at
        assert released and ended and released >= ended


def test_waiting_for_a_flow_whose_step_fails_ends_at_once_and_names_the_job(client: hotset.Client) -> None:
    run = client.submit(
        hotset.chain(
            step(LIGHT, "x", max_retries=0, options={"hotset_fault": "cut", "hotset_run_s": 5}),
            (LIGHT, "{prev}"),
            (LIGHT, "{prev}"),
        )
    )
    with pytest.raises(JobFailed, match="on which it depends, ended as failed") as caught:
        run.result(timeout=50)  # the listener's own look at Postgres comes after 60 s
    assert caught.value.error_kind == "DependencyFailed" and run.jobs[0].id in str(caught.value)
    assert run.status is State.FAILED


def test_a_waiting_step_that_is_cancelled_wakes_who_waits_for_what_followed(
    client: hotset.Client, served: Stack
) -> None:
    other = served.client()
    run = client.submit(hotset.chain(step(LIGHT, "x", not_before=100_000), (LIGHT, "{prev}")))
    threading.Timer(0.3, other.cancel, args=(other.id_of(run.jobs[0].id),)).start()
    with pytest.raises(JobFailed, match="ended as cancelled"):
        run.result(timeout=120)


def test_cancelling_a_flow_ends_all_of_it(client: hotset.Client) -> None:
    run = client.submit(hotset.chain(step(LIGHT, "x", options={"hotset_run_s": 5000}), (LIGHT, "y"), (LIGHT, "z")))
    eventually(lambda: run.jobs[0].status is State.RUNNING, within_s=20)
    assert run.cancel("enough") == 3
    eventually(lambda: run.status is State.CANCELLED, within_s=10, message=run.tree)
    assert [job.status for job in run.jobs] == [State.CANCELLED] * 3
    assert run.cancel() == 0


def test_tasks_wait_for_flows_like_threads(served: Stack) -> None:
    async def main() -> tuple[Any, State, str]:
        async with hotset.AsyncClient(settings=load_settings(served.env)) as client:
            run = await client.submit(hotset.chain((LIGHT, "a"), (LIGHT, "{prev}")))
            result = await run.result(timeout=120)
            return result, await run.status, await run.tree()

    result, status, tree = asyncio.run(main())
    assert result.text and status is S and tree.count("succeeded") == 3


@hotset.agent("bread-baker", tier="light", max_tokens=3, system="You bake.")
def bake(what: str) -> str:
    return f"Bake {what}"


def test_a_worker_runs_an_agent_that_it_does_not_know(client: hotset.Client) -> None:
    job = client.submit(bake, "bread")
    result = job.result(timeout=120)
    assert result.model == "tinyllama" and 1 <= result.usage["output_tokens"] <= 3
    assert job.view.agent == "bread-baker"
    again = client.retry(job.id)
    assert again.result(timeout=120).usage["output_tokens"] <= 3
    run = client.submit(hotset.chain(bake("rolls"), bake))
    result = run.result(timeout=120)
    assert isinstance(result, hotset.JobResult) and result.usage["output_tokens"] <= 3
