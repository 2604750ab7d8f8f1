"""Jobs that cannot start by their deadline any more: ended early only where the user asked for it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from uuid_utils.compat import uuid7

from hotset.broker import GpuState, Lanes
from hotset.errors import JobFailed
from hotset.fleet_file import classic_fleet
from hotset.jobs import NewJob, State
from hotset.jobs.filters import AuditFilter
from hotset.store import JobStore, upkeep
from hotset_worker.hopeless import Hopeless
from hotset_worker.learning import Learned
from stack import Stack, eventually

BALANCED = "senior-backend-developer"


def test_the_hopeless_are_told_early_if_the_user_wants_that(stack: Stack) -> None:
    client = stack.fleet().client()
    client.pause("queue", "qwen")
    late = client.submit(BALANCED, "late", deadline=10)
    patient = client.submit(BALANCED, "patient", deadline=100_000)
    stack.worker(HOTSET_EXPIRE_HOPELESS="true")
    with pytest.raises(JobFailed, match="deadline") as told:
        late.result(timeout=60)
    assert (told.value.state, told.value.error_kind) == (State.EXPIRED, "DeadlineMissed")
    assert patient.status is State.QUEUED
    eventually(lambda: patient.position == 0, within_s=5)
    (entry,) = (row for row in client.audit_log(AuditFilter()) if row["action"] == "expired")
    assert entry["detail"] == {"reason": "it did not start by its deadline"}
    client.resume("queue", "qwen")
    assert patient.result(timeout=60)


def test_they_run_late_if_not(stack: Stack) -> None:
    client = stack.fleet().client()
    late = client.submit(BALANCED, "late", deadline=0.1)
    stack.worker()
    assert late.result(timeout=60)


def test_only_jobs_that_wait_for_their_first_run_are_ended(engine: Engine, store: JobStore) -> None:
    fresh, begun, patient = (
        NewJob(id=uuid7(), agent="qa-team-lead", queue="qwen", prompt="x", deadline_s=deadline_s)
        for deadline_s in (5.0, 5.0, 500.0)
    )
    store.accept([fresh, begun, patient], actor="test")
    claimed = store.claim(begun.id, worker="w", lease_s=-1)
    assert claimed is not None
    upkeep.reap(engine, actor="test", max_crashes=3)
    ids = [fresh.id, begun.id, patient.id]
    assert upkeep.expire_hopeless(engine, ids, lead_s=0.0, actor="test") == []
    (ended,) = upkeep.expire_hopeless(engine, ids, lead_s=60.0, actor="test")
    assert (ended.id, ended.state, ended.queue) == (fresh.id, State.EXPIRED, "qwen")
    assert upkeep.expire_hopeless(engine, ids, lead_s=60.0, actor="test") == []


def test_a_cold_model_cannot_start_before_its_quickest_load(broker_url: str) -> None:
    fleet = classic_fleet()
    lanes = Lanes(broker_url)
    hopeless = Hopeless(lanes, fleet, Learned(fleet.gpus[0], fleet), scale=0.5)
    lanes.close()
    model = fleet.queues["qwen"].model
    load_s = fleet.models[model].load_s

    def gpu(name: str, vram_mb: float, speed: float, **more: object) -> GpuState:
        return GpuState(name=name, worker="w", vram_mb=vram_mb, slots=2, speed=speed, busy=0, **more)  # type: ignore[arg-type]

    small, slow, fast = gpu("a", 100.0, 9.0), gpu("b", 9000.0, 1.0), gpu("c", 9000.0, 2.0)
    assert hopeless.lead_s(model, [small, slow, fast]) == pytest.approx(load_s / 2 * 0.5)
    assert hopeless.lead_s(model, [slow, gpu("d", 9000.0, 1.0, residents={model: (1.0, 0)})]) == 0.0
    assert hopeless.lead_s(model, [slow, gpu("d", 9000.0, 1.0, loading=model)]) == 0.0
    assert hopeless.lead_s(model, []) == hopeless.lead_s(model, [small]) == 0.0
