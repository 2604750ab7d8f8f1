"""Calls that are carried out together: who shares a group, who is told what, and who leads when the leader is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from hotset.errors import InvalidMessage, StoreUnavailable
from hotset.together import Together

PATIENCE_S = 30


class Desk:
    """Carries out what is asked, and holds its first group until it may go on."""

    def __init__(
        self, most: int = 10, act: Callable[[list[Any]], list[Any]] = lambda items: [-i for i in items]
    ) -> None:
        self.groups: list[list[Any]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.together: Together[Any, Any] = Together(self._carry_out, most)
        self._act = act or (lambda items: [-i for i in items])

    def _carry_out(self, items: list[Any]) -> list[Any]:
        self.groups.append(items)
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        return self._act(items)

    def wait_for(self, waiting: int) -> None:
        """Until so many wait behind the group that is held."""
        while len(self.together._turns) < waiting:
            threading.Event().wait(0.001)

    def behind_a_first(self, items: list[Any], pool: ThreadPoolExecutor) -> tuple[Future[Any], list[Future[Any]]]:
        """Calls that all came, in this order, while the first was under way."""
        first = pool.submit(self.together.do, 0)
        assert self.begun.wait(PATIENCE_S)
        others = []
        for n, item in enumerate(items, 1):
            others.append(pool.submit(self.together.do, item))
            self.wait_for(n)
        return first, others


def test_who_comes_while_one_is_under_way_is_in_the_next_group() -> None:
    desk = Desk(most=3)
    with ThreadPoolExecutor(8) as pool:
        first, others = desk.behind_a_first([1, 2, 3, 4, 5], pool)
        desk.go.set()
        assert first.result(PATIENCE_S) == 0
        assert [o.result(PATIENCE_S) for o in others] == [-1, -2, -3, -4, -5]
    assert desk.groups == [[0], [1, 2, 3], [4, 5]]
    assert desk.together.do(9) == -9


def test_what_comes_afterwards_holds_up_nobody_else() -> None:
    after, go_on = threading.Event(), threading.Event()
    told: list[list[int]] = []

    def afterwards(items: list[int]) -> None:
        told.append(items)
        after.set()
        assert go_on.wait(PATIENCE_S)

    together: Together[int, int] = Together(lambda items: items, 10, afterwards)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(together.do, 1)
        assert after.wait(PATIENCE_S)
        other = pool.submit(together.do, 2)
        while len(told) < 2:
            threading.Event().wait(0.001)
        assert not leader.done()
        go_on.set()
        assert [leader.result(PATIENCE_S), other.result(PATIENCE_S)] == [1, 2]
    assert told == [[1], [2]]


def test_an_error_of_one_is_told_to_that_one_alone() -> None:
    def act(items: list[Any]) -> list[Any]:
        if 2 in items:
            raise InvalidMessage("two")
        return items

    desk = Desk(act=act)
    with ThreadPoolExecutor(8) as pool:
        first, others = desk.behind_a_first([1, 2, 3], pool)
        desk.go.set()
        assert first.result(PATIENCE_S) == 0
        assert [others[0].result(PATIENCE_S), others[2].result(PATIENCE_S)] == [1, 3]
        with pytest.raises(InvalidMessage):
            others[1].result(PATIENCE_S)
    assert desk.groups == [[0], [1, 2, 3], [1], [2], [3]]


def test_a_server_that_is_away_is_asked_once_for_all() -> None:
    def act(items: list[Any]) -> list[Any]:
        if items != [0]:
            raise StoreUnavailable("away")
        return items

    desk = Desk(act=act)
    with ThreadPoolExecutor(8) as pool:
        _, others = desk.behind_a_first([1, 2], pool)
        desk.go.set()
        for other in others:
            with pytest.raises(StoreUnavailable):
                other.result(PATIENCE_S)
    assert desk.groups == [[0], [1, 2]]


def test_a_leader_that_is_interrupted_leaves_nobody_waiting() -> None:
    def act(items: list[Any]) -> list[Any]:
        if items == [0]:
            raise KeyboardInterrupt
        return items

    desk = Desk(act=act)
    with ThreadPoolExecutor(8) as pool:
        first, others = desk.behind_a_first([1, 2], pool)
        desk.go.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(PATIENCE_S)
        assert [o.result(PATIENCE_S) for o in others] == [1, 2]


def test_whose_leader_is_interrupted_does_not_think_that_all_is_well() -> None:
    def act(items: list[Any]) -> list[Any]:
        if 1 in items:
            raise KeyboardInterrupt
        return items

    desk = Desk(act=act)
    with ThreadPoolExecutor(8) as pool:
        _, others = desk.behind_a_first([1, 2], pool)
        desk.go.set()
        with pytest.raises(KeyboardInterrupt):
            others[0].result(PATIENCE_S)
        with pytest.raises(StoreUnavailable):
            others[1].result(PATIENCE_S)
    assert desk.together.do(3) == 3


def test_tasks_share_groups_and_one_that_was_cancelled_is_left_out() -> None:
    async def main() -> None:
        desk = Desk()
        with ThreadPoolExecutor(1) as pool:
            tasks = [asyncio.create_task(desk.together.ado(i, pool)) for i in range(4)]
            await asyncio.to_thread(desk.begun.wait, PATIENCE_S)
            tasks[2].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[2]
            desk.go.set()
            # All of them came before the pool's thread began: one group, unless it began sooner.
            assert [await tasks[i] for i in (0, 1, 3)] == [0, -1, -3]
            assert await desk.together.ado(7, pool) == -7
        assert sorted(i for group in desk.groups for i in group if i != 2) == [0, 1, 3, 7]

    asyncio.run(main())


def test_a_thread_that_leads_hands_over_to_a_task() -> None:
    async def main() -> None:
        desk = Desk()
        with ThreadPoolExecutor(2) as threads, ThreadPoolExecutor(1) as pool:
            first = threads.submit(desk.together.do, 0)
            await asyncio.to_thread(desk.begun.wait, PATIENCE_S)
            tasks = [asyncio.create_task(desk.together.ado(i, pool)) for i in (1, 2, 3)]
            await asyncio.to_thread(desk.wait_for, 3)
            tasks[0].cancel()  # before it leads
            await asyncio.wait(tasks[:1])
            desk.go.set()
            assert [await task for task in tasks[1:]] == [-2, -3]
            assert first.result(PATIENCE_S) == 0
        assert desk.groups == [[0], [2, 3]]

    asyncio.run(main())


def test_a_pool_that_was_shut_down_is_an_error_and_holds_up_nobody() -> None:
    async def main() -> None:
        desk = Desk()
        shut = ThreadPoolExecutor(1)
        shut.shutdown()
        desk.go.set()
        with pytest.raises(RuntimeError):
            await desk.together.ado(1, shut)
        assert await asyncio.to_thread(desk.together.do, 2) == -2
        assert desk.groups == [[2]]

    asyncio.run(main())
