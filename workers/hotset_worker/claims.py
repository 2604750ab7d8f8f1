"""The other GPUs, as one owner sees them: what they hold and will hold, its claims on loads, its own seat.

No GPU leads. Each says what it holds, looks at what the others say, and takes a claim before it loads; a claim that
was decided on an old picture is refused, and the owner looks and decides again. A fleet of one GPU does none of that,
but for saying what it holds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from hotset.broker import Board, GpuState, Lanes
from hotset.broker.board import presence, will_hold
from hotset.broker.claims import NOBODY, Claim, Claims
from hotset.fleet import Fleet
from hotset.scheduling import Decision, GpuView, Load, Resident, Snapshot, Switch
from hotset.store.pauses import Paused
from hotset_worker.hot_set import HotSet

log = logging.getLogger(__name__)

#: Wall seconds: what is decided upon is no older; what the others hold is looked at anew whenever it has changed.
_FRESH_S = 0.2
#: Looks, each with a decision, until an owner that was refused leaves the load for its next step.
LOOKS = 3
#: A claim lives twice as long as the load is expected to take, and at least so many wall seconds: until the GPU's own
#: entry, which lives longer, says the same.
_CLAIM_LOADS, _CLAIM_AT_LEAST_S = 2.0, 2.0


class Neighbours:
    """Used by the owner's thread only. Everything here may raise redis.RedisError; nothing is lost by that."""

    def __init__(self, hot: HotSet, fleet: Fleet, lanes: Lanes, *, worker: str, scale: float) -> None:
        """`worker`: an id of this process, unlike that of any other. `scale`: wall seconds per model second."""
        self._hot, self._fleet, self._worker, self._scale = hot, fleet, worker, scale
        self._name = hot.gpu.name
        self._several = len(fleet.gpus) > 1
        self._board = Board(lanes.redis)
        self._claims = Claims(lanes.redis)
        self._presence = lanes.subscriber()
        self._rival: str | None = None
        self._said: tuple[tuple[str, ...], str | None] | None = None
        self._claimed: set[str] = set()
        self._seen = NOBODY
        self._looked = float("-inf")
        self._views: tuple[GpuView, ...] = ()
        #: Whether the GPU is ours: false until that is known, and while another worker that lives serves it.
        self.seated = False

    # ---- our own place -----------------------------------------------------------------------------------------

    def news(self, state: GpuState) -> bool:
        """Whether others should hear of it now and not with the next heartbeat."""
        return self.seated and (state.holds, state.loading) != self._said

    def say(self, state: GpuState) -> None:
        """Tell the others; claims whose load has ended go with it."""
        if not self._presence.subscribed:
            self._presence.subscribe(presence(self._worker))
        self._presence.get_message(timeout=0)  # nothing is sent there, but a connection that broke is made again
        ended = self._claimed - {state.loading}
        rival = self._board.say(state, ended=ended)
        if rival is None:
            self._claimed -= ended
            self._said = (state.holds, state.loading)
        self._note(rival)

    def leave(self) -> None:
        """The GPU is free for another worker."""
        if self.seated:
            self._board.leave(self._name, self._worker, claimed=self._claimed)
        self._presence.close()

    def _note(self, rival: str | None) -> None:
        if rival is not None and rival != self._rival:
            log.error(
                "GPU %s is served by %s already; this worker (%s) waits until that one is gone. Give each GPU one "
                "worker: look at HOTSET_GPU, or stop one of the two.",
                self._name,
                rival,
                self._worker,
            )
        elif rival is None and self._rival is not None:
            log.warning("GPU %s: %s is gone, this worker serves it now.", self._name, self._rival)
        self._rival, self.seated = rival, rival is None

    # ---- what the others have ----------------------------------------------------------------------------------

    def views(self, now: float, paused: Paused) -> tuple[GpuView, ...]:
        """The other GPUs that take work, at that moment: a paused one helps nobody, whatever it holds."""
        if not self._several:
            return ()
        fresh = time.monotonic() - self._looked < _FRESH_S
        seen = self._claims.look(self._fleet.models, unless=self._seen.version if fresh else "")
        if seen is not None:
            self._seen, self._looked = seen, time.monotonic()
            others = (s for name, s in sorted(seen.gpus.items()) if name != self._name and not _stands_still(s))
            self._views = tuple(_view(state, seen.claim_of(state.name), now) for state in others)
        return tuple(view for view in self._views if view.name not in paused.gpus)

    # ---- claims ------------------------------------------------------------------------------------------------

    def refuse(self, decisions: Iterable[Decision], snapshot: Snapshot, paused: Paused) -> bool:
        """Take the claim on the load among these decisions, if there is one; whether the others were quicker."""
        load = next((d for d in decisions if isinstance(d, Load)), None)
        if load is None or not self._several:
            return False
        known = self._seen.replicas(load.model, but=self._name)
        self._claimed.add(load.model)  # before: the answer may be lost on its way
        refusal = self._claims.take(
            Claim(load.model, self._name, self._worker, load.victims),
            # The policy has seen these and wants one more.
            want=len(known) + 1,
            seen=self._seen.version,
            guarded=self._guarded(load, snapshot, paused),
            holds=will_hold((m.model for m in self._hot.models), load.victims, load.model),
            life_s=max(_CLAIM_LOADS * self._load_s(load.model, snapshot), _CLAIM_AT_LEAST_S),
        )
        if refusal is not None:
            self._looked = float("-inf")  # a GPU that has just died leaves the version as it is
            log.info("GPU %s: the load of %s is not ours (%s); it looks again.", self._name, load.model, refusal)
        return refusal is not None

    def _guarded(self, load: Load, snapshot: Snapshot, paused: Paused) -> dict[str, list[str]]:
        """The victims that the policy took for dispensable. One that jobs wait for and that nobody else serves it gives
        up knowingly, for an overdue job: were that refused, the job would wait for ever."""
        waiting = {queue.model for queue in snapshot.queues if queue.waiting}
        served = {m for v in self._views if v.name not in paused.gpus for m in self._seen.holds(v.name)}
        return {
            victim: [q.name for q in self._fleet.queues.values() if q.model == victim and q.name not in paused.queues]
            for victim in load.victims
            if victim not in waiting or victim in served
        }

    def _load_s(self, model: str, snapshot: Snapshot) -> float:
        """Wall seconds, as learned."""
        return snapshot.models[model].load_s / self._hot.gpu.speed * self._scale


def _stands_still(state: GpuState) -> bool:
    """Whether nothing that the GPU holds generates."""
    return bool(state.unhealthy) and set(state.residents) <= set(state.unhealthy)


def _view(state: GpuState, claim: Claim | None, now: float) -> GpuView:
    """Another GPU, as it described itself; a claim that it does not tell of yet counts like the load that it is.

    While it loads, its slots are reserved for what it loads: others leave so many of the waiting jobs to it, although
    something else may run on them until then. Without that, every GPU would load a rare model while all are busy.
    """
    switch = None
    if state.loading:
        switch = Switch(state.loading, state.victims, now)
    elif claim is not None:
        switch = Switch(claim.model, claim.victims, now)
    residents = tuple(
        Resident(m, mb, now, 0 if switch is not None else running)
        for m, (mb, running) in state.residents.items()
        if m not in state.unhealthy
    )
    return GpuView(state.name, state.vram_mb, state.slots, state.busy, residents, switch, False, state.speed)
