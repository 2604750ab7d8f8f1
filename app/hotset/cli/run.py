"""`hotset run`: ask one agent and read the answer as it comes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.output import SIMULATED, AsJson, note, print_json, seconds

if TYPE_CHECKING:
    from hotset.client import Client, Job
    from hotset.jobs import JobView


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Ask an agent and read the answer.")(run)


def run(
    agent: Annotated[str, typer.Argument(help="Who is asked: a name of `hotset agents list`.")],
    prompt: Annotated[str, typer.Argument(help="What is asked; - reads it from standard input.")],
    priority: Annotated[str, typer.Option(help="low, normal, high or urgent.")] = "normal",
    deadline: Annotated[str | None, typer.Option(help="It should start within: 90, 15m, 1h30m.")] = None,
    queue_timeout: Annotated[str | None, typer.Option(help="It expires if it has not started by then.")] = None,
    run_timeout: Annotated[str | None, typer.Option(help="The run is stopped after that.")] = None,
    max_retries: Annotated[int | None, typer.Option(help="Retries after errors that may pass.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Wait at most so many seconds here; the job goes on.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key is the same job.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Who the job belongs to.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="Of the model, such as -o temperature=0.2; repeatable.")
    ] = None,
    recall: Annotated[
        int, typer.Option(help="Put so many relevant memories before the prompt, of the agent and the tenant.", min=0)
    ] = 0,
    recall_from: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Of these scopes instead; repeatable.")
    ] = None,
    remember: Annotated[str | None, typer.Option(metavar="SCOPE", help="Keep the answer in this memory.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an agent; its words are printed as they come, figures follow on standard error.

    The job is accepted once it is in the database: Ctrl-C leaves it there, and it runs all the same.

    \b
    Example:  hotset run senior-backend-developer "Write a health check for our API."
              git diff | hotset run code-reviewer - --priority high
              hotset run qa-team-lead "Answer the mail." --recall 5 --remember project:acme
    """
    from hotset.client import Client

    asked = _standard_input() if prompt == "-" else prompt
    with Client(tenant=tenant) as client:
        job = client.submit(
            agent,
            asked,
            priority=priority,
            deadline=deadline,
            queue_timeout=queue_timeout,
            run_timeout=run_timeout,
            max_retries=max_retries,
            options=_options(option or []),
            idempotency_key=key,
            stream=True,
            recall=recall,
            recall_from=recall_from or (),
        )
        load_s = None
        try:
            note(f"Job {job.id}")
            _warn_without_worker(client)
            if not as_json:
                load_s = _print_words(job, timeout)
            result = job.result(timeout)
            if remember is not None:
                note(f"Remembered in {remember}: {client.memory(remember).remember_answer(job.id)}")
        except KeyboardInterrupt:
            note(f"\nJob {job.id} goes on. Its answer: hotset jobs show ID. To stop it: hotset jobs cancel ID.")
            raise
        view = job.view
    if as_json:
        from hotset.cli.selecting import as_object

        print_json(as_object(view))
    else:
        note(_footer(view, str(result.model), load_s))


def _print_words(job: Job, timeout: float | None) -> float | None:
    """The words as they come; model seconds that the model was loaded for this job, None: it was hot."""
    shown = False
    loading = load_s = None
    for event in job.stream(timeout=timeout):
        if event.kind == "loading":
            loading = loading or event
            note(f"{event.gpu} loads {event.model} ...")
        elif event.kind == "started":
            if event.restarted and shown:
                note("\n[The run was interrupted and begins anew: what was printed is void.]")
                shown = False
            load_s = None if loading is None else event.elapsed_s - loading.elapsed_s
        elif event.text:
            typer.echo(event.text, nl=False)
            sys.stdout.flush()
            shown = True
    if shown:
        typer.echo()
    return load_s


def _footer(view: JobView, model: str, load_s: float | None) -> str:
    result = view.result
    if result is None:
        return ""
    usage, timings = result.usage, result.timings
    parts = [f"waited {seconds(view.wait_s)} s" + (f", {seconds(load_s)} s of it for the load" if load_s else "")]
    if timings.get("first_token_s") is not None:
        parts.append(f"first token after {seconds(timings['first_token_s'])} s")
    tokens, took = usage.get("output_tokens"), timings.get("generate_s")
    if tokens and took:
        parts.append(f"{tokens} tokens, {tokens / took:.0f} a second")
    parts.append(f"{model}, {SIMULATED}: the words mean nothing" if result.simulated else model)
    return "; ".join(parts)


def _warn_without_worker(client: Client) -> None:
    from hotset.cli.status import read_gpus
    from hotset.errors import BrokerUnavailable

    try:
        if not read_gpus(client.settings):
            note("No GPU worker is running: the job waits until one is (`hotset worker`).")
    except BrokerUnavailable as e:
        note(f"The job is accepted and waits for the broker. {e}")


def _standard_input() -> str:
    from hotset.errors import InvalidJob

    try:
        return sys.stdin.read()
    except UnicodeDecodeError as e:
        raise InvalidJob(f"Standard input is not text: {e}.", remedy="Give UTF-8.") from None


def _options(pairs: list[str]) -> dict[str, Any]:
    import json

    from hotset.errors import InvalidJob

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidJob(f"--option {pair!r} is no name=value.", remedy="Write it like temperature=0.2.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found
