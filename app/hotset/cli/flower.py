"""`hotset flower`: Flower for hotset's queues."""

from __future__ import annotations

from typing import Annotated

import typer

from hotset.cli.output import AsJson, note, print_json


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Watch it in the browser.")(flower)


def flower(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 5555,
    host: Annotated[str, typer.Option(help="The address to listen at; another needs a login.")] = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Watch workers, tasks and queue lengths in the browser.

    It listens to this machine only and changes nothing, unless HOTSET_FLOWER_AUTH=user:password gives it a login. The
    password is a setting and no option: a command line can be read by every user of the machine.

    \b
    Example:  hotset flower --port 5555
              HOTSET_FLOWER_AUTH=ann:secret hotset flower --host 0.0.0.0
    """
    from hotset.broker import Lanes, make_app
    from hotset.cli.fleet import the_fleet
    from hotset.errors import UsageError
    from hotset.settings import load_settings

    try:
        from hotset.broker.flower import serve_flower
    except ModuleNotFoundError as e:
        raise UsageError(f"This needs {e.name}.", remedy="Install it: pip install 'hotset[watch]'.") from e
    settings = load_settings()
    queues = the_fleet(settings).queues
    url = settings.broker_url.get_secret_value()

    def ready(address: str) -> None:
        if as_json:
            print_json({"url": address})
        note(f"Flower at {address}. Ctrl-C stops it.")

    auth = settings.flower_auth and settings.flower_auth.get_secret_value()
    serve_flower(make_app(url, queues), Lanes(url), host=host, port=port, auth=auth or None, ready=ready)
