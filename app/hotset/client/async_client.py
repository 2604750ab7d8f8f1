"""The client for event loops: the same methods, awaited.

Nothing is written a second time: short calls are those of `Client`, carried out by a small pool of threads; what waits
is the same plans (see `steps`), resolved from the one listener thread, so that a task that waits holds no thread. One
client serves any number of loops. A task that is cancelled while it waits leaves nothing behind; a submit that is
cancelled on its way may have been accepted (give it an idempotency key, and submit it again).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack, overload
from uuid import UUID

from hotset.agents.own import OwnAgent
from hotset.client import following, forks, waiting
from hotset.client.admission import admitted
from hotset.client.client import Client
from hotset.client.eta import Eta
from hotset.client.flows import FlowRun, Results
from hotset.client.inbox import Message, Received
from hotset.client.job import Handle, Job, Jobs
from hotset.client.memory import Scope
from hotset.client.steps import AsyncEach, Plan, arun
from hotset.client.streaming import StreamEvent
from hotset.client.submitting import Asked
from hotset.fleet import Fleet
from hotset.jobs import JobResult, JobView, State
from hotset.jobs.flows import Flow
from hotset.settings import Settings
from hotset.store.flows import FlowView

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hotset.messaging import Delivery

#: Short calls that run at once.
THREADS = 4

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_Awaited = Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]


def _awaited(method: Callable[Concatenate[S, P], R]) -> _Awaited[P, R]:
    """The synchronous twin's method, in a thread of the pool."""

    @wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        answer: R = await self._call(partial(method, self._sync, *args, **kwargs))
        return answer

    return call


def _awaited_job(method: Callable[Concatenate[Client, P], Job]) -> _Awaited[P, AsyncJob]:
    """As `_awaited`; the job it gives is an AsyncJob."""

    @wraps(method)
    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncJob:
        return AsyncJob(self, await self._call(partial(method, self._sync, *args, **kwargs)))

    return call


def _awaited_run(method: Callable[Concatenate[Client, P], FlowRun]) -> _Awaited[P, AsyncFlowRun]:
    """As `_awaited`; the flow it gives is an AsyncFlowRun."""

    @wraps(method)
    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncFlowRun:
        return AsyncFlowRun(self, await self._call(partial(method, self._sync, *args, **kwargs)))

    return call


class _Later(Generic[R]):
    """A property that is awaited: `await job.status`. Nothing is asked before that."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, R]]) -> None:
        self._ask = ask

    def __await__(self) -> Generator[Any, Any, R]:
        return self._ask().__await__()


class AsyncJob(Handle):
    """A job of an `AsyncClient`: `await job.status`, `await job.result()`, `async for event in job.stream()`."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        super().__init__(job._id)
        self._client = client
        self._sync = job
        self._call = client._call

    @property
    def status(self) -> _Later[State]:
        """See `Job.status`."""
        return _Later(lambda: self._call(lambda: self._sync.status))

    @property
    def view(self) -> _Later[JobView]:
        """See `Job.view`."""
        return _Later(self._view)

    @property
    def position(self) -> _Later[int | None]:
        """See `Job.position`."""
        return _Later(lambda: self._call(lambda: self._sync.position))

    @property
    def eta(self) -> _Later[Eta | None]:
        """See `Job.eta`."""
        return _Later(lambda: self._call(lambda: self._sync.eta))

    cancel = _awaited(Job.cancel)

    async def result(self, timeout: float | None = None) -> JobResult:
        """See `Job.result`."""
        return await arun(waiting.result(self._client._sync, self, timeout), self._client._pool)

    def stream(self, *, after: str | None = None, timeout: float | None = None) -> AsyncEach[StreamEvent]:
        """See `Job.stream`."""
        return self._client._each(following.follow(self._client._sync, self._id, after, timeout))

    async def _view(self) -> JobView:
        if self._ended is None:
            view = await self._call(lambda: self._sync.view)
            if not view.state.terminal:
                return view
            self._ended = view
        return self._ended


class AsyncJobs(list[AsyncJob]):
    """The jobs of one `submit_many`, in its order."""

    def __init__(self, client: AsyncClient, jobs: Jobs) -> None:
        super().__init__(AsyncJob(client, job) for job in jobs)
        self._client = client
        self._sync = jobs
        self._call = client._call

    def as_completed(self, *, progress: bool = False, timeout: float | None = None) -> AsyncEach[AsyncJob]:
        """See `Jobs.as_completed`."""
        return self._client._each(waiting.as_completed(self._client._sync, self, timeout=timeout, progress=progress))

    async def results(self, timeout: float | None = None) -> list[JobResult]:
        """See `Jobs.results`."""
        return await arun(waiting.results(self._client._sync, self, timeout), self._client._pool)

    cancel = _awaited(Jobs.cancel)


class AsyncFlowRun:
    """A flow of an `AsyncClient`: `await run.status`, `await run.tree()`, `await run.result()`. See `FlowRun`."""

    def __init__(self, client: AsyncClient, run: FlowRun) -> None:
        self._client = client
        self._sync = run
        self._call = client._call
        self.id = run.id

    @property
    def status(self) -> _Later[State]:
        """See `FlowRun.status`."""
        return _Later(lambda: self._call(lambda: self._sync.status))

    @property
    def view(self) -> _Later[FlowView]:
        """See `FlowRun.view`."""
        return _Later(lambda: self._call(lambda: self._sync.view))

    @property
    def jobs(self) -> _Later[list[AsyncJob]]:
        """See `FlowRun.jobs`."""
        return _Later(lambda: self._many(lambda: self._sync.jobs))

    async def job(self, step_path: str | int) -> AsyncJob:
        """See `FlowRun.job`."""
        return AsyncJob(self._client, await self._call(lambda: self._sync.job(step_path)))

    tree = _awaited(FlowRun.tree)
    as_dict = _awaited(FlowRun.as_dict)
    cancel = _awaited(FlowRun.cancel)

    async def retry(self, reason: str | None = None) -> list[AsyncJob]:
        """See `FlowRun.retry`."""
        return await self._many(lambda: self._sync.retry(reason))

    async def result(self, timeout: float | None = None) -> Results:
        """See `FlowRun.result`."""
        return await arun(self._sync.waiting(timeout), self._client._pool)

    async def _many(self, ask: Callable[[], list[Job]]) -> list[AsyncJob]:
        return [AsyncJob(self._client, job) for job in await self._call(ask)]


class AsyncScope:
    """The memories of a scope, awaited. See `hotset.client.memory.Scope`."""

    def __init__(self, client: AsyncClient, scope: Scope) -> None:
        self._sync = scope
        self._call = client._call

    remember = _awaited(Scope.remember)
    remember_many = _awaited(Scope.remember_many)
    remember_answer = _awaited(Scope.remember_answer)
    search = _awaited(Scope.search)
    history = _awaited(Scope.history)
    forget = _awaited(Scope.forget)
    get = _awaited(Scope.get)


class AsyncMessage(Received):
    """A message of an `AsyncClient`: `await msg.ack()`. See `Message`."""

    def __init__(self, client: AsyncClient, delivery: Delivery) -> None:
        super().__init__(delivery)
        self._client = client
        self._sync = Message(client._sync, delivery)
        self._call = client._call

    async def ack(self) -> None:
        """It is handled. Raises LeaseLost when its lease has ended and it went to somebody else."""
        await arun(self._sync._acked(), self._client._pool)

    nack = _awaited(Message.nack)
    extend = _awaited(Message.extend)

    @asynccontextmanager
    async def handling(self) -> AsyncIterator[Connection]:
        """See `Message.handling`. The connection is an ordinary one: what is run on it holds the event loop so long."""
        block = self._sync.handling()
        connection = await self._call(block.__enter__)
        try:
            yield connection
        except BaseException as e:
            await self._call(partial(block.__exit__, type(e), e, e.__traceback__))
            raise
        await self._call(partial(block.__exit__, None, None, None))


class AsyncClient:
    """`Client` for event loops; see there for what each method does. `threads`: short calls that run at once."""

    def __init__(self, *, tenant: str | None = None, settings: Settings | None = None, threads: int = THREADS) -> None:
        self._sync = Client(tenant=tenant, settings=settings)
        self._threads = threads
        self._parents_pools: list[Executor] = []
        self._make_pool()
        forks.note(self)

    @property
    def tenant(self) -> str:
        return self._sync.tenant

    @property
    def settings(self) -> Settings:
        return self._sync.settings

    @property
    def fleet(self) -> Fleet:
        return self._sync.fleet

    @overload
    async def submit(
        self, agent: Flow, *, stream: bool = False, wait: bool | float = False, **asked: Unpack[Asked]
    ) -> AsyncFlowRun: ...

    @overload
    async def submit(
        self,
        agent: str | OwnAgent[Any],
        prompt: Any = None,
        *,
        stream: bool = False,
        wait: bool | float = False,
        **asked: Unpack[Asked],
    ) -> AsyncJob: ...

    @wraps(Client.submit)
    async def submit(
        self, agent: Any, prompt: Any = None, *, wait: bool | float = False, **asked: Any
    ) -> AsyncJob | AsyncFlowRun:
        once: Callable[[], Job | FlowRun] = partial(self._sync.submit, agent, prompt, **asked)
        accepted = await arun(admitted(once, wait), self._pool)
        return AsyncFlowRun(self, accepted) if isinstance(accepted, FlowRun) else AsyncJob(self, accepted)

    job = _awaited_job(Client.job)
    flow = _awaited_run(Client.flow)
    retry = _awaited_job(Client.retry)
    cancel = _awaited(Client.cancel)
    jobs = _awaited(Client.jobs)
    audit = _awaited(Client.audit)
    counts = _awaited(Client.counts)
    send = _awaited(Client.send)
    send_many = _awaited(Client.send_many)
    publish = _awaited(Client.publish)
    subscribe = _awaited(Client.subscribe)
    unsubscribe = _awaited(Client.unsubscribe)
    topics = _awaited(Client.topics)
    messages = _awaited(Client.messages)
    message = _awaited(Client.message)
    replay_messages = _awaited(Client.replay_messages)
    erase_message = _awaited(Client.erase_message)

    grant = _awaited(Client.grant)
    revoke = _awaited(Client.revoke)
    handoff = _awaited(Client.handoff)
    handoffs = _awaited(Client.handoffs)
    recall = _awaited(Client.recall)
    consolidate = _awaited(Client.consolidate)
    demote = _awaited(Client.demote)
    summarise = _awaited(Client.summarise)
    extract_keys = _awaited(Client.extract_keys)
    undo_keys = _awaited(Client.undo_keys)
    memory_stats = _awaited(Client.memory_stats)
    memory_check = _awaited(Client.memory_check)
    memory_restore = _awaited(Client.memory_restore)

    def memory(self, scope: str = "tenant", *, agent: str = "") -> AsyncScope:
        """See `Client.memory`."""
        return AsyncScope(self, self._sync.memory(scope, agent=agent))

    async def submit_many(self, jobs: Iterable[Any], *, wait: bool | float = False) -> AsyncJobs:
        """See `Client.submit_many`."""
        if wait is False:
            # Rows are checked in the pool, too: a large chunk takes a while.
            return AsyncJobs(self, await self._call(lambda: self._sync.submit_many(jobs)))
        return AsyncJobs(self, await arun(self._sync._many(jobs, wait), self._pool))

    def stream(
        self, agent: str | OwnAgent[Any], prompt: Any, *, timeout: float | None = None, **asked: Unpack[Asked]
    ) -> AsyncEach[StreamEvent]:
        """See `Client.stream`: `async for event in client.stream(...)`."""
        submit = partial(self._sync._submit_heard, agent, prompt, asked)
        return self._each(following.submit_and_follow(self._sync, submit, timeout))

    def stream_job(
        self, job_id: str | UUID, *, after: str | None = None, timeout: float | None = None
    ) -> AsyncEach[StreamEvent]:
        """See `Client.stream_job`."""
        return self._each(following.follow(self._sync, self._sync.id_of(job_id), after, timeout))

    def inbox(
        self, agent: str, *, lease_s: float = 30.0, batch: int = 1, timeout: float | None = None
    ) -> AsyncEach[AsyncMessage]:
        """See `Client.inbox`: `async for msg in client.inbox(...): ...; await msg.ack()`."""
        make = partial(AsyncMessage, self)
        return self._each(self._sync._inbox(agent, make, lease_s=lease_s, batch=batch, timeout=timeout))

    async def close(self) -> None:
        """Let go of all connections. Jobs go on."""
        await self._call(self._sync.close)
        self._pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def forked(self) -> None:
        """The parent's threads do not exist in the child."""
        self._parents_pools.append(self._pool)
        self._make_pool()

    def _make_pool(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads, "hotset-async")

    async def _call(self, function: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def _each(self, plan: Plan[R, None]) -> AsyncEach[R]:
        return AsyncEach(plan, lambda: self._pool)
