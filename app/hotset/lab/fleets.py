"""Fleet files for benches: the classic models on as many equal GPUs as asked for, each with a server of its own."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from hotset.fleet_file import classic_fleet


def write_fleet(path: Path, ports: Sequence[int]) -> list[str]:
    """A fleet with one classic GPU per port; their names. JSON is YAML."""
    classic = classic_fleet()
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
