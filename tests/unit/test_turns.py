"""So many at once, and who came first goes first."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from hotset.turns import NoTurn, Turns

PATIENCE_S = 30


class Counter:
    """Callers that take their turns, in a pool; each holds its own until it is let go."""

    def __init__(self, most: int, pool: ThreadPoolExecutor) -> None:
        self.turns, self._pool = Turns(most), pool
        self.came: list[int] = []
        self._let_go: list[threading.Event] = []

    def call(self) -> Future[None]:
        """Of a caller that is in, or waits as the last."""
        number, let_go = len(self._let_go), threading.Event()
        self._let_go.append(let_go)

        def take() -> None:
            with self.turns.turn():
                self.came.append(number)
                assert let_go.wait(PATIENCE_S)

        before = len(self.came) + self.waiting
        future = self._pool.submit(take)
        self.until(before + 1)
        return future

    def let_go(self, number: int) -> None:
        self._let_go[number].set()

    def until(self, seen: int) -> None:
        """Until so many have come in or wait."""
        while len(self.came) + self.waiting < seen:
            threading.Event().wait(0.001)

    @property
    def waiting(self) -> int:
        return len(self.turns._waiting)


def test_so_many_are_in_at_once_and_the_others_follow_in_their_order() -> None:
    with ThreadPoolExecutor(8) as pool:
        counter = Counter(2, pool)
        futures = [counter.call() for _ in range(5)]
        assert (counter.came, counter.waiting) == ([0, 1], 3)
        for gone, in_by_now in ((1, [0, 1, 2]), (0, [0, 1, 2, 3]), (3, [0, 1, 2, 3, 4])):
            counter.let_go(gone)
            futures[gone].result(PATIENCE_S)
            while len(counter.came) < len(in_by_now):
                threading.Event().wait(0.001)
            assert counter.came == in_by_now
            futures.append(counter.call())
        # One at a time: two whose turns come together may be seen in either order.
        for number in (2, 4, 5, 6, 7):
            counter.let_go(number)
            futures[number].result(PATIENCE_S)
            counter.until(8)
    assert counter.came == [*range(8)]


def waiter(turns: Turns) -> threading.Lock:
    """Somebody who waits, and has not woken yet when it is told."""
    told = threading.Lock()
    told.acquire()
    turns._waiting.append(told)
    return told


def test_whoever_comes_before_the_next_has_woken_takes_nothing_from_it() -> None:
    one = Turns(1)
    one._take()
    told = waiter(one)
    one._pass_on()
    assert not told.locked()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(one._take)
        while not one._waiting:
            assert not late.done()
        one._pass_on()
        late.result(PATIENCE_S)
    assert one._free == 0


def test_a_turn_that_fails_is_passed_on() -> None:
    one = Turns(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="within"), one.turn():
            raise ValueError("within")


def test_who_waits_too_long_is_told_and_takes_no_turn() -> None:
    one = Turns(1, wait_s=0.01)
    with one.turn(), ThreadPoolExecutor(1) as pool:
        with pytest.raises(NoTurn, match=r"0\.01 s"):
            pool.submit(one.turn().__enter__).result(PATIENCE_S)
        assert not one._waiting
    with one.turn():
        pass


def test_a_turn_that_comes_as_its_owner_gives_up_is_passed_on() -> None:
    one = Turns(1)
    one._take()
    told = waiter(one)
    one._pass_on()
    assert (one._free, told.locked()) == (0, False), "it is its turn"
    one._leave(told)
    assert one._free == 1
