"""Who the servers run as, and folders that this account can reach.

Postgres refuses to run as root, and nothing that listens should. So root starts the servers as an account
that exists (`postgres`, else `nobody`), which must reach binaries and data. Modes of folders that are not
ours are never changed: what cannot be reached (a virtual environment or home below a 0700 /root) is kept
below SHELTERS instead, and a log line says so. An ordinary user needs none of this: everything runs as that
user, where it was asked for.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from hotset.embedded.wheels import Program
from hotset.errors import StoreUnavailable

log = logging.getLogger(__name__)

ACCOUNTS = ("postgres", "nobody")
SHELTERS = (Path("/var/lib/hotset"), Path("/var/tmp/hotset"))  # noqa: S108 - checked to be root's before use


class RunAs(TypedDict, total=False):
    """Arguments of subprocess.Popen: none, or those that drop root's rights."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """An account to run servers as. `is_self`: we are that user, nothing needs to change hands."""

    name: str
    uid: int
    gid: int
    is_self: bool

    @property
    def run_as(self) -> RunAs:
        return {} if self.is_self else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make a path that is ours to create the account's own."""
        if not self.is_self:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can(self, *command: str | Path) -> bool:
        """Whether the account can run the command: tried, not computed (ACLs, mounts, ...)."""
        if self.is_self:
            return True
        try:
            done = subprocess.run([*command], cwd="/", capture_output=True, check=False, **self.run_as)  # noqa: S603
        except PermissionError:
            return False
        return done.returncode == 0

    def can_enter(self, folder: Path) -> bool:
        return self.can("/bin/sh", "-c", 'cd "$1"', "sh", folder)


def server_account(data: Path) -> Account:
    """Who is to run a server on `data`: the owner of what is there, ourselves, or for root another."""
    if os.geteuid() != 0:
        return Account(str(os.geteuid()), os.geteuid(), os.getegid(), is_self=True)
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(str(owner.st_uid), owner.st_uid, owner.st_gid, is_self=False)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid, is_self=False)
    raise StoreUnavailable(
        f"Postgres refuses to run as root, and there is no account {' or '.join(ACCOUNTS)} to run it as.",
        remedy="Run hotset as an ordinary user, or add one of these accounts.",
    )


def reachable_folder(wanted: Path, account: Account) -> Path:
    """`wanted`, made if need be, or for root its shelter if the account cannot enter it.

    What an earlier start had to keep in the shelter stays there: data must not seem lost when a mode changes.
    """
    if account.is_self:
        make_folders(wanted, 0o700)
        return wanted
    make_folders(wanted, 0o711)
    moved = any((place / "data").exists() for place in _sheltered(wanted)) and not (wanted / "data").exists()
    if not moved and account.can_enter(wanted):
        return wanted
    sheltered = _sheltered(wanted)[SHELTERS.index(_shelter())]
    log.warning("The account %s cannot enter %s: the data is kept in %s.", account.name, wanted, sheltered)
    make_folders(sheltered, 0o711)
    return sheltered


def possible_folders(wanted: Path) -> tuple[Path, ...]:
    """Where `reachable_folder(wanted)` may have put the data, on any day."""
    return (wanted, *_sheltered(wanted))


def reachable_program(program: Program, account: Account, name: str) -> Program:
    """The program, or for root a copy of it that the account can run, kept for each version."""
    if account.can(program.binary(name), "--version"):
        return program
    site = _shelter() / "bin" / program.label
    copy = Program(site, program.bin, program.parts, program.label)
    if not site.exists():
        log.warning("The account %s cannot run %s: copied to %s.", account.name, program.binary(name), site)
        _copy_parts(program, site)
    if not account.can(copy.binary(name), "--version"):
        raise StoreUnavailable(
            f"The account {account.name} cannot run {copy.binary(name)}.",
            remedy="Look whether that file system is mounted noexec, or run hotset as an ordinary user.",
        )
    return copy


def _copy_parts(program: Program, site: Path) -> None:
    """Copy beside, then rename: a half-made copy is never used, and two starts at once do not meet."""
    make_folders(site.parent, 0o711)
    draft = Path(tempfile.mkdtemp(dir=site.parent, prefix=f".{site.name}-"))
    try:
        for part in program.parts:
            shutil.copytree(program.site / part, draft / part, symlinks=True, ignore=shutil.ignore_patterns("*.a"))
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
        try:
            draft.rename(site)
        except OSError:
            if not site.exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _shelter() -> Path:
    """The first of SHELTERS that is root's alone. Anyone may write in /var/tmp, so look."""
    for folder in SHELTERS:
        try:
            make_folders(folder, 0o711)
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022:
            return folder
    raise StoreUnavailable(
        f"None of {', '.join(map(str, SHELTERS))} is a folder that only root can write.",
        remedy="Make one of them so, or run hotset as an ordinary user.",
    )


def make_folders(path: Path, mode: int) -> None:
    """`mkdir -p` whose mode, whatever the umask, is given to each folder made, and to no other."""
    if path.is_dir():
        return
    make_folders(path.parent, mode)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    path.chmod(mode)


def _sheltered(wanted: Path) -> list[Path]:
    name = f"{wanted.name}-{hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]}"
    return [shelter / "data" / name for shelter in SHELTERS]
