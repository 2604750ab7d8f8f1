"""`hotset worker`: becomes the Celery worker of one GPU."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Serve one GPU: run its jobs.")(worker)


def worker(
    gpu: Annotated[str | None, typer.Option(help="The GPU of the fleet file; needed if it has several.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve one GPU: take its jobs, batched by model, until it is stopped.

    Start one for each GPU. SIGTERM and Ctrl-C let running jobs end or hand them back; nothing is lost.

    \b
    Example:  hotset worker
              hotset worker --gpu gpu1
    """
    from hotset.cli.fleet import the_fleet, the_gpu
    from hotset.settings import load_settings

    # Looked at here, so that what is wrong is said in one sentence and not by Celery.
    settings = load_settings(gpu=gpu)
    name = the_gpu(the_fleet(settings), settings.gpu).name
    command = worker_command(name, log_level=log_level)
    sys.stderr.flush()
    os.execve(command[0], command, {**os.environ, "HOTSET_GPU": name})  # noqa: S606 - no shell is wanted


def worker_command(gpu: str, *, log_level: str = "info") -> list[str]:
    """The command of a GPU's worker; HOTSET_GPU must name the GPU, too."""
    words = ["-A", "hotset_worker", "worker", "-E", "--without-gossip", "--without-mingle"]
    return [sys.executable, "-m", "celery", *words, "-n", f"{gpu}@%h", "-l", log_level]
