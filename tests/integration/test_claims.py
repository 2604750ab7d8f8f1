"""Claims on loads, on a real Valkey: `take.lua` against a reference in Python, many GPUs at once, a flush between."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotset.broker import Board, GpuState, Lanes
from hotset.broker.board import presence
from hotset.broker.claims import Claim, Claims, Look
from hotset.fleet_file import parse_fleet
from hotset.jobs import Priority, Routing
from hotset.models import Loaded
from hotset.scheduling import GpuView, Lane, Load, QueueView, Snapshot
from hotset.store.pauses import Paused
from hotset_worker.claims import Neighbours
from hotset_worker.hot_set import HotSet
from stack import FLEET

MODELS = ("tinyllama", "qwen2.5-coder:7b", "deepseek-r1:8b")
LIGHT, BALANCED, COMPLEX = MODELS
QUEUES = {LIGHT: "tinyllama", BALANCED: "qwen", COMPLEX: "deepseek"}
NO_PAUSE = Paused()


@pytest.fixture
def lanes(broker_url: str) -> Iterator[Lanes]:
    lanes = Lanes(broker_url)
    yield lanes
    lanes.close()


@pytest.fixture
def listen(lanes: Lanes) -> Iterator[Callable[[str], None]]:
    """Have a worker of that id listen, as a live one does; once more: it dies."""
    listening = {}

    def toggle(worker: str) -> None:
        if worker in listening:
            listening.pop(worker).close()
            time.sleep(0.05)  # the server has to notice
        else:
            listening[worker] = lanes.subscriber()
            listening[worker].subscribe(presence(worker))
            listening[worker].get_message(timeout=1)

    yield toggle
    for subscriber in listening.values():
        subscriber.close()


def says(
    gpu: str, *holds: str, worker: str = "", loading: str | None = None, victims: tuple[str, ...] = ()
) -> GpuState:
    residents = dict.fromkeys(holds, (100.0, 0))
    return GpuState(gpu, worker or f"{gpu}@host:1", 3686, 2, 1.0, 0, residents, loading, victims)


def publish(lanes: Lanes, queue: str, number: int) -> None:
    now = datetime.now(UTC)
    lanes.publish([Routing(UUID(int=number), "a", queue, "default", Priority.NORMAL, now, now, suspect=False)])


# ---- one rule, in Lua and in Python ------------------------------------------------------------------------------


class Reference:
    """What the scripts do, without a clock: a claim is young or old, valid or run out, as the steps say."""

    def __init__(self) -> None:
        self.version = 0
        self.entries: dict[str, tuple[str, set[str], str | None]] = {}
        self.claims: dict[tuple[str, str], dict] = {}
        self.waiting: Counter[str] = Counter()

    def say(self, state: GpuState, listening: set[str], ended: set[str]) -> str | None:
        gpu, worker = state.name, state.worker
        before, after = self.entries.get(gpu), (worker, set(state.holds), state.loading)
        if before and before[0] != worker and before[0] in listening:
            return before[0]
        self.version += before != after
        self.entries[gpu] = after
        for model in ended:
            self.claims.pop((model, gpu), None)
        return None

    def leave(self, gpu: str, worker: str) -> None:
        if gpu in self.entries and self.entries[gpu][0] == worker:
            del self.entries[gpu]
            self.version += 1

    def replicas(self, model: str, but: str) -> int:
        found = {gpu for gpu, (_, holds, _) in self.entries.items() if model in holds}
        for (of, gpu), claim in self.claims.items():
            lives = self.entries[gpu][0] == claim["worker"] if gpu in self.entries else claim["young"]
            if of == model and claim["valid"] and lives:
                found.add(gpu)
        return len(found - {but})

    def take(self, claim: Claim, want: int, seen: int, guarded: list[str], holds: set[str]) -> str | None:
        serving = self.entries.get(claim.gpu)
        if serving and serving[0] != claim.worker:
            return "rival"
        if seen != self.version:
            return "moved"
        if self.replicas(claim.model, claim.gpu) >= want:
            return "enough"
        if any(self.waiting[QUEUES[v]] and not self.replicas(v, claim.gpu) for v in guarded):
            return "last"
        self.claims[claim.model, claim.gpu] = {"worker": claim.worker, "valid": True, "young": True}
        if serving:
            self.entries[claim.gpu] = (claim.worker, holds, claim.model)
        self.version += 1
        return None


GPUS = ("g0", "g1", "g2")
# Of each GPU's two workers the first listens, the second does not.
WORKERS = st.tuples(st.sampled_from(GPUS), st.sampled_from([1, 1, 1, 2]))
MODEL, SOME = st.sampled_from(MODELS), st.sets(st.sampled_from(MODELS), max_size=2)
TAKE = st.tuples(st.just("take"), WORKERS, MODEL, SOME, SOME, st.integers(1, 3), st.sampled_from([0, 0, 0, 0, 1]))
STEP = st.one_of(
    TAKE,
    TAKE,
    st.tuples(st.just("say"), WORKERS, SOME, st.none() | MODEL, SOME),
    st.tuples(st.just("leave"), WORKERS),
    st.tuples(st.just("fall silent"), st.sampled_from(GPUS)),
    st.tuples(st.sampled_from(["run out", "grow old"]), MODEL, st.sampled_from(GPUS)),
    st.tuples(st.just("job"), MODEL),
    st.tuples(st.just("drain"), MODEL),
    st.tuples(st.just("flush")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=25))
def test_the_scripts_do_what_the_reference_does(
    lanes: Lanes, listen: Callable[[str], None], steps: list[tuple]
) -> None:
    board, claims, reference = Board(lanes.redis), Claims(lanes.redis), Reference()
    lanes.redis.flushdb()
    listening = {f"{gpu}@host:1" for gpu in GPUS}
    if not lanes.redis.pubsub_channels("hs:worker:*"):
        for worker in listening:
            listen(worker)
    for step in steps:
        match step:
            case ("take", (gpu, number), model, victims, guarded, want, behind):
                claim = Claim(model, gpu, f"{gpu}@host:{number}", tuple(sorted(victims)))
                given_back = claims.take(
                    claim,
                    want=want,
                    seen=str(reference.version - behind),
                    guarded={v: [QUEUES[v]] for v in guarded},
                    holds=sorted({model, *victims}),
                    life_s=600,
                )
                seen = reference.version - behind
                assert given_back == reference.take(claim, want, seen, list(guarded), {model, *victims})
            case ("say", (gpu, number), residents, loading, ended):
                state = says(gpu, *residents, worker=f"{gpu}@host:{number}", loading=loading)
                rival = reference.say(state, listening, ended)
                assert board.say(state, ended=ended) == rival
            case ("leave", (gpu, number)):
                reference.leave(gpu, f"{gpu}@host:{number}")
                board.leave(gpu, f"{gpu}@host:{number}")
            case ("fall silent", gpu):
                reference.entries.pop(gpu, None)
                lanes.redis.delete(f"hs:gpu:{gpu}")
            case ("run out" | "grow old", model, gpu):
                if (model, gpu) in reference.claims:
                    reference.claims[model, gpu]["valid" if step[0] == "run out" else "young"] = False
                    raw = json.loads(lanes.redis.hget(f"hs:claim:{model}", gpu))
                    raw["until" if step[0] == "run out" else "at"] = 0
                    lanes.redis.hset(f"hs:claim:{model}", gpu, json.dumps(raw))
            case ("job", model):
                reference.waiting[QUEUES[model]] += 1
                publish(lanes, QUEUES[model], reference.waiting[QUEUES[model]])
            case ("drain", model):
                reference.waiting[QUEUES[model]] = 0
                lanes.redis.delete(f"hs:arrival:{QUEUES[model]}:normal")
            case ("flush",):
                reference = Reference()
                lanes.redis.flushdb()
    look = claims.look(MODELS)
    assert look is not None and int(look.version) == reference.version
    assert look.gpus.keys() == reference.entries.keys()
    valid = {(m, g, c["worker"]) for (m, g), c in reference.claims.items() if c["valid"]}
    assert {(c.model, c.gpu, c.worker) for c in look.claims} == valid
    for gpu in reference.entries:
        entry = lanes.redis.hgetall(f"hs:gpu:{gpu}")
        held, loading = set(json.loads(entry["holds"])), entry["loading"] or None
        assert (entry["worker"], held, loading) == reference.entries[gpu]
    assert claims.look(MODELS, unless=look.version) is None


# ---- many at once ------------------------------------------------------------------------------------------------


def herd(lanes: Lanes, gpus: list[str], *, wanted: int, after_look: Callable[[], object] = lambda: None) -> list[str]:
    """GPUs that all want to load one model as long as fewer than so many hold it; those that were allowed to."""
    board, claims = Board(lanes.redis), Claims(lanes.redis)
    allowed: list[str] = []
    problems: list[BaseException] = []

    def one(gpu: str) -> None:
        try:
            for _ in range(50):
                look = claims.look([LIGHT])
                assert look is not None
                known = look.replicas(LIGHT, but=gpu)
                after_look()
                if len(known) >= wanted:
                    return
                claim = Claim(LIGHT, gpu, f"{gpu}@host:1", ())
                want = len(known) + 1
                if claims.take(claim, want=want, seen=look.version, guarded={}, holds=[LIGHT], life_s=60) is None:
                    allowed.append(gpu)
                    board.say(says(gpu, loading=LIGHT))
                    return
                time.sleep(0.002)
            raise AssertionError(f"{gpu} was refused 50 times")
        except BaseException as e:
            problems.append(e)

    threads = [threading.Thread(target=one, args=(gpu,)) for gpu in gpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems
    return allowed


@pytest.mark.parametrize("wanted", [1, 3])
def test_eight_gpus_at_once_load_as_many_replicas_as_are_wanted(lanes: Lanes, wanted: int) -> None:
    board, gpus = Board(lanes.redis), [f"g{i}" for i in range(8)]
    for round_ in range(10):
        lanes.redis.flushdb()
        for gpu in gpus:
            board.say(says(gpu))
        together = threading.Barrier(8)
        first = threading.local()

        def after_look(first: threading.local = first, together: threading.Barrier = together) -> None:
            if not hasattr(first, "done"):  # all have looked before the first takes
                first.done = True
                together.wait(timeout=10)

        assert len(herd(lanes, gpus, wanted=wanted, after_look=after_look)) == wanted, round_


def test_a_flush_costs_one_herd_at_most(lanes: Lanes) -> None:
    board, gpus = Board(lanes.redis), [f"g{i}" for i in range(8)]
    for gpu in gpus:
        board.say(says(gpu))
    loaded = herd(lanes, gpus, wanted=2)
    assert len(loaded) == 2
    lanes.redis.flushdb()
    # Nobody has spoken since: what is loaded is not known, but those who claim now know of each other.
    again = herd(lanes, [g for g in gpus if g not in loaded], wanted=2)
    assert len(again) == 2
    for gpu in gpus:
        board.say(says(gpu, *([LIGHT] if gpu in (*loaded, *again) else [])))
    assert herd(lanes, [g for g in gpus if g not in (*loaded, *again)], wanted=2) == []


def test_a_claim_ends_with_its_time_and_with_its_worker(lanes: Lanes) -> None:
    board, claims = Board(lanes.redis, keep_s=0.6), Claims(lanes.redis, keep_s=0.6)

    def look() -> Look:
        found = claims.look([LIGHT])
        assert found is not None
        return found

    def take(gpu: str, worker: str, life_s: float) -> str | None:
        claim = Claim(LIGHT, gpu, worker, ())
        return claims.take(claim, want=1, seen=look().version, guarded={}, holds=[LIGHT], life_s=life_s)

    board.say(says("g0"))
    board.say(says("g1"))
    assert take("g0", "g0@host:1", 60) is None
    assert take("g1", "g1@host:1", 60) == "enough"
    time.sleep(0.7)  # g0 fell silent, and its claim is as old
    board.say(says("g1"))
    assert look().replicas(LIGHT, but="g1") == set()
    assert take("g1", "g1@host:1", 60) is None
    board.say(says("g1"), ended=[LIGHT])
    board.say(says("g0", worker="g0@host:2"))  # another worker of g0 knows nothing of that claim
    board.say(says("g1"))
    assert look().replicas(LIGHT, but="g1") == set()
    assert take("g1", "g1@host:1", 0.4) is None
    board.say(says("g1", loading=None))
    assert take("g0", "g0@host:2", 60) == "enough"
    time.sleep(0.45)
    board.say(says("g1"))
    assert take("g0", "g0@host:2", 60) is None


# ---- one worker a GPU --------------------------------------------------------------------------------------------


def test_the_first_live_worker_keeps_the_gpu(lanes: Lanes, listen: Callable[[str], None]) -> None:
    board = Board(lanes.redis, keep_s=1.0)
    first, second = says("g0", worker="first"), says("g0", LIGHT, worker="second")
    listen("first")
    listen("second")
    assert board.say(first) is None
    assert board.say(second) == "first"
    assert board.read()["g0"].worker == "first" and board.read()["g0"].holds == ()
    board.leave("g0", "second")  # it does not serve the GPU, so it cannot leave it
    assert board.say(second) == "first"
    time.sleep(1.1)  # it hangs: it listens, but says nothing any more
    assert board.say(second) is None
    assert board.say(first) == "second"
    listen("second")  # killed: nobody has to wait until its entry expires
    assert board.say(first) is None


# ---- what an owner does with it ------------------------------------------------------------------------------------


class Owned:
    """One owner's view of the others, without its loop."""

    def __init__(self, lanes: Lanes, name: str, *, gpus: int = 3) -> None:
        lines = "\n".join(f"  - {{name: g{i}, vram_mb: 3686, slots: 2}}" for i in range(gpus))
        self.fleet = parse_fleet(FLEET.format(gpus=lines))
        self.hot = HotSet(self.fleet.gpu(name))
        self.name = name
        self.neighbours = Neighbours(self.hot, self.fleet, lanes, worker=f"{name}@host:1", scale=1.0)

    def say(self) -> None:
        switch = self.hot.switch
        held = [m.model for m in self.hot.models]
        loading, victims = (switch.model, switch.victims) if switch else (None, ())
        self.neighbours.say(says(self.name, *held, loading=loading, victims=victims))

    def look(self, paused: Paused = NO_PAUSE) -> dict[str, GpuView]:
        return {view.name: view for view in self.neighbours.views(100.0, paused)}

    def take(self, model: str, *victims: str, waiting: tuple[str, ...] = (), paused: Paused = NO_PAUSE) -> bool:
        queues = tuple(QueueView(QUEUES[m], m, 1.0, (Lane("normal", 1, 1, 0.0),)) for m in waiting)
        snapshot = Snapshot(100.0, queues, self.hot.view(), self.fleet.models, {}, 900.0)
        if self.neighbours.refuse((Load(self.name, model, victims, ""),), snapshot, paused):
            return False
        self.hot.begin(model, victims, 100.0)
        return True

    def loaded(self, *models: str) -> None:
        self.hot.seen([Loaded(m, 100.0, 100.0) for m in models], 100.0)
        self.hot.end(loaded=True)
        self.say()


@pytest.fixture
def owners(lanes: Lanes) -> Iterator[list[Owned]]:
    owners = [Owned(lanes, f"g{i}") for i in range(3)]
    for owner in owners:
        owner.say()
    yield owners
    for owner in owners:
        owner.neighbours.leave()


def test_others_see_a_claim_as_a_load_before_its_owner_says_a_word(owners: list[Owned]) -> None:
    one, two, _ = owners
    one.look()
    two.look()
    assert one.take(BALANCED)
    assert not two.take(BALANCED), "decided on an old picture"
    switch = two.look()["g0"].switch
    assert switch is not None and (switch.model, switch.victims) == (BALANCED, ())
    assert two.take(BALANCED), "it has seen the first and wants one more"
    one.say()
    assert (switch := two.look()["g0"].switch) is not None and switch.model == BALANCED
    one.loaded(BALANCED)
    assert two.look()["g0"].switch is None and two.look()["g0"].resident(BALANCED)


def test_a_load_that_failed_frees_its_claim_at_once(owners: list[Owned]) -> None:
    one, two, _ = owners
    one.look()
    assert one.take(COMPLEX)
    one.say()
    one.hot.end(loaded=False)
    one.say()
    assert two.look()["g0"].switch is None
    assert two.neighbours._seen.claims == ()
    assert two.take(COMPLEX)


def test_two_gpus_do_not_both_give_up_what_the_other_holds(owners: list[Owned], lanes: Lanes) -> None:
    one, two, _ = owners
    publish(lanes, "tinyllama", 1)
    for owner in (one, two):
        owner.loaded(LIGHT)
    one.look()
    two.look()
    assert one.take(COMPLEX, LIGHT, waiting=(LIGHT, COMPLEX))
    assert not two.take(BALANCED, LIGHT, waiting=(LIGHT, BALANCED))
    # It looks again, and an overdue job may still force it: knowing that it is the last.
    assert two.look()["g0"].switch is not None
    assert two.take(BALANCED, LIGHT, waiting=(LIGHT, BALANCED))


def test_what_only_a_dead_gpu_holds_besides_is_not_given_up(owners: list[Owned], lanes: Lanes) -> None:
    one, two, _ = owners
    publish(lanes, "tinyllama", 1)
    for owner in (one, two):
        owner.loaded(LIGHT)
    one.look()
    lanes.redis.delete("hs:gpu:g1")
    assert not one.take(COMPLEX, LIGHT, waiting=(LIGHT, COMPLEX))
    assert set(one.look()) == {"g2"}, "it looks again at once"
    assert one.take(COMPLEX, LIGHT, waiting=(LIGHT, COMPLEX))


def test_a_victim_that_jobs_have_just_come_for_is_not_the_last_to_go(owners: list[Owned], lanes: Lanes) -> None:
    one, *_ = owners
    one.loaded(LIGHT)
    one.look()
    publish(lanes, "tinyllama", 1)
    assert not one.take(COMPLEX, LIGHT, waiting=(COMPLEX,))
    paused = Paused(queues=frozenset({"tinyllama"}))
    assert one.take(COMPLEX, LIGHT, waiting=(COMPLEX,), paused=paused), "what is paused holds nobody up"


def test_what_a_paused_gpu_holds_counts_for_nothing_and_blocks_nobody(owners: list[Owned]) -> None:
    one, two, _ = owners
    two.loaded(BALANCED)
    paused = Paused(gpus=frozenset({"g1"}))
    assert set(one.look(paused)) == {"g2"}
    assert one.take(BALANCED, paused=paused)


def test_a_gpu_that_died_counts_no_more(owners: list[Owned], lanes: Lanes) -> None:
    one, two, _ = owners
    two.loaded(BALANCED)
    assert "g1" in one.look()
    lanes.redis.delete("hs:gpu:g1")  # as when its time has passed
    time.sleep(0.25)
    assert set(one.look()) == {"g2"}
    assert one.take(BALANCED)


def test_a_fleet_of_one_gpu_asks_nobody() -> None:
    lanes = Lanes("redis://127.0.0.1:1/0")  # nobody is there: whatever asked would fail
    alone = Owned(lanes, "g0", gpus=1)
    assert alone.look() == {}
    assert alone.take(BALANCED)
    lanes.close()
