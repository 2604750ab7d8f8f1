"""`hotset messages`: what agents say to each other: list, show, send, read, dead letters and their replay."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotset.cli.completion import complete_agents
from hotset.cli.output import AsJson, note, print_json, table
from hotset.cli.selecting import Limit, OneTenant, Yes, confirm

if TYPE_CHECKING:
    from hotset.messaging import MessageView

Id = Annotated[str, typer.Argument(metavar="ID", help="The message's id.")]
To = Annotated[str | None, typer.Option("--to", help="To this agent.", autocompletion=complete_agents)]
From = Annotated[str | None, typer.Option("--from", help="From this agent.", autocompletion=complete_agents)]
Topic = Annotated[str | None, typer.Option("--topic", help="About this topic.")]
After = Annotated[str | None, typer.Option(metavar="ID", help="The next page: older than this message.")]
Body = Annotated[str, typer.Argument(help="JSON, or a text as it is; - reads standard input.")]
Key = Annotated[str | None, typer.Option("--key", help="The same key of the same --from sends it once.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Messages between agents: list, send, read, dead letters."
    )
    group.command("list")(list_messages)
    group.command("show")(show)
    group.command("send")(send)
    group.command("publish")(publish)
    group.command("read")(read)
    group.command("subscribe")(subscribe)
    group.command("unsubscribe")(unsubscribe)
    group.command("topics")(topics)
    group.command("dead")(dead)
    group.command("replay")(replay)
    group.command("erase")(erase)
    app.add_typer(group, name="messages")


def list_messages(
    state: Annotated[
        str | None, typer.Option("--state", help="waiting, leased (or in a back-off), open (both), handled, dead.")
    ] = None,
    to: To = None,
    from_: From = None,
    topic: Topic = None,
    tenant: OneTenant = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List the newest messages that match, without what they say (`hotset messages show` has that).

    waiting: to be delivered now. delayed: refused, and delivered again after its back-off. leased: with a consumer,
    which has to acknowledge it. handled: acknowledged. dead: delivered too often.

    \b
    Example:  hotset messages list --to qa-team-lead --state open
              hotset messages list --from system-architect --limit 1000 --json
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        found = client.messages(state=state, to=to, from_=from_, topic=topic, after=after, limit=limit)
    _show_many(found, limit, as_json=as_json)


def dead(
    to: To = None,
    from_: From = None,
    tenant: OneTenant = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List the dead letters: messages that were delivered max_deliveries times and never acknowledged, each with the
    reason of its last refusal. `hotset messages replay` has them delivered again.

    \b
    Example:  hotset messages dead --to qa-team-lead
    """
    list_messages("dead", to, from_, None, tenant, limit, after, as_json)


def show(id: Id, tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """Show a message with its body.

    \b
    Example:  hotset messages show 0198c0de-0000-7000-8000-000000000000
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        view = client.message(id)
    facts = _as_object(view)
    if as_json:
        print_json({**facts, "body": view.body, "unreadable": view.unreadable})
        return
    rows = [(name, value) for name, value in facts.items() if value is not None and name != "id"]
    typer.echo(table(("message", str(view.id)), rows))
    typer.echo("\n" + (view.unreadable or json.dumps(view.body, ensure_ascii=False, indent=2)))


def send(
    to: Annotated[str, typer.Argument(help="The agent.", autocompletion=complete_agents)],
    body: Body,
    from_: From = None,
    topic: Topic = None,
    key: Key = None,
    tenant: OneTenant = None,
    as_json: AsJson = False,
) -> None:
    """Put a message into an agent's inbox, where it waits until a consumer acknowledges it. Prints its id.

    \b
    Example:  hotset messages send qa-team-lead '{"release": "2.1"}' --from system-architect
              hotset messages send qa-team-lead "Please look at the login page." --key login-1
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        if to not in client.registry:
            note(f"{to} is no agent of the catalogue: the message waits until somebody reads that inbox.")
        sent = client.send(to, _body(body), from_=from_, topic=topic, key=key)
    if as_json:
        print_json({"id": sent, "to": to})
    else:
        typer.echo(sent)


def publish(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    body: Body,
    from_: From = None,
    key: Key = None,
    tenant: OneTenant = None,
    as_json: AsJson = False,
) -> None:
    """Put a message into the inbox of every subscriber of a topic. Prints how many those are.

    \b
    Example:  hotset messages publish releases '{"version": "2.1"}' --key release-2.1
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        copies = client.publish(topic, _body(body), from_=from_, key=key)
    if as_json:
        print_json({"topic": topic, "copies": copies})
    else:
        typer.echo(copies)


def read(
    agent: Annotated[str, typer.Argument(help="Whose inbox.", autocompletion=complete_agents)],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 1,
    wait: Annotated[float, typer.Option(min=0, help="Wall seconds to wait for each.")] = 0.0,
    tenant: OneTenant = None,
    as_json: AsJson = False,
) -> None:
    """Take messages out of an agent's inbox: each is acknowledged once it is printed, and is not delivered again.

    To only look, use `hotset messages list` and `show`. With --json each line is one JSON object.

    \b
    Example:  hotset messages read qa-team-lead --limit 10
              hotset messages read qa-team-lead --wait 60 --json
    """
    from itertools import islice

    from hotset.client import Client
    from hotset.errors import CannotDecrypt

    unreadable = False
    with Client(tenant=tenant) as client, client.inbox(agent, timeout=wait) as inbox:
        for msg in islice(inbox, limit):
            try:
                body = msg.body
            except CannotDecrypt as e:
                # Left to its lease: who has the key gets it then.
                note(str(e))
                unreadable = True
                continue
            if as_json:
                facts = {"id": msg.id, "from": msg.from_, "to": msg.to, "topic": msg.topic, "job": msg.job}
                print_json({**facts, "sent_at": msg.sent_at, "attempts": msg.attempts, "body": body})
            else:
                typer.echo(f"{msg.id}  from {msg.from_ or '-'}\n{json.dumps(body, ensure_ascii=False)}")
            sys.stdout.flush()
            msg.ack()
    if unreadable:
        raise typer.Exit(1)


def subscribe(
    agent: Annotated[str, typer.Argument(help="The agent.", autocompletion=complete_agents)],
    topic: Annotated[str, typer.Argument(help="The topic.")],
    tenant: OneTenant = None,
    as_json: AsJson = False,
) -> None:
    """From now on the agent's inbox gets what is published on the topic.

    \b
    Example:  hotset messages subscribe qa-team-lead releases
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        changed = client.subscribe(agent, topic)
    _say(agent, topic, changed, "subscribes to", "subscribed already to", as_json=as_json)


def unsubscribe(
    agent: Annotated[str, typer.Argument(help="The agent.", autocompletion=complete_agents)],
    topic: Annotated[str, typer.Argument(help="The topic.")],
    tenant: OneTenant = None,
    as_json: AsJson = False,
) -> None:
    """The agent gets no more of the topic; what is in its inbox stays there.

    \b
    Example:  hotset messages unsubscribe qa-team-lead releases
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        changed = client.unsubscribe(agent, topic)
    _say(agent, topic, changed, "no longer subscribes to", "did not subscribe to", as_json=as_json)


def topics(tenant: OneTenant = None, as_json: AsJson = False) -> None:
    """List the topics with their subscribers.

    \b
    Example:  hotset messages topics --json
    """
    from hotset.client import Client

    with Client(tenant=tenant) as client:
        found = client.topics()
    if as_json:
        print_json(found)
    else:
        typer.echo(table(("topic", "subscribers"), [(topic, ", ".join(who)) for topic, who in found.items()]))


def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of dead letters.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All dead letters (with --to: of that agent's inbox).")] = False,
    to: To = None,
    tenant: OneTenant = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Have dead letters delivered again, as if they were sent now: each goes behind what waits of its sender. Audited.

    \b
    Example:  hotset messages replay 0198c0de-0000-7000-8000-000000000000
              hotset messages replay --all --to qa-team-lead --yes
    """
    from hotset.client import Client
    from hotset.errors import UsageError

    if bool(ids) == all_:
        raise UsageError("Which dead letters?", remedy="Give their ids, or --all.")
    if all_:
        confirm(f"replay all dead letters{f' to {to}' if to else ''}", yes=yes)
    with Client(tenant=tenant) as client:
        replayed = client.replay_messages(ids or None, to=to)
    if as_json:
        print_json(replayed)
        return
    for message_id in replayed:
        typer.echo(message_id)
    if ids and len(replayed) < len(set(ids)):
        note(f"{len(set(ids)) - len(replayed)} of them are no dead letters.")


def erase(id: Id, tenant: OneTenant = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a message for good, whatever its state. The audit keeps who did it and when, not what it said.

    \b
    Example:  hotset messages erase 0198c0de-0000-7000-8000-000000000000 --yes
    """
    from hotset.client import Client

    confirm(f"erase message {id}", yes=yes)
    with Client(tenant=tenant) as client:
        client.erase_message(id)
    if as_json:
        print_json({"id": id, "erased": True})
    else:
        note(f"Message {id} is erased.")


def _show_many(found: list[MessageView], limit: int, *, as_json: bool) -> None:
    if as_json:
        print_json([_as_object(view) for view in found])
        return
    rows = [
        (v.id, v.state, v.sender, v.recipient, v.topic, f"{v.sent_at:%Y-%m-%d %H:%M:%S}", v.attempts, v.bytes, v.reason)
        for v in found
    ]
    typer.echo(table(("message", "state", "from", "to", "topic", "sent", "tries", "bytes", "reason"), rows))
    if len(found) == limit:
        note(f"There may be more: --after {found[-1].id}")


def _as_object(view: MessageView) -> dict[str, Any]:
    return {
        "id": view.id,
        "state": view.state,
        "from": view.sender,
        "to": view.recipient,
        "topic": view.topic,
        "job": view.job,
        "tenant": view.tenant,
        "sent_at": view.sent_at,
        "ended_at": view.ended_at,
        "attempts": view.attempts,
        "max_deliveries": view.max_deliveries,
        "reason": view.reason,
        "bytes": view.bytes,
    }


def _body(text: str) -> Any:
    """JSON if it is that, else the text."""
    if text == "-":
        text = sys.stdin.read()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _say(agent: str, topic: str, changed: bool, now: str, before: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"agent": agent, "topic": topic, "changed": changed})
    else:
        note(f"{agent} {now if changed else before} {topic}.")
