"""Calls that come while one is under way are carried out by the next, all of them in one: one statement, one commit.

There is no thread of its own for that: who comes first carries out its own call at once, and of those who came
meanwhile one carries out what all of them want. So a lone call costs what it would cost anyway, and under load the
groups grow by themselves. A group that is smaller than the last one waits for more, very shortly: those who were just
told come back at once if there is load. Each is told when its own group is done, and not before.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from hotset.errors import StoreUnavailable, Unavailable

#: Wall seconds that a group waits at the most until it is as large as the one before.
GATHER_S = 0.002

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """`carry_out` gets what several ask for, at most so many, and gives an answer to each, in order. If it raises, each
    is done again by itself and gets an error of its own, unless nothing can be done now. `afterwards` gets what was
    carried out, from whoever led, while the others go on."""

    def __init__(
        self,
        carry_out: Callable[[list[T]], Sequence[R]],
        most: int,
        afterwards: Callable[[list[T]], None] = lambda items: None,
    ) -> None:
        self._carry_out, self._most, self._afterwards = carry_out, most, afterwards
        self._lock = threading.Lock()
        self._turns: deque[_Turn[T, R]] = deque()
        #: Somebody carries out a group, or was told to.
        self._led = False
        self._enough = threading.Event()
        self._last = 1

    def do(self, item: T) -> R:
        """Its answer; in a thread, which waits for it."""
        told = threading.Lock()
        told.acquire()
        turn: _Turn[T, R] = _Turn(item, told.release)
        if not self._first(turn):
            try:
                told.acquire()
            except BaseException:  # Ctrl-C
                self._leave(turn)
                raise
        if not turn.done:
            try:
                self._lead()
            except BaseException:
                self._leave(turn)
                raise
        return turn.answer()

    async def ado(self, item: T, pool: Executor) -> R:
        """Its answer; in a task, which holds no thread: groups are carried out by one of the pool."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if turn.done:
                with suppress(RuntimeError):  # the loop was closed under the task
                    loop.call_soon_threadsafe(_wake, future)
            else:
                pool.submit(self._lead, pooled=True)

        turn: _Turn[T, R] = _Turn(item, tell, pooled=True)
        if self._first(turn) and not self._appoint(turn):
            self._hand_over()
        try:
            await future
        except BaseException:
            self._leave(turn)
            raise
        return turn.answer()

    def _first(self, turn: _Turn[T, R]) -> bool:
        """Whether nobody leads, so that this one does."""
        with self._lock:
            self._turns.append(turn)
            if len(self._turns) == self._last:
                self._enough.set()
            turn.leads = not self._led
            self._led = True
            return turn.leads

    def _leave(self, turn: _Turn[T, R]) -> None:
        """Nobody waits for it any more. If it is being carried out, it is."""
        with self._lock:
            with suppress(ValueError):
                self._turns.remove(turn)
            leads = turn.leads and not turn.pooled and not turn.done
        if leads:
            self._hand_over()

    def _lead(self, *, pooled: bool = False) -> None:
        """Carry out a group, then have somebody else lead. A thread of a pool goes on: nobody waits for that one."""
        while True:
            group: list[_Turn[T, R]] = []
            try:
                self._gather(group)
                self._carry(group)
            finally:
                for turn in group:
                    turn.done = True
                    turn.tell()
                again = self._hand_over(pooled=pooled)
            if done := [turn.item for turn in group if turn.error is None]:
                self._afterwards(done)
            if not again:
                return

    def _gather(self, group: list[_Turn[T, R]]) -> None:
        with self._lock:
            lacking = len(self._turns) < self._last
            self._enough.clear()
        if lacking:
            self._enough.wait(GATHER_S)
        with self._lock:
            while self._turns and len(group) < self._most:
                group.append(self._turns.popleft())
            self._last = max(1, len(group))

    def _hand_over(self, *, pooled: bool = False) -> bool:
        """Whether the caller goes on leading."""
        while True:
            with self._lock:
                following = self._turns[0] if self._turns else None
                self._led = following is not None
                if following is None:
                    return False
                if pooled and following.pooled:
                    return True
                following.leads = True
            if self._appoint(following):
                return False

    def _appoint(self, turn: _Turn[T, R]) -> bool:
        try:
            turn.tell()
        except RuntimeError as e:  # its pool was shut down
            with self._lock, suppress(ValueError):
                self._turns.remove(turn)
            turn.error, turn.done = e, True
            turn.tell()
            return False
        return True

    def _carry(self, group: list[_Turn[T, R]]) -> None:
        if not group:
            return
        try:
            answers = self._carry_out([turn.item for turn in group])
            for turn, answer in zip(group, answers, strict=True):
                turn.value, turn.error = answer, None
        except Unavailable as e:
            _fail(group, e)
        except Exception as e:
            if len(group) == 1:
                _fail(group, e)
            else:
                for turn in group:
                    self._carry([turn])


class _Turn(Generic[T, R]):
    """Of one call. `tell`: it is done, or it leads."""

    __slots__ = ("done", "error", "item", "leads", "pooled", "tell", "value")

    def __init__(self, item: T, tell: Callable[[], None], *, pooled: bool = False) -> None:
        self.item, self.tell, self.pooled = item, tell, pooled
        self.done = self.leads = False
        # Until it has an answer: of a leader that Ctrl-C interrupted the others must not think that all is well.
        self.error: Exception | None = StoreUnavailable("The call was interrupted.", remedy="Try again.")
        self.value: Any = None

    def answer(self) -> R:
        if self.error is not None:
            raise self.error
        value: R = self.value
        return value


def _fail(group: Sequence[_Turn[Any, Any]], error: Exception) -> None:
    for turn in group:
        turn.error = error


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
