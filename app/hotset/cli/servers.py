"""`hotset up`, `down` and `migrate`: the database and the two Redis servers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import AsJson, note, print_json

if TYPE_CHECKING:
    from hotset.embedded import Servers

Home = Annotated[Path | None, typer.Option(help="The folder of data and logs (default: .hotset, or HOTSET_HOME).")]


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Start Postgres, broker and cache.")(up)
    app.command(short_help="Stop what `hotset up` started.")(down)
    app.command(short_help="Bring the database's tables up to date.")(migrate)


def up(home: Home = None, as_json: AsJson = False) -> None:
    """Start Postgres and two Valkeys (broker and cache) in the background, and bring the database up to date.

    Their addresses are written to running.toml of the home folder, where every hotset command started from this
    folder finds them. Harmless when they run already.

    \b
    Example:  hotset up
              hotset down
    """
    from hotset.memory import setup as memory
    from hotset.settings import load_settings
    from hotset.store import migrate as bring_up

    place = load_settings(home=home).home
    embedded = embedded_servers()
    ran_before = embedded.running(place) is not None
    servers = embedded(place, detached=True).start()
    try:
        bring_up(servers.database_url)
        memory.set_up(servers.database_url)
        addresses = {
            "database_url": servers.database_url,
            "broker_url": servers.broker_url,
            "cache_url": servers.cache_url,
        }
        _write_running(place, addresses)
    except BaseException:
        if not ran_before:
            servers.stop()
        raise
    if as_json:
        print_json({"home": str(place), **addresses, "started": not ran_before})
        return
    typer.echo(
        f"Postgres, broker and cache {'run already' if ran_before else 'are up'} in {place}; `hotset down` stops them."
    )
    if home is not None:
        typer.echo(f"They are found by what is started with HOTSET_HOME={home}.")
    typer.echo(
        "Next, each in a terminal of its own:\n"
        "  hotset serve --simulate    a model server with a simulated GPU, unless Ollama runs\n"
        "  hotset worker              serves the GPU\n"
        "  hotset flower              watch it in the browser\n"
        '  hotset run senior-backend-developer "Write a health check for our API."'
    )


def down(home: Home = None, as_json: AsJson = False) -> None:
    """Stop what `hotset up` started. Jobs and results stay for the next `hotset up`.

    \b
    Example:  hotset down
    """
    from hotset.settings import load_settings

    # With --home it works although some setting is wrong.
    place = home or load_settings().home
    embedded = embedded_servers()
    ran = embedded.running(place) is not None
    embedded(place).stop()
    (place / "running.toml").unlink(missing_ok=True)
    if as_json:
        print_json({"home": str(place), "stopped": ran})
        return
    note(f"Stopped. The data stays in {place}." if ran else f"Nothing was running in {place}.")


def migrate(as_json: AsJson = False) -> None:
    """Bring the database's tables up to date, those of the memory, too, where it is set up. Harmless when they are.

    \b
    Example:  HOTSET_DATABASE_URL=postgresql://hotset@db/hotset hotset migrate
    """
    from hotset.memory import setup as memory
    from hotset.settings import load_settings
    from hotset.store import migrate as bring_up

    url = load_settings().database_url.get_secret_value()
    before = _revision(url)
    bring_up(url)
    memory.bring_up_to_date(url)
    after = _revision(url)
    if as_json:
        print_json({"before": before, "after": after})
        return
    note("The database is up to date." if before == after else f"The database is up to date: {before} -> {after}.")


def _revision(url: str) -> str | None:
    from hotset.store import make_engine, overview

    engine = make_engine(url, application="hotset-migrate", pool_size=1)
    try:
        return overview.versions(engine)["schema"]
    finally:
        engine.dispose()


def embedded_servers() -> type[Servers]:
    """The class, or an error that says which extra it comes with."""
    from hotset.errors import UsageError

    try:
        from hotset.embedded import Servers
    except ModuleNotFoundError as e:
        raise UsageError(
            f"The embedded servers need {e.name}.", remedy="Install them: pip install 'hotset[embedded]'."
        ) from e
    return Servers


def _write_running(home: Path, addresses: dict[str, str]) -> None:
    """Beside and renamed: a reader sees the whole file. JSON's strings are TOML's."""
    lines = ["# Written by `hotset up`, removed by `hotset down`.\n"]
    lines += [f"{name} = {json.dumps(url, ensure_ascii=False)}\n" for name, url in addresses.items()]
    draft = home / f".running-{os.getpid()}"
    draft.write_text("".join(lines), "utf-8")
    draft.replace(home / "running.toml")
