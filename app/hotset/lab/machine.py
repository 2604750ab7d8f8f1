"""What a bench ran on: figures without their machine mean nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import psycopg
import redis

from hotset.lab.stage import Addresses

_ASKED = ("server_version", "fsync", "synchronous_commit")


def describe_machine(addresses: Addresses) -> dict[str, Any]:
    """Cores, memory, CPU, versions; for Postgres also whether its commits are durable."""
    with psycopg.connect(addresses.database_url) as connection:
        postgres = {name: _one(connection, name) for name in _ASKED}
        data = _one(connection, "data_directory")
    with redis.Redis.from_url(addresses.broker_url) as client:
        info = cast(dict[str, Any], client.info())
    return {
        **describe_host(),
        "postgres": postgres["server_version"],
        "valkey": str(info.get("valkey_version") or info.get("redis_version")),
        "celery": version("celery"),
        "kombu": version("kombu"),
        "fsync": postgres["fsync"],
        "synchronous_commit": postgres["synchronous_commit"],
        "data_filesystem": _filesystem(Path(data)),
        "broker_appendonly": "on" if info.get("aof_enabled") else "off",
    }


def describe_host() -> dict[str, Any]:
    """Cores, memory, CPU and Python: what a bench without servers ran on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "cpu": _cpu(),
        "python": platform.python_version(),
    }


def _one(connection: psycopg.Connection[Any], setting: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [setting]).fetchone()
    return str(row[0]) if row else ""


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _filesystem(path: Path) -> str:
    """The type of the file system that holds it (a tmpfs makes every fsync free)."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    holders = [(len(m[1]), m[2]) for m in mounts if path.is_relative_to(m[1])]
    return max(holders, default=(0, "unknown"))[1]
