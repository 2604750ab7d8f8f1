"""Postgres: does it answer, has it our tables (and the memory's), does a commit last, are connections left, and can
what is encrypted in it be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, make_url

from hotset.cli.doctor.finding import Finding, failed, ok, skipped, warning
from hotset.cli.doctor.world import World
from hotset.errors import CannotDecrypt, InvalidSettings
from hotset.memory import setup as memory
from hotset.memory.session import ROLE
from hotset.store import Cipher, make_engine
from hotset.store.cipher import ENCRYPTED
from hotset.store.engine import connected
from hotset.store.migrate import pending

#: The oldest version that is still maintained.
_OLDEST = 15
#: Connections that a worker's pool may open beside two for each slot and three for its upkeep, and those of clients.
_CLIENTS = 20
#: Jobs among which an encrypted one is looked for: by their index, since nobody waits for a scan of millions.
_NEWEST = 1000
_NEWEST_ENCRYPTED = """
SELECT id, prompt FROM (SELECT id, prompt FROM jobs ORDER BY id DESC LIMIT %(newest)s) AS jobs
WHERE starts_with(prompt, %(begins)s) ORDER BY id DESC LIMIT 1
"""


def check_database(world: World) -> Iterator[Finding]:
    """Raises StoreUnavailable or InvalidSettings, which say all there is to say."""
    engine = make_engine(world.settings.database_url.get_secret_value(), application="hotset-doctor", pool_size=1)
    try:
        with connected(engine) as connection:
            connection.exec_driver_sql(f"SET statement_timeout = {int(world.answer_s * 1000)}")
            where = make_url(world.settings.database_url.get_secret_value()).render_as_string(hide_password=True)
            yield _version(connection, where)
            yield _migrations(connection)
            yield _memory(connection)
            yield from _durability(connection)
            yield _connections(connection, world)
            yield _encryption(connection, world)
    finally:
        engine.dispose()


def _version(connection: Connection, where: str) -> Finding:
    version = str(_setting(connection, "server_version"))
    if int(str(_setting(connection, "server_version_num"))) // 10000 < _OLDEST:
        return failed("database", f"Postgres {version} at {where}", f"Move to Postgres {_OLDEST} or newer.")
    return ok("database", f"Postgres {version} at {where}")


def _migrations(connection: Connection) -> Finding:
    name = "database.migrations"
    state = pending(connection)
    if state.unknown:
        return failed(
            name,
            f"its tables are of revision {state.current}, which this hotset does not know",
            "Install the hotset that made them, or a newer one.",
        )
    if not state.missing:
        return ok(name, f"up to date ({state.current})")
    lacking = f"lacks {len(state.missing)} migration{'s' * (len(state.missing) > 1)} ({', '.join(state.missing)})"
    return failed(
        name,
        lacking if state.current else f"no tables of hotset: it {lacking}",
        "Run `hotset migrate`.",
    )


def _memory(connection: Connection) -> Finding:
    name = "database.memory"
    state = memory.state(connection)
    if state.unknown:
        return warning(
            name, f"its tables are of revision {state.current}, a newer hotset's", "Bring this one up to date."
        )
    if state.current is None:
        return skipped(name, "not set up; `hotset memory setup` does it, if agents shall remember")
    if state.missing:
        return failed(name, f"lacks {', '.join(state.missing)}", "Run `hotset migrate`.")
    if not memory.may_act(connection):
        return failed(
            name, f"this account may not act as the role {ROLE}", f"As an administrator: GRANT {ROLE} TO the account."
        )
    if lacking := memory.packages_lacking():
        return warning(name, f"set up; this machine lacks {', '.join(lacking)}", f"To use it here: {memory.INSTALL}")
    return ok(name, f"set up ({state.current})")


def _durability(connection: Connection) -> Iterator[Finding]:
    name = "database.durability"
    values = {key: str(_setting(connection, key)) for key in ("fsync", "synchronous_commit", "full_page_writes")}
    shown = ", ".join(f"{key} {value}" for key, value in values.items())
    for key in ("fsync", "synchronous_commit"):
        if values[key] == "off":
            yield failed(
                name,
                f"{shown}: a crash loses jobs that were accepted",
                f"Set {key} = on in postgresql.conf and reload it.",
            )
            return
    if values["full_page_writes"] == "off":
        remedy = "Set full_page_writes = on, unless the file system writes pages whole."
        yield warning(name, f"{shown}: a crash may tear a page", remedy)
        return
    yield ok(name, shown)


def _connections(connection: Connection, world: World) -> Finding:
    name = "database.connections"
    allowed = int(str(_setting(connection, "max_connections")))
    allowed -= int(str(_setting(connection, "superuser_reserved_connections")))
    used = _value(connection, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    # A worker's pools hold slots + 3, and one for its leases; they may double for a moment.
    needed = sum(2 * (gpu.slots + 4) for gpu in world.fleet.gpus) + _CLIENTS
    shown = f"{used} of {allowed} in use; this fleet may need {needed}"
    if used >= allowed - 1:
        return failed(name, shown, "Raise max_connections, or close what holds them (see pg_stat_activity).")
    if needed > allowed:
        return warning(name, shown, f"Raise max_connections to {needed + allowed // 10} or more.")
    return ok(name, shown)


def _encryption(connection: Connection, world: World) -> Finding:
    name = "database.encryption"
    try:
        cipher = Cipher.of(world.settings.encryption_keys)
    except InvalidSettings as e:
        return failed(name, e.message, e.remedy)
    if pending(connection).missing:
        return skipped(name, "the database's tables are not those of this hotset")
    newest = connection.exec_driver_sql(_NEWEST_ENCRYPTED, {"begins": ENCRYPTED, "newest": _NEWEST}).one_or_none()
    if newest is not None:
        try:
            cipher.decrypt(newest.prompt, f"The prompt of job {newest.id}, the newest that is encrypted,")
        except CannotDecrypt as e:
            return failed(name, e.message, "Set HOTSET_ENCRYPTION_KEYS to all keys in use, here and for each worker.")
    keys = f"{cipher.keys} key{'s' * (cipher.keys > 1)}"
    if newest is not None:
        return ok(name, f"{keys}, and what is encrypted opens (job {newest.id})")
    if cipher.keys:
        return ok(name, f"{keys}; of the newest {_NEWEST:,} jobs none is encrypted yet")
    return skipped(name, "no encryption_keys are set: prompts and answers are in the clear")


def _setting(connection: Connection, name: str) -> Any:
    return _value(connection, "SELECT current_setting(%s)", name)


def _value(connection: Connection, query: str, *parameters: object) -> Any:
    return connection.exec_driver_sql(query, parameters).scalar_one()
