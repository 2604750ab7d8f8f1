"""Waiting, written once for threads and for tasks.

What waits is a *plan*: a generator that yields steps and is sent their answers.

    Take(box, until)   the next thing put into the box, or None when the time is up
    Call(function)     the value of a short blocking call
    Ask(together, it)  the answer to it, of a call that is carried out together with others
    Pause(seconds)     nothing, so many wall seconds later
    Give(item)         hands an item to whoever iterates

`run` and `Each` carry a plan out in the calling thread; `arun` and `AsyncEach` in an event loop, where neither a Take
nor an Ask holds a thread and a Call goes to a pool. Whatever ends the caller (an error, a timeout, a cancelled task, a
dropped iterator) is raised inside the plan or closes it, so that its `finally` tidies up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from hotset.together import Together

#: Things that a slow reader may lag behind; of those that may be read again elsewhere, more are dropped.
BUFFER = 10_000

T = TypeVar("T")
R = TypeVar("R")


class Box:
    """Where a waiting call is told things: any thread puts, one caller takes. `follow`: it wants tokens, too."""

    def __init__(self, *, follow: bool = False) -> None:
        self.follow = follow
        #: Its caller has gone: it must not be watched for any more.
        self.dropped = False
        self._items: deque[Any] = deque()
        self._filled = threading.Condition()
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def put(self, item: object, *, droppable: bool = False) -> None:
        """Never blocks."""
        with self._filled:
            if droppable and len(self._items) >= BUFFER:
                return
            self._items.append(item)
            self._filled.notify()
            task, self._task = self._task, None
        if task is not None:
            loop, future = task
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:
                # The loop was closed under the task that waited: nobody is there to be told.
                return

    def take(self, until: float | None) -> Any:
        """The next item; None once `time.monotonic()` is past `until`."""
        with self._filled:
            self._filled.wait_for(lambda: bool(self._items), _left(until))
            return self._items.popleft() if self._items else None

    def clear(self) -> None:
        """Forget what is in it: its caller looks for itself now."""
        with self._filled:
            self._items.clear()

    async def atake(self, until: float | None) -> Any:
        """As `take`, in an event loop."""
        loop = asyncio.get_running_loop()
        while True:
            left = _left(until)
            with self._filled:
                if self._items:
                    return self._items.popleft()
                if left == 0.0:
                    return None
                future = loop.create_future()
                self._task = (loop, future)
            timer = None if left is None else loop.call_later(left, _wake, future)
            try:
                await future
            finally:
                if timer is not None:
                    timer.cancel()
                with self._filled:
                    if self._task is not None and self._task[1] is future:
                        self._task = None


@dataclass(frozen=True, slots=True)
class Take:
    box: Box
    until: float | None

    def do(self) -> Any:
        return self.box.take(self.until)

    async def ado(self, pool: Executor) -> Any:
        return await self.box.atake(self.until)


@dataclass(frozen=True, slots=True)
class Call:
    function: Callable[[], Any]

    def do(self) -> Any:
        return self.function()

    async def ado(self, pool: Executor) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, self.function)


@dataclass(frozen=True, slots=True)
class Ask(Generic[T, R]):
    together: Together[T, R]
    item: T

    def do(self) -> R:
        return self.together.do(self.item)

    async def ado(self, pool: Executor) -> R:
        return await self.together.ado(self.item, pool)


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float

    def do(self) -> None:
        time.sleep(self.seconds)

    async def ado(self, pool: Executor) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class Give(Generic[T]):
    item: T


#: Gives items of the first type, returns the second.
Plan = Generator[Take | Call | Ask[Any, Any] | Pause | Give[T], Any, R]


def run(plan: Plan[Any, R]) -> R:
    """Carry a plan out here and return what it returns."""
    try:
        while True:
            _next(plan)
    except StopIteration as end:
        value: R = end.value
        return value
    finally:
        plan.close()


async def arun(plan: Plan[Any, R], pool: Executor) -> R:
    """Carry a plan out in this task."""
    try:
        while True:
            step = await _anext(plan, pool)
            if isinstance(step, _End):
                value: R = step.value
                return value
    finally:
        plan.close()


class Each(Generic[T]):
    """The items of a plan. Dropping it, or `close`, lets go of what it listens to."""

    def __init__(self, plan: Plan[T, None]) -> None:
        self._plan = plan

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return _next(self._plan)

    def close(self) -> None:
        self._plan.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncEach(Generic[T]):
    """The items of a plan, for `async for`."""

    def __init__(self, plan: Plan[T, None], pool: Callable[[], Executor]) -> None:
        self._plan = plan
        self._pool = pool

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        step = await _anext(self._plan, self._pool())
        if isinstance(step, _End):
            raise StopAsyncIteration
        item: T = step.item
        return item

    async def aclose(self) -> None:
        self._plan.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def until_after(timeout: float | None) -> float | None:
    """The end of so many seconds, on the monotonic clock."""
    return None if timeout is None else time.monotonic() + timeout


def sooner(until: float | None, seconds: float) -> float:
    """In so many seconds, or at `until` if that comes first."""
    soon = time.monotonic() + seconds
    return soon if until is None else min(until, soon)


def is_over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


@dataclass(frozen=True, slots=True)
class _End:
    value: Any


def _next(plan: Plan[T, Any]) -> T:
    """The next item; StopIteration when the plan returns."""
    step = plan.send(None)
    while not isinstance(step, Give):
        try:
            answer = step.do()
        except BaseException as e:
            step = plan.throw(e)
        else:
            step = plan.send(answer)
    return step.item


async def _anext(plan: Plan[T, Any], pool: Executor) -> Give[T] | _End:
    # A StopIteration must not leave a coroutine: hence the end as a value.
    try:
        step = plan.send(None)
        while not isinstance(step, Give):
            try:
                answer = await step.ado(pool)
            except BaseException as e:
                step = plan.throw(e)
            else:
                step = plan.send(answer)
        return step
    except StopIteration as end:
        return _End(end.value)


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
