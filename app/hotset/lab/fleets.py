"""Fleet files for benches: one kind of GPU as often as asked for, each with a server of its own; classic models."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from hotset.fleet import Fleet
from hotset.fleet_file import classic_fleet

#: Sizes with which no two of the classic models fit together.
_SINGLE_MB = {"tinyllama": 1300.0, "qwen2.5-coder:7b": 3000.0}


def single_fleet() -> Fleet:
    """The classic fleet without co-residency: each model fits alone only."""
    classic = classic_fleet()
    models = {m.name: replace(m, size_mb=_SINGLE_MB.get(m.name, m.size_mb)) for m in classic.models.values()}
    return replace(classic, models=models)


def write_fleet(path: Path, ports: Sequence[int], fleet: Fleet | None = None) -> list[str]:
    """The fleet (default: the classic one) with its first GPU once per port; their names. JSON is YAML."""
    classic = fleet or classic_fleet()
    shape = asdict(classic.gpus[0])
    names = [f"gpu{i}" for i in range(len(ports))]
    gpus = [
        {**shape, "name": name, "address": f"http://127.0.0.1:{port}"} for name, port in zip(names, ports, strict=True)
    ]
    rows = {
        "gpus": gpus,
        "models": {m.name: _without_name(asdict(m)) for m in classic.models.values()},
        "queues": {q.name: _without_name(asdict(q)) for q in classic.queues.values()},
        "max_wait_s": classic.max_wait_s,
    }
    path.write_text(json.dumps(rows, indent=1), "utf-8")
    return names


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _without_name(row: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in row.items() if key != "name"}
