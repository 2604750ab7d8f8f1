"""`hotset doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from hotset.cli.output import AsJson, print_json


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Find out what is wrong, and what to do.")(doctor)


def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Load no model.")] = False,
    thorough: Annotated[bool, typer.Option("--thorough", help="Load and probe each tier's model in turn.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Wall seconds for each probe of a model.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Check settings, fleet, Postgres, both Redis, every model server, workers and upkeep.

    Each ✗ and ! comes with its remedy. Model servers are asked to generate on a model that is loaded already; if none
    is, the smallest is loaded (not with --quick). Exit status 1 if there is any ✗. A running fleet is not stopped.

    \b
    Example:  hotset doctor
              hotset doctor --thorough --timeout 60
              hotset doctor --json | jq '.checks[] | select(.status == "failed")'
    """
    from hotset.cli.doctor.diagnose import diagnose
    from hotset.cli.doctor.show import as_object, progress, show, well
    from hotset.errors import UsageError

    if quick and thorough:
        raise UsageError("--quick loads no model and --thorough loads each.", remedy="Give one of them.")
    began = time.perf_counter()
    with progress() as running:
        findings = diagnose(timeout_s=timeout, quick=quick, thorough=thorough, progress=running)
    if as_json:
        print_json(as_object(findings))
    else:
        show(findings, time.perf_counter() - began)
    if not well(findings):
        raise typer.Exit(1)
