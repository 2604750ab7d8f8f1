"""The simulated GPU: who is resident, who waits, who must go. It owns all of that state; one event loop, no locks.

As in Ollama: a request for a resident model goes straight to it; any other waits in one first-in first-out queue,
and its head blocks the rest until its model is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from hotset.fleet import Gpu
from hotset.modelserver.admission import Evict, Load, Rules, TooLarge, Use, decide
from hotset.modelserver.clock import Clock
from hotset.modelserver.faults import AT_ARRIVAL, AT_LOAD, Switches
from hotset.modelserver.log import TraceLog
from hotset.modelserver.options import LoadOptions
from hotset.modelserver.profiles import Profile
from hotset.modelserver.refusals import Refusal, busy, load_timed_out, terminated
from hotset.modelserver.residents import Resident


@dataclass(frozen=True, slots=True)
class Limits:
    """Ollama's settings: OLLAMA_NUM_PARALLEL, OLLAMA_MAX_QUEUE, OLLAMA_KEEP_ALIVE and OLLAMA_LOAD_TIMEOUT
    (these two in model seconds)."""

    num_parallel: int
    max_queue: int = 512
    keep_alive_s: float = 300.0
    load_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Want:
    """What a request needs before it can run. `keep_alive_s` None: as it was. `fault`: what shall go wrong."""

    profile: Profile
    options: LoadOptions
    context: int
    keep_alive_s: float | None
    fault: str | None = None


@dataclass(slots=True, eq=False)
class Pending:
    """A request in the queue; its future is cancelled when its client leaves."""

    want: Want
    ready: asyncio.Future[Resident]


class _OutOfMemory(Exception):
    """A load ran out of memory (a fault). Ollama then evicts everything else and tries once more."""


_OUT_OF_MEMORY = "exit status 1: cudaMalloc failed: out of memory"


class SimulatedGpu:
    def __init__(
        self, gpu: Gpu, *, rules: Rules, limits: Limits, clock: Clock, log: TraceLog, faults: Switches
    ) -> None:
        self.gpu = gpu
        self.clock = clock
        self._faults = faults
        self._rules = rules
        self._limits = limits
        self._log = log
        self._residents: dict[str, Resident] = {}
        self._queue: deque[Pending] = deque()
        self._arrived = asyncio.Event()
        self._unloaded = asyncio.Event()

    @property
    def residents(self) -> list[Resident]:
        """Loaded models, in the order of their loads. One that is loading is not among them."""
        return list(self._residents.values())

    async def run(self) -> None:
        """Serve the queue for ever."""
        while True:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            head = self._queue.popleft()
            if head.ready.done():  # its client has left: dropped without a reply
                continue
            try:
                await self._bring_up(head)
            except Refusal as refusal:
                if not head.ready.done():
                    head.ready.set_exception(refusal)

    @contextlib.asynccontextmanager
    async def seat(self, want: Want) -> AsyncIterator[Resident]:
        """The model, resident and kept so inside the block. Refuses with 503 (queue full) or 500 (load failed)."""
        resident = await self._acquire(want)
        try:
            yield resident
        finally:
            self._release(resident)

    def dismiss(self, model: str) -> None:
        """keep_alive 0 without a prompt: unload when idle."""
        resident = self._residents.get(model)
        if resident is not None:
            self._expire(resident, "asked to unload")

    def clear(self, reason: str) -> None:
        """Unload every model, the busy ones when they are idle: what Ollama does when memory ran out in a run."""
        for resident in self.residents:
            self._expire(resident, reason)

    async def _acquire(self, want: Want) -> Resident:
        name = want.profile.name
        if want.fault in AT_ARRIVAL or self._faults.draw(AT_ARRIVAL, name):
            raise busy()
        resident = self._residents.get(name)
        if resident is not None and not resident.reload_reason(want.options):
            self._sit_down(resident, want)
            return resident
        if len(self._queue) >= self._limits.max_queue:
            raise busy()
        pending = Pending(want, asyncio.get_running_loop().create_future())
        self._queue.append(pending)
        self._arrived.set()
        try:
            return await pending.ready
        except asyncio.CancelledError:
            if pending.ready.done() and not pending.ready.cancelled() and pending.ready.exception() is None:
                self._release(pending.ready.result())  # it was handed over in the very moment the client left
            raise

    async def _bring_up(self, head: Pending) -> None:
        """Evict and load until the head's model is there, then hand it over."""
        want = head.want
        memory_ran_out = False
        while not head.ready.done():
            match decide(want.profile.model, want.options, self._residents, self._rules):
                case Use(resident):
                    self._sit_down(resident, want)
                    head.ready.set_result(resident)
                case TooLarge(message):
                    raise Refusal(500, message)
                case Evict(resident, reason):
                    await self._make_room(head, resident, reason)
                case Load(vram_mb, reason):
                    try:
                        await self._load(head, vram_mb, reason, again=memory_ran_out)
                    except _OutOfMemory as error:
                        if memory_ran_out or not self._residents:
                            raise terminated(_OUT_OF_MEMORY) from error
                        memory_ran_out = True
                        while self._residents and not head.ready.done():
                            await self._make_room(head, self.residents[0], f"{want.profile.name} ran out of memory")

    async def _make_room(self, head: Pending, resident: Resident, reason: str) -> None:
        """Have it unloaded, and wait until some model is and the VRAM is back.

        A busy victim lets the head wait, and a new request for it may keep it for long: so does Ollama.
        """
        self._unloaded.clear()
        self._expire(resident, reason)
        await self._unloaded.wait()
        await self._wait(head, resident.unload_s)

    async def _load(self, head: Pending, vram_mb: float, reason: str, *, again: bool) -> None:
        """Load the head's model; its client's leaving aborts that. Nothing else loads meanwhile."""
        want, model = head.want, head.want.profile.model
        fault = want.fault if want.fault in AT_LOAD else self._faults.draw(AT_LOAD, model.name)
        if fault == "load_oom_once" and again:
            fault = None
        self._log.load(model.name, reason)
        await self._wait(
            head, self._limits.load_timeout_s if fault == "load_timeout" else model.load_s / self.gpu.speed
        )
        if head.ready.done():
            self._log.evict(model.name, "load aborted: its client has left (499 request canceled)")
            return
        if fault is not None:
            self._log.evict(model.name, f"load failed: {fault}")
            match fault:
                case "load_timeout":
                    raise load_timed_out()
                case "load_crash":
                    raise terminated("exit status 1")
            raise _OutOfMemory
        self._log.loaded(model.name)
        keep_alive_s = self._limits.keep_alive_s if want.keep_alive_s is None else want.keep_alive_s
        self._residents[model.name] = Resident(
            name=model.name,
            size_mb=model.size_mb,
            vram_mb=vram_mb,
            options=want.options,
            context=want.context,
            keep_alive_s=keep_alive_s,
            turns=asyncio.Semaphore(self._limits.num_parallel if want.profile.can("completion") else 1),
            unload_s=want.profile.unload_s,
        )

    async def _wait(self, head: Pending, model_s: float) -> None:
        """So long, or until the head's client has left."""
        if self.clock.wall(model_s) > 0:
            await asyncio.wait({head.ready}, timeout=self.clock.wall(model_s))

    def _sit_down(self, resident: Resident, want: Want) -> None:
        resident.users += 1
        if resident.timer is not None:
            resident.timer.cancel()
            resident.timer = None
        if want.keep_alive_s is not None:  # the last one to say something wins, from its start on
            resident.keep_alive_s = want.keep_alive_s

    def _release(self, resident: Resident) -> None:
        resident.users -= 1
        if resident.users > 0:
            return
        if resident.keep_alive_s <= 0:
            self._evict(resident, resident.leaving or "keep_alive 0")
            return
        resident.leaving = ""  # whoever came after the eviction was ordered has kept it
        if resident.keep_alive_s < float("inf"):
            wait = self.clock.waited(resident.keep_alive_s)
            loop = asyncio.get_running_loop()
            resident.timer = loop.call_later(wait, self._evict, resident, "keep_alive ran out")

    def _expire(self, resident: Resident, reason: str) -> None:
        """Unload now if idle; else its keep_alive becomes 0, which any later request may set back."""
        resident.keep_alive_s = 0.0
        resident.leaving = reason
        if resident.users == 0:
            self._evict(resident, reason)

    def _evict(self, resident: Resident, reason: str) -> None:
        if resident.timer is not None:
            resident.timer.cancel()
            resident.timer = None
        if self._residents.get(resident.name) is resident:
            del self._residents[resident.name]
            self._log.evict(resident.name, reason)
            self._unloaded.set()
