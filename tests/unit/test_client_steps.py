"""Plans are carried out alike by threads and by tasks, and tidied up however their caller ends."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hotset.client.steps import AsyncEach, Box, Call, Each, Give, Plan, Take, arun, run


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def doubling(box: Box, log: list[str], until: float | None = None) -> Plan[int, str]:
    """Gives twice what it takes; returns at a None."""
    try:
        while (item := (yield Take(box, until))) is not None:
            doubled = yield Call(lambda: 2 * item)
            yield Give(doubled)
        return "the end"
    finally:
        log.append("tidy")


def failing() -> Plan[int, str]:
    try:
        yield Call(lambda: 1 / 0)
    except ZeroDivisionError:
        return "caught"
    return "not raised"


def test_both_drivers_carry_a_plan_out_alike(pool: ThreadPoolExecutor) -> None:
    def full() -> Box:
        box = Box()
        for item in (1, 2, 3):
            box.put(item)
        return box

    log: list[str] = []
    soon = time.monotonic() + 0.01
    assert list(Each(doubling(full(), log, soon))) == [2, 4, 6]
    assert run(doubling(full(), log, soon)) == "the end"

    async def main() -> None:
        later = time.monotonic() + 0.05
        assert [item async for item in AsyncEach(doubling(full(), log, later), lambda: pool)] == [2, 4, 6]
        assert await arun(doubling(full(), log, later), pool) == "the end"
        assert await arun(failing(), pool) == "caught"

    asyncio.run(main())
    assert run(failing()) == "caught"
    assert log == ["tidy"] * 4


def test_a_task_that_waits_is_woken_from_another_thread_and_holds_none(pool: ThreadPoolExecutor) -> None:
    async def main() -> None:
        boxes = [Box() for _ in range(200)]
        log: list[str] = []
        before = threading.active_count()
        tasks = [asyncio.ensure_future(anext(AsyncEach(doubling(box, log), lambda: pool))) for box in boxes]
        await asyncio.sleep(0.05)
        assert threading.active_count() <= before + 2, "the pool's two threads at most"
        threading.Thread(target=lambda: [box.put(i) for i, box in enumerate(boxes)]).start()
        assert await asyncio.gather(*tasks) == [2 * i for i in range(200)]

    asyncio.run(main())


def test_a_cancelled_task_leaves_nothing(pool: ThreadPoolExecutor) -> None:
    log: list[str] = []

    async def main() -> None:
        box = Box()
        task = asyncio.ensure_future(arun(doubling(box, log), pool))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["tidy"]
        box.put(1)  # nobody waits any more: nothing happens

    asyncio.run(main())


def test_a_dropped_iterator_is_tidied_up_at_once() -> None:
    log: list[str] = []
    box = Box()
    box.put(1)
    for item in Each(doubling(box, log)):
        assert item == 2
        break
    gc.collect()
    assert log == ["tidy"]


def test_a_loop_that_was_closed_does_not_break_who_tells_it() -> None:
    box = Box()
    loop = asyncio.new_event_loop()
    waiting: Any = box.atake(None)
    loop.run_until_complete(asyncio.wait_for(_started(loop, waiting), 1))
    loop.close()
    box.put("too late")
    waiting.close()
    assert box.take(0.0) == "too late"


async def _started(loop: asyncio.AbstractEventLoop, waiting: Any) -> None:
    waiting.send(None)


def test_a_full_box_drops_only_what_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotset.client.steps.BUFFER", 3)
    box = Box()
    for i in range(10):
        box.put(i, droppable=True)
    box.put("the end")
    assert [box.take(0.0) for _ in range(5)] == [0, 1, 2, "the end", None]
