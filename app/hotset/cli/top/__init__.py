"""`hotset top`: the fleet as it works, in a terminal."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hotset.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from hotset.cli.top.eye import Eye

#: Columns of a frame that is printed to a file or a pipe.
_WIDTH = 120


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Watch GPUs, queues and swaps live.")(top)


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch the fleet live, twice a second: what each GPU holds, loads and runs, the queues, rates, the last swaps.

    q ends it, p holds the picture. Waits are model seconds; rates are per wall minute and second. Swaps are those seen
    since it started. Where output is no terminal, one frame is printed.

    \b
    Example:  hotset top
              hotset top --once
              hotset top --json
    """
    from hotset.cli.top.eye import Eye
    from hotset.settings import load_settings

    with Eye(load_settings()) as eye:
        if as_json:
            print_json(eye.look().as_object())
        elif once or not sys.stdout.isatty():
            from rich.console import Console

            from hotset.cli.top.frame import frame

            console = Console()
            # A file or a pipe has no width of its own.
            console = console if console.is_terminal else Console(width=_WIDTH)
            console.print(frame(eye.look(), rows=1000))
        else:
            _live(eye)


def _live(eye: Eye) -> None:
    from rich.console import Console
    from rich.live import Live

    from hotset.cli.top.eye import LOOK_S
    from hotset.cli.top.frame import frame
    from hotset.cli.top.keys import Keys

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    # Ended from outside, the terminal is put back in order, too.
    signal.signal(signal.SIGTERM, interrupted)
    console = Console()
    moment = eye.look()
    held = False
    with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(frame(moment, rows=console.height, held=held), refresh=True)
            key = keys.wait(LOOK_S)
            if key == "q":
                return
            if key == "p":
                held = not held
            if not held:
                moment = eye.look()
