"""The owner of one GPU: it observes, decides, acts. One thread, one mailbox; nobody else changes the hot set.

    mailbox ─> apply events ─> look (lanes, other GPUs) ─> decide (pure) ─> grants, and the steps of a switch

Slow things (load, evict, `/api/ps`) are done by its `hands`, which put what came of them into the mailbox. The hub
never waits for the owner; the owner reaches it through the grant desk.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import redis

from hotset.broker import GpuState, Grant, GrantDesk, Lanes, LanesState, Released, Returned, Spent
from hotset.errors import BrokerUnavailable
from hotset.fleet import Fleet, Gpu, Model, Queue
from hotset.models import Loaded, ModelServer
from hotset.scheduling import (
    Decision,
    GiveUp,
    Load,
    Options,
    Run,
    Snapshot,
    Wait,
    decide,
    others,
)
from hotset.store.pauses import Paused
from hotset_worker.background import Absence
from hotset_worker.books import Books
from hotset_worker.claims import LOOKS, Neighbours
from hotset_worker.events import Event, Inferred, Seen, Stop, Switched, Woken
from hotset_worker.failed_loads import FailedLoads
from hotset_worker.hands import Hands
from hotset_worker.health import Examined, Health, Probed, Silent
from hotset_worker.hot_set import HotSet
from hotset_worker.revisions import Revisions
from hotset_worker.waiting import longest_runs, waiting_queues

log = logging.getLogger(__name__)

_VERSION = version("hotset")

#: Wall seconds: the inboxes of plain producers are looked at so often, the model server so often.
_TICK_S = 0.25
_LOOK_AT_SERVER_S = 1.0
#: How often the log says that the broker is away, or takes no changes.
_COMPLAIN_S = 30.0
_SAY_S = 1.0
_SAY_AT_MOST_S = 0.2
#: A probe waits no longer for its token.
_PROBE_S = 30.0
#: With every slot taken a look can only start a drain: not more often than this.
_BUSY_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Timing:
    """`scale`: wall seconds per model second; the others are wall seconds."""

    scale: float
    load_timeout_s: float
    first_token_timeout_s: float = 120.0


class Owner:
    """Sole owner of a GPU's hot set. `start`, then `tell` it events; `stop` ends its granting."""

    def __init__(
        self,
        gpu: Gpu,
        fleet: Fleet,
        server: ModelServer,
        lanes: Lanes,
        *,
        worker: str,
        timing: Timing,
        options: Options,
        load_options: Callable[[Model], Mapping[str, Any]],
        simulated: bool,
        paused: Callable[[], Paused | None] = Paused,
        loading: Callable[[str], None] = lambda model: None,
        decided: Callable[[Snapshot, Sequence[Decision]], None] = lambda snapshot, decisions: None,
        spoke_since: Callable[[str, float], bool] = lambda model, moment: False,
        restart: str | None = None,
    ) -> None:
        """`paused`: what is paused now; None while that is not known, and then nothing is granted.

        `loading` is told of each load that begins, `decided` of each answer of the policy; they must not block.
        `spoke_since` and `restart`: see `Health`.
        """
        self._gpu = gpu
        self._paused = paused
        self._loading = loading
        self._decided = decided
        self._fleet = fleet
        self._lanes = lanes
        self._worker = worker
        self._timing = timing
        self._options = options
        self._load_options = load_options
        self._simulated = simulated
        self._deadlines = {q.name: q.deadline_s * timing.scale for q in fleet.queues.values()}
        self._models = dict(fleet.models)
        self._run_s = {q.name: q.run_s for q in fleet.queues.values()}
        self._mailbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.desk = GrantDesk(self._mailbox.put)
        self._hot = HotSet(gpu)
        self.books = Books(gpu, fleet, worker=worker, scale=timing.scale)
        self._neighbours = Neighbours(self._hot, fleet, lanes, worker=worker, scale=timing.scale)
        # Broker's clock minus the monotonic one, in wall seconds: learned with every look.
        self._offset = time.time() - time.monotonic()
        self._sequence = 0
        self._server_asked = self._said = self._looked = self._complained = float("-inf")
        self._failed = FailedLoads()
        self._reason = ""
        self._absence = Absence(log)
        # Whether the model server has said what it holds: before that, all VRAM looks free and every model cold.
        self._met = False
        self._evicting = False
        self._hands = Hands(gpu.name, server, self.tell)
        self._health = Health(gpu.name, probe=self._probe, spoke_since=spoke_since, tell=self.tell, restart=restart)
        self.revisions = Revisions(self._hands.resident)
        self._thread = threading.Thread(target=self._main, name="hotset-owner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, event: Event) -> None:
        """From any thread, never blocks."""
        self._mailbox.put(event)

    def stop(self) -> None:
        """Grant nothing more. What was claimed goes on; the model server keeps its models."""
        self._mailbox.put(Stop())
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._hands.close()
        try:
            self._neighbours.leave()
        except redis.RedisError:
            log.debug("The broker is away; the GPU's entry expires by itself.")

    # ---- the loop --------------------------------------------------------------------------------------------

    def _main(self) -> None:
        self._ask_server()
        while True:
            events = self._receive()
            if any(isinstance(e, Stop) for e in events):
                return
            try:
                self._step(events)
            except (BrokerUnavailable, redis.RedisError) as e:
                if time.monotonic() - self._complained >= _COMPLAIN_S:
                    self._complained = time.monotonic()
                    log.warning("GPU %s waits: %s", self._gpu.name, e)
                time.sleep(_TICK_S)
            except Exception:
                # The owner must outlive any bug of one step: without it the GPU stands still for good.
                log.exception("GPU %s: a step of its owner failed; it goes on.", self._gpu.name)
                time.sleep(_TICK_S)

    def _receive(self) -> list[Event]:
        """What has arrived, waiting a tick at most."""
        events: list[Event] = []
        try:
            events.append(self._mailbox.get(timeout=_TICK_S))
            while True:
                events.append(self._mailbox.get_nowait())
        except queue.Empty:
            return events

    def _step(self, events: list[Event]) -> None:
        worth_a_look = not events
        self.books.passed(self._hot, loading=self._evicting)
        for event in events:
            worth_a_look |= self._apply(event)
        now = time.monotonic()
        if not self._neighbours.seated:
            self._say(now)
        self._advance_switch()
        self._health.mend(self._probed_models(), self._hot.busy, now)
        if now - self._server_asked >= _LOOK_AT_SERVER_S:
            self._ask_server()
        if worth_a_look and self._neighbours.seated and not self._gpu_is_full(now):
            self._looked = now
            self._act()
        if worth_a_look or now - self._said >= _SAY_S:
            self._say(now)

    def _gpu_is_full(self, now: float) -> bool:
        return self._hot.busy >= self._gpu.slots and now - self._looked < _BUSY_LOOK_S

    def _apply(self, event: Event) -> bool:
        """Take the event in; whether the policy should look again."""
        match event:
            case Spent(grant, claim):
                self._hot.spent(grant, claim)
                return False
            case Returned(grant, reason):
                log.debug("A grant for %s came back: %s", grant.queue, reason)
                self._hot.returned(grant)
            case Released(claim):
                self._hot.released(claim)
            case Inferred(claim, queue_name, run_s, agent, tokens):
                self._hot.inferred(claim)
                if run_s is not None:
                    self.books.ran(queue_name, agent, run_s, tokens)
                return self._hot.switch is not None
            case Seen(loaded, sequence, error):
                self._note_health(error)
                first, self._met = not self._met, self._met or error is None
                return self._believe(loaded, sequence) or (first and self._met)
            case Switched():
                self._switched(event)
            case Silent():
                self._health.silent(event)
                return False
            case Probed():
                if self._health.probed(event, time.monotonic()):
                    self._hot.void()
                    self.desk.void_before(self._hot.epoch)
            case Examined():
                self._health.examined()
            case Woken() | Stop():
                pass
        return True

    # ---- what the model server says --------------------------------------------------------------------------

    def _ask_server(self) -> None:
        self._server_asked = time.monotonic()
        self._hands.look(self._sequence)

    def _note_health(self, error: str | None) -> None:
        if error is not None:
            self._absence.begin("GPU %s, whose jobs wait: %s", self._gpu.name, error)
        else:
            self._absence.end("GPU %s: its model server answers again.", self._gpu.name)

    def _believe(self, loaded: tuple[Loaded, ...], sequence: int) -> bool:
        if sequence != self._sequence:
            return False  # asked before a load or an eviction ended: old news
        before = {m.model for m in self._hot.models}
        if self._evicting:
            # What has gone is gone, however long the load takes that it made room for; what comes, the load tells.
            here = {m.model for m in loaded}
            if not before <= here:
                self._hot.seen([m for m in self._hot.models if m.model in here], self._now())
            return False
        self._hot.seen(loaded, self._now())
        self._health.resident(m.model for m in loaded)
        self.revisions.seen(loaded)
        # A size is measured, never assumed. What lies in VRAM fits there, whatever the fleet file says.
        self.books.resident(loaded)
        return before != {m.model for m in loaded}

    # ---- looking and acting ----------------------------------------------------------------------------------

    def _act(self) -> None:
        paused = self._paused()
        if paused is None or self._gpu.name in paused.gpus:
            self.books.waiting = 0
            return  # what runs ends; what waits is for other GPUs
        if not self._met or self._health.stands_still(self._probed_models()):
            return
        if (news := self.books.news()) is not None:
            self._models, self._run_s = news
        for _ in range(LOOKS):
            state = self._lanes.snapshot(self._deadlines)
            self._offset = state.now - time.monotonic()
            snapshot = self._snapshot(state, paused)
            decisions = decide(snapshot, self._options)
            if not (refused := self._neighbours.refuse(decisions, snapshot, paused)):
                break
        self._decided(snapshot, decisions)
        granted = sum(isinstance(decision, Run) for decision in decisions)
        self.books.waiting = sum(q.waiting for q in snapshot.queues) - granted
        for decision in decisions:
            match decision:
                case Load() if refused:
                    continue  # others were quicker each time; what is hot goes on, the next step decides anew
                case Run(_, queue_name, lane, selector, model, reason):
                    run_s = self._run_s[queue_name]
                    grant = Grant(queue_name, lane, selector, model, self._hot.epoch, run_s)
                    self._hot.granted(grant)
                    self.desk.issue(grant)
                    log.debug("run %s/%s: %s", queue_name, lane, reason)
                case Load(_, model, victims, reason):
                    log.info("GPU %s: load %s, evict %s: %s", self._gpu.name, model, list(victims) or "nothing", reason)
                    self._reason = reason
                    self.books.decided(self._hot, model, victims, reason)
                    self._hot.begin(model, victims, snapshot.now)
                    self.desk.void_before(self._hot.epoch)
                    self._advance_switch()
                case GiveUp(_, model, reason):
                    log.info("GPU %s: the load of %s is given up: %s", self._gpu.name, model, reason)
                    self.books.given_up(reason)
                    self._hot.end(loaded=False)
                case Wait(_, reason):
                    log.debug("wait: %s", reason)
        if any(state.inbox.values()):
            self.tell(Woken())  # more than one sweep's worth of plain messages

    def _snapshot(self, state: LanesState, paused: Paused) -> Snapshot:
        def open_now(queue: Queue) -> bool:
            held_up = self._resting(queue.model) or self._health.rests(queue.model)
            return queue.name not in paused.queues and not held_up

        now = state.now / self._timing.scale
        return Snapshot(
            now=now,
            queues=waiting_queues(state, self._fleet, self._run_s, scale=self._timing.scale, open_now=open_now),
            gpu=self._hot.view(),
            models=self._models,
            runs=longest_runs(self._fleet, self._run_s),
            max_wait_s=self._fleet.max_wait_s,
            others=others(self._neighbours.views(now, paused)),
        )

    def _now(self) -> float:
        """Model seconds on the broker's clock."""
        return (time.monotonic() + self._offset) / self._timing.scale

    # ---- switching -------------------------------------------------------------------------------------------

    def _advance_switch(self) -> None:
        """Once the victims are idle, have them evicted and the model loaded."""
        switch = self._hot.switch
        if switch is None or self._evicting or not self._hot.idle(switch.victims):
            return
        paused = self._paused()
        if paused is None or self._gpu.name in paused.gpus or not self._neighbours.seated:
            return  # a switch that was decided before the pause goes on after it
        self._evicting = True
        self.books.drained()
        self._sequence += 1
        victims = tuple(v for v in switch.victims if self._hot.resident(v))
        model, timeout_s = switch.model, self._timing.load_timeout_s

        self._loading(model)
        self._hands.switch(victims, model, self._load_options(self._models[model]), timeout_s=timeout_s)

    def _switched(self, event: Switched) -> None:
        self._evicting = False
        self.books.loaded(event.model, event.error)
        self._sequence += 1
        gone = self._hot.switch.victims if self._hot.switch else ()
        self._hot.end(loaded=event.error is None)
        if event.error is None:
            self._failed.loaded(event.model)
            self.revisions.forget(event.model)
            # Without its victims: a run granted for one of them now would be a hidden swap.
            known = {m.model: m for m in self._hot.models if m.model not in gone}
            known[event.model] = Loaded(event.model, self._models[event.model].size_mb, 0.0)
            # The list is asked for at once; until it comes, the load's own word is good enough to go on.
            self._hot.seen(known.values(), self._now())
        else:
            log.error(
                "GPU %s could not load %s, its jobs wait: %s Next try in %.0f s.",
                self._gpu.name,
                event.model,
                event.error,
                self._failed.failed(event.model),
            )
        self._ask_server()

    def _probed_models(self) -> list[str]:
        """Residents of the fleet: of others nobody here knows the options, and other ones would reload them."""
        return [m.model for m in self._hot.models if m.model in self._models]

    def _probe(self, model: str) -> None:
        """Called on the health's thread. Raises what generations raise."""
        limit_s = min(self._timing.first_token_timeout_s, _PROBE_S)
        self._hands.probe(model, self._load_options(self._models[model]), limit_s=limit_s)

    def _resting(self, model: str) -> bool:
        """Whether that model shall not be loaded now; its jobs wait, others go on.

        A load of it failed a moment ago; or somebody evicted it before runs of ours reached the server, which brings
        it back for them: our load would come late, set its keep_alive back and take back an eviction that another
        client waits for, for ever (point 8 of what Ollama does).
        """
        if self._hot.resident(model):
            return False
        return self._failed.rests(model) or self._hot.running(model) > 0

    # ---- saying ----------------------------------------------------------------------------------------------

    def _say(self, now: float) -> None:
        state = self._state()
        if now - self._said < _SAY_AT_MOST_S and not self._neighbours.news(state):
            return
        self._said = now
        self._neighbours.say(state)

    def _state(self) -> GpuState:
        switch = self._hot.switch
        return GpuState(
            name=self._gpu.name,
            worker=self._worker,
            vram_mb=self._gpu.vram_mb,
            slots=self._gpu.slots,
            speed=self._gpu.speed,
            busy=self._hot.busy,
            residents={m.model: (m.vram_mb or m.size_mb, self._hot.running(m.model)) for m in self._hot.models},
            loading=switch.model if switch else None,
            victims=switch.victims if switch else (),
            swaps=self._hot.swaps,
            simulated=self._simulated,
            reason=self._reason,
            scale=self._timing.scale,
            version=_VERSION,
            epoch=self._hot.epoch,
            unhealthy=self._health.unhealthy,
        )
