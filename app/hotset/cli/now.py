"""The fleet now, as objects that `--json` prints and tables are made of: queues, GPUs, models.

Ages are model seconds. What the broker would say is left out when it is away: Postgres knows the jobs.
"""

from __future__ import annotations

from typing import Any

from hotset.broker import GpuState
from hotset.cli.output import note
from hotset.cli.status import read_gpus
from hotset.client import Client
from hotset.errors import BrokerUnavailable
from hotset.store import overview
from hotset.store.pauses import Pause

#: Deadlines missed are counted over jobs that arrived in the last so many wall seconds: a day.
MISSED_WITHIN_S = 86_400.0


def gpu_states(client: Client) -> dict[str, GpuState]:
    """The GPUs whose workers are alive; none, with a note, while the broker is away."""
    try:
        return read_gpus(client.settings)
    except BrokerUnavailable as e:
        note(f"What the GPUs do is not known: {e}")
        return {}


def queues_now(client: Client) -> list[dict[str, Any]]:
    found, late_starts = overview.backlog(client.engine), overview.missed(client.engine, within_s=MISSED_WITHIN_S)
    paused = _paused(client.pauses(), "queue")
    rows = []
    for name in dict.fromkeys((*client.fleet.queues, *found)):
        queue, counts = client.fleet.queues.get(name), found.get(name, overview.NO_JOBS)
        rows.append(
            {
                "name": name,
                "tier": queue and queue.tier,
                "model": queue and queue.model,
                "waiting": sum(counts.waiting.values()),
                "by_priority": dict(counts.waiting),
                "scheduled": counts.scheduled,
                "blocked": counts.blocked,
                "running": counts.running,
                "oldest_wait_s": None if counts.oldest_s is None else counts.oldest_s / client.settings.scale,
                "deadline_s": queue and queue.deadline_s,
                "late": counts.late,
                "deadline_missed": late_starts.get(name, 0) + counts.late,
                "paused": _pause(paused.get(name)),
            }
        )
    return rows


def gpus_now(client: Client) -> list[dict[str, Any]]:
    states = gpu_states(client)
    paused = _paused(client.pauses(), "gpu")
    known = {gpu.name: gpu for gpu in client.fleet.gpus}
    rows = []
    for name in dict.fromkeys((*known, *states)):
        gpu, state = known.get(name), states.get(name)
        rows.append(
            {
                "name": name,
                "alive": state is not None,
                "paused": _pause(paused.get(name)),
                "vram_mb": state.vram_mb if state else gpu and gpu.vram_mb,
                "used_mb": sum(mb for mb, _ in state.residents.values()) if state else None,
                "slots": state.slots if state else gpu and gpu.slots,
                "busy": state.busy if state else None,
                "residents": {m: {"mb": mb, "requests": n} for m, (mb, n) in state.residents.items()} if state else {},
                "loading": state and state.loading,
                "evicting": list(state.victims) if state else [],
                "swaps": state and state.swaps,
                "last_swap_reason": (state.reason or None) if state else None,
                "worker": state and state.worker,
                "simulated": state and state.simulated,
            }
        )
    return rows


def models_now(client: Client) -> list[dict[str, Any]]:
    states = gpu_states(client)
    queues = queues_now(client)
    resident = {model for state in states.values() for model in state.residents}
    rows = []
    for name in dict.fromkeys((*client.fleet.models, *sorted(resident))):
        model = client.fleet.models.get(name)
        on = {gpu: state.residents[name] for gpu, state in states.items() if name in state.residents}
        mine = [q for q in queues if q["model"] == name]
        rows.append(
            {
                "name": name,
                "in_fleet": model is not None,
                "size_mb": model and model.size_mb,
                "measured_mb": max((mb for mb, _ in on.values()), default=None),
                "load_s": model and model.load_s,
                "resident_on": list(on),
                "loading_on": [gpu for gpu, state in states.items() if state.loading == name],
                "requests": sum(n for _, n in on.values()),
                "queues": [q["name"] for q in mine],
                "waiting": sum(q["waiting"] for q in mine),
            }
        )
    return rows


def _paused(pauses: list[Pause], kind: str) -> dict[str, Pause]:
    return {p.name: p for p in pauses if p.kind == kind}


def _pause(pause: Pause | None) -> dict[str, Any] | None:
    return None if pause is None else {"since": pause.since, "by": pause.by, "reason": pause.reason}
