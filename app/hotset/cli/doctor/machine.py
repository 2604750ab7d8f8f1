"""This machine: what is installed, and is there room on the disk."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from hotset import __version__
from hotset.cli.doctor.finding import Finding, failed, ok, warning
from hotset.cli.doctor.world import World

_LIBRARIES = ("celery", "kombu", "redis", "psycopg", "sqlalchemy", "httpx")
_GIB = 1024**3
_TIGHT, _FULL = 5 * _GIB, _GIB


def check_machine(world: World) -> Iterator[Finding]:
    libraries = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    yield ok("versions", f"hotset {__version__}, Python {platform.python_version()}, {libraries}")
    home = world.settings.home.expanduser().absolute()
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    shown = f"{free / _GIB:,.1f} GiB free at {home}"
    if free < _FULL:
        yield failed("disk", shown, "Make room: a full disk stops Postgres and the broker.")
    elif free < _TIGHT:
        yield warning("disk", shown, "Make room soon: results, audit and the broker's log grow.")
    else:
        yield ok("disk", shown)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
