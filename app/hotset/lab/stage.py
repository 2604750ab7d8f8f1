"""What a bench needs from the world: fresh servers, model servers, workers. The command line builds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pydantic import SecretStr

from hotset.settings import Settings


@dataclass(frozen=True, slots=True)
class Addresses:
    """A migrated database without a job, a broker and a cache without a key."""

    database_url: str
    broker_url: str
    cache_url: str

    def settings(self, fleet: Path | None = None, *, scale: float = 1.0) -> Settings:
        """Settings for a client of these servers; nothing of the caller's environment or files gets into them."""
        return Settings(
            database_url=SecretStr(self.database_url),
            broker_url=SecretStr(self.broker_url),
            cache_url=SecretStr(self.cache_url),
            fleet=fleet,
            scale=scale,
        )


class Running(Protocol):
    """A process of the stage. Its end before `stop` is an error that `check` raises, with the end of its log."""

    @property
    def pid(self) -> int: ...

    def check(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None:
        """SIGKILL for its whole process group; returns when it is gone."""
        ...


class Breakable(Protocol):
    """A server whose end is a part of the bench: it may die, and comes back with its data at the same address."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        ...

    def start(self) -> None:
        """Returns when it answers again."""
        ...


@dataclass(frozen=True, slots=True)
class BreakableServers:
    """Servers of a bench's own, beside those that `fresh` gives out."""

    addresses: Addresses
    postgres: Breakable
    broker: Breakable


class Stage(Protocol):
    """Everything that is started here is stopped with the stage, at the latest."""

    @property
    def folder(self) -> Path:
        """For files of a bench."""
        ...

    def fresh(self) -> Addresses:
        """An empty system. What was given out before keeps its database and loses its Redis keys."""
        ...

    def start_model_server(self, fleet: Path, gpu: str, *, scale: float, port: int, trace: Path | None) -> Running:
        """A simulated GPU on that port of 127.0.0.1; returns once it answers. A scale of 0: runs take no time."""
        ...

    def start_worker(
        self,
        addresses: Addresses,
        fleet: Path,
        gpu: str,
        *,
        scale: float,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> Running:
        """hotset's worker of that GPU, with these settings beside; returns once the broker knows of it."""
        ...

    def start_breakable(self) -> BreakableServers:
        """An empty system on servers that may be killed; each call makes another one."""
        ...

    def start_module(self, module: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Running:
        """A Python module as a program; returns at once."""
        ...

    def start_celery(self, app: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Running:
        """A worker of any Celery application; returns at once."""
        ...
