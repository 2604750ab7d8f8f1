"""Alembic, driven from Python, so that no alembic.ini is needed on the machine."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

from hotset.store.engine import connected, make_engine

#: Two `hotset up` at once must not migrate together. The number is arbitrary, and ours.
_LOCK = 0x686F74736574


def migrate(url: str, revision: str = "head") -> None:
    """Bring the schema up to `revision`; idempotent, and safe to call from several processes at once."""
    _run(url, revision, up=True)


def downgrade(url: str, revision: str = "base") -> None:
    """Bring the schema down to `revision`. Destroys what the newer one held."""
    _run(url, revision, up=False)


def _run(url: str, revision: str, *, up: bool) -> None:
    engine = make_engine(url, application="hotset-migrate", pool_size=1)
    try:
        with connected(engine) as connection:
            connection.exec_driver_sql("SELECT pg_advisory_lock(%s)", (_LOCK,))
            with engine.connect().execution_options(isolation_level="READ COMMITTED") as worker:
                config = Config()
                config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
                config.attributes["connection"] = worker
                (command.upgrade if up else command.downgrade)(config, revision)
    finally:
        engine.dispose()


def _scripts() -> Path:
    """Inside the package when installed from a wheel, beside `app/` in a checkout."""
    inside = Path(__file__).parent / "migrations"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[3] / "migrations"
