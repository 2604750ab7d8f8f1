"""The client in event loops: the same answers, no thread a waiter, nothing left of a cancelled task."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator

import psycopg
import pytest

from byhand import Worker
from hotset import AsyncClient, AsyncJob, Client, Job, Jobs, load_settings
from hotset.client import AsyncJobs
from hotset.client.async_client import AsyncMessage, AsyncScope
from hotset.client.inbox import Message
from hotset.client.memory import Scope
from hotset.errors import JobFailed, ResultTimeout, UnknownAgent
from hotset.jobs import State
from stack import Stack

LIGHT = "log-aggregator-loki"


@pytest.fixture
def worker(stack: Stack) -> Iterator[Worker]:
    stack.fleet()
    with Worker(stack) as made:
        yield made


def aclient(stack: Stack) -> AsyncClient:
    return AsyncClient(settings=load_settings(stack.env))


@pytest.mark.parametrize(
    ("twin", "sync"),
    [(AsyncClient, Client), (AsyncJob, Job), (AsyncJobs, Jobs), (AsyncScope, Scope), (AsyncMessage, Message)],
)
def test_the_twins_take_the_same_arguments(twin: type, sync: type) -> None:
    both = [n for n in vars(twin) if not n.startswith("_") and callable(getattr(twin, n)) and hasattr(sync, n)]
    assert both
    for name in both:
        ours, theirs = (inspect.signature(getattr(cls, name)).parameters for cls in (twin, sync))
        assert list(ours)[1:] == list(theirs)[1:] or name == "forked", name


def test_an_ordinary_day(stack: Stack, worker: Worker) -> None:
    async def main() -> None:
        async with aclient(stack) as client:
            job = await client.submit(LIGHT, "x", priority="high", metadata={"team": "core"})
            assert (await job.status, await job.position) == (State.QUEUED, 0)
            with pytest.raises(ResultTimeout):
                await job.result(timeout=0.05)
            wait = asyncio.create_task(job.result(timeout=120))
            await asyncio.sleep(0.05)
            worker.finish(job.id, "said")
            assert (await wait).text == "said"
            assert (await job.view).metadata == {"team": "core"} and (await job.status) is State.SUCCEEDED
            waiting = await client.submit(LIGHT, "y")
            assert await waiting.cancel(reason="superseded") and not await waiting.cancel()
            with pytest.raises(JobFailed):
                await waiting.result()
            assert [row["action"] for row in await client.audit(job.id)] == ["accept", "claim", "succeeded"]
            assert len(await client.jobs()) == 2 and (await client.job(job.id)) == job
            with pytest.raises(UnknownAgent):
                await client.submit("nobody", "x")

    asyncio.run(main())


def test_streams_and_batches(stack: Stack, worker: Worker) -> None:
    async def main() -> None:
        async with aclient(stack) as client:
            events = client.stream(LIGHT, "say")
            assert (await anext(events)).kind == "queued"
            (view,) = await client.jobs()
            run = worker.start(str(view.id))
            run.say("a", "b")
            assert (await anext(events)).kind == "started"
            first = await anext(events)
            await events.aclose()
            run.end()
            rest = [event async for event in client.stream_job(view.id, after=first.id)]
            assert [(e.kind, e.text) for e in rest] == [("token", "b"), ("done", "")]

            jobs = await client.submit_many((LIGHT, f"{i}") for i in range(4))
            worker.finish(jobs[2].id)
            ended = jobs.as_completed(timeout=10)
            assert (await anext(ended)).id == jobs[2].id
            worker.start(jobs[0].id).end(state=State.FAILED, error="it broke")
            failed = await anext(ended)
            assert failed.error == "it broke" and (await failed.view).state is State.FAILED
            assert await jobs.cancel() == 2
            assert len([job async for job in ended]) == 2
            with pytest.raises(JobFailed):
                await jobs.results(timeout=5)

    asyncio.run(main())


def test_a_cancelled_task_leaves_nothing_behind(stack: Stack, worker: Worker) -> None:
    async def main() -> None:
        async with aclient(stack) as client:
            jobs = await client.submit_many((LIGHT, f"{i}") for i in range(20))
            before = threading.active_count()

            async def follow(job: AsyncJob) -> None:
                async for _ in job.stream():
                    pass

            tasks = [asyncio.create_task(job.result()) for job in jobs]
            tasks += [asyncio.create_task(follow(job)) for job in jobs]
            await asyncio.sleep(0.3)
            listener = client._sync._listener
            assert listener.waiting == 20 and threading.active_count() <= before + 10
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(e, asyncio.CancelledError) for e in done)
            assert listener.waiting == 0 and not listener._jobs and not listener._loads
            streams = [asyncio.create_task(anext(client.stream(LIGHT, f"{i}"))) for i in range(8)]
            await asyncio.sleep(0)
            for task in streams:
                task.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
            await client.counts()  # behind what the pool had begun
            assert listener.waiting == 0, "submitted or not, nobody follows"
            async with asyncio.timeout(5):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await jobs[0].result()
            assert listener.waiting == 0

    asyncio.run(main())


def test_what_agents_remember(stack: Stack) -> None:
    stack.fleet()

    async def main() -> None:
        async with aclient(stack) as client:
            memory = client.memory("project:shop")
            old = await memory.remember("Acme's refund window is 14 days.")
            new, *_ = await memory.remember_many(["Acme's refund window is 30 days now.", "Acme's office is in Lyon."])
            assert (await client.consolidate()).settled == 2
            question = "How long is Acme's refund window?"
            assert (await memory.search(question))[0].id == new
            assert [m.id for m in await memory.history(question)] == [old, new]
            assert await client.demote() == 3 and (await memory.get(new)).tier == "cold"
            await client.grant("project:shop", "qa-team-lead")
            theirs = client.memory("project:shop", agent="qa-team-lead")
            assert len(await asyncio.gather(*(theirs.search(question) for _ in range(8)))) == 8
            job = await client.submit(LIGHT, question, recall=2, recall_from=["project:shop"])
            with psycopg.connect(stack.env["HOTSET_DATABASE_URL"]) as connection:
                asked = connection.execute("SELECT prompt FROM jobs WHERE id = %s", [job.id]).fetchone()
            assert str(asked[0]).startswith("What is remembered:\n- Acme's refund window is 30 days now.")
            events = client.stream(LIGHT, question, recall=1, recall_from=["project:shop"])
            assert (await anext(events)).kind == "queued"
            await events.aclose()
            assert await memory.forget(new) == 1
            assert (await memory.search(question))[0].id == old

    asyncio.run(main())


def test_messages_are_sent_read_and_handled(stack: Stack) -> None:
    stack.fleet()

    async def main() -> None:
        async with aclient(stack) as client:
            inbox = client.inbox("qa-team-lead", timeout=30)
            waiting = asyncio.create_task(anext(inbox))
            await asyncio.sleep(0.05)
            first = await client.send("qa-team-lead", {"n": 1}, from_="system-architect")
            got = await waiting
            assert (got.id, got.body, got.from_) == (first, {"n": 1}, "system-architect")
            await got.nack("not yet", delay=0)
            await (await anext(inbox)).ack()
            await client.subscribe("qa-team-lead", "releases")
            assert await client.publish("releases", {"n": 2}) == 1
            message = await anext(inbox)
            with pytest.raises(ZeroDivisionError):
                async with message.handling() as connection:
                    connection.exec_driver_sql("CREATE TABLE effects (n integer)")
                    raise ZeroDivisionError
            async with (await anext(inbox)).handling() as connection:
                connection.exec_driver_sql("CREATE TABLE effects (n integer)")
            await inbox.aclose()
            assert [m.state for m in await client.messages()] == ["handled", "handled"]
            assert [m async for m in client.inbox("qa-team-lead", timeout=0)] == []

    asyncio.run(main())


def test_several_loops_share_a_client(stack: Stack, worker: Worker) -> None:
    client = aclient(stack)
    texts: list[str] = []

    async def ask() -> None:
        job = await client.submit(LIGHT, "x")
        wait = asyncio.create_task(job.result(timeout=120))
        await asyncio.sleep(0.05)
        await asyncio.get_running_loop().run_in_executor(None, worker.finish, job.id)
        texts.append((await wait).text)

    loops = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(4)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(timeout=30)
    asyncio.run(ask())
    asyncio.run(client.close())
    assert texts == ["done"] * 5
