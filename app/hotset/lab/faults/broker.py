"""Faults that strike the broker and the way to it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import redis

from hotset.broker import Lanes
from hotset.client import Client
from hotset.errors import HotsetError
from hotset.lab.faults.hotset_side import Hotset
from hotset.lab.faults.injuries import LostReplies, cut_connections, deaf_server, full_disk
from hotset.lab.faults.side import Side
from hotset.lab.faults.stock_app import make_stock_app
from hotset.lab.faults.stock_side import Stock

_SEED = 2
#: Leases that the broker is dead, and that the jobs run that are running then.
_DEAD_LEASES, _LONG_LEASES = 1.5, 3.0
#: Wall seconds that its disk is full.
_FULL_S = 5.0
#: Submits while the disk is full, one by one.
_BESIDE = 20
#: Of every so many publishes the reply is lost.
_LOST_EVERY = 3


def cut_every_connection(side: Side, say: Callable[[str], None]) -> None:
    """All connections to the broker are cut, again and again, while jobs run that are longer than the time between two
    cuts. `recover_s`: from each cut, or from the first free slot after it, to the next job that begins."""
    load, rng = side.load, random.Random(_SEED)
    side.worker()
    side.begin()
    side.submit([rng.uniform(*load.run_s) for _ in range(load.jobs)])
    side.until_running()
    cuts = []
    for number in range(load.times):
        time.sleep(load.every_s)
        cuts.append(time.time())
        cut_connections(side.addresses.broker_url)
        side.hits += 1
        say(f"{side.name}: cut {number + 1} of {load.times}, {side.ended()} of {load.jobs} jobs done")
    side.settle()
    journal = side.journal.read()
    for cut in cuts:
        free = journal.free_after(cut, load.slots)
        start = None if free is None else journal.first_start_after(free)
        if free is not None and start is not None:
            side.recovered.append(start - free)


def break_broker(side: Side, say: Callable[[str], None]) -> None:
    """Killed, and away for longer than a lease; flushed; its disk full for a while, with all
    connections cut then. Jobs wait and run all the time, on
    half of the slots such as outlive their leases.

    `recover_s`: after each of the three, until the next job begins. `republished_s`: after the flush, until every job
    that waits is in the broker again (hotset alone can do that). `submit_s_max`: the longest submit while the disk was
    full; `refused`: submits that raised then. `waiting`: jobs that waited when it was flushed.
    """
    load, rng = side.load, random.Random(_SEED)
    if side.servers is None:
        raise RuntimeError("this fault needs servers of its own")
    broker, url = side.servers.broker, side.servers.addresses.broker_url
    side.worker()
    side.begin()
    long = load.slots // 2
    side.submit([_LONG_LEASES * load.lease_s] * long)
    side.until_running(long)
    side.submit([rng.uniform(*load.run_s) for _ in range(load.jobs - long)])
    side.until_running(long + 1)  # short ones come and go
    broker.kill()
    say(f"{side.name}: the broker is killed")
    time.sleep(_DEAD_LEASES * load.lease_s)
    broker.start()
    _next_start(side)
    side.said["waiting"] = side.waiting()
    say(f"{side.name}: the broker is flushed, {side.said['waiting']:.0f} jobs wait")
    with redis.Redis.from_url(url) as client:
        client.flushall()
    flushed = time.time()
    if isinstance(side, Hotset):
        with closing(Lanes(url)) as lanes:
            side.until(lambda: _all_published(side, lanes))
        side.said["republished_s"] = round(time.time() - flushed, 2)
    _next_start(side, since=flushed)
    say(f"{side.name}: the broker's disk is full")
    longest, refused = 0.0, 0
    with full_disk(broker.pid):
        until = time.monotonic() + _FULL_S
        cut_connections(url)  # who comes back meets a server that lives and changes nothing
        for _ in range(_BESIDE):
            began = time.monotonic()
            try:
                side.submit([load.run_s[0]])
            except Exception:
                # Whatever a submitter gets: it has been told that the job is not accepted.
                refused += 1
            longest = max(longest, time.monotonic() - began)
            time.sleep(_FULL_S / _BESIDE / 2)
        time.sleep(max(0.0, until - time.monotonic()))
    _next_start(side)
    side.said |= {"submit_s_max": round(longest, 3), "refused": refused}
    side.settle()


def lose_publishes(side: Side, say: Callable[[str], None]) -> None:
    """Replies to publishes are lost; for hotset also: submitters and relays die around their publish (the jobs are
    committed, and nobody says so), and one dies before its commit.

    `hits`: replies that were lost, and processes that were killed. `rolled_back_runs`: jobs that run though their
    commit never came.
    """
    load = side.load
    side.begin()
    if isinstance(side, Stock):
        with (
            LostReplies(side.broker_url, marker=b"stock.run", every=_LOST_EVERY) as lossy,
            closing(make_stock_app(lossy.url, visibility_s=side.visibility_s)) as app,
        ):
            side.submit_through(app, [load.run_s[0]] * load.times)
            side.hits += lossy.lost
    elif isinstance(side, Hotset):
        _lose_replies(side)
        _kill_submitters(side, say)
    side.worker()
    side.settle()
    if isinstance(side, Hotset):
        known = side.one("SELECT count(*) FROM jobs")
        side.said["rolled_back_runs"] = float(len(side.journal.read().starts) - known)


def _lose_replies(side: Hotset) -> None:
    with LostReplies(side.addresses.broker_url, marker=b"hotset.run", every=_LOST_EVERY) as lossy, ExitStack() as held:
        direct = side.client
        side.client = held.enter_context(Client(settings=side.settings_through(lossy.url)))
        for _ in range(side.load.times):
            side.submit([side.load.run_s[0]])
        side.client = direct
        side.hits += lossy.lost


def _kill_submitters(side: Hotset, say: Callable[[str], None]) -> None:
    """Each is killed at the very moment at which it has committed, or published, and not gone on."""
    jobs = str(side.load.jobs)
    with deaf_server() as port:
        deaf = f"redis://127.0.0.1:{port}/0"
        for how, broker, moment in (
            ("rolled-back", side.addresses.broker_url, _in_transaction),
            ("commit", deaf, _unpublished),
            ("relay-before", deaf, _in_transaction),
            ("relay-after", side.addresses.broker_url, _waiting),
        ):
            environ = {
                "HOTSET_DATABASE_URL": side.addresses.database_url,
                "HOTSET_BROKER_URL": broker,
                "HOTSET_CACHE_URL": side.addresses.cache_url,
                "HOTSET_FLEET": str(side.fleet_path),
            }
            process = side.stage.start_module("hotset.lab.faults.submitter", [how, jobs], environ)
            try:
                if not side.until(lambda m=moment: m(side)):  # type: ignore[misc]
                    process.check()
                    raise HotsetError(f"The submitter ({how}) did not come to where it is killed.")
            finally:
                process.kill()
            side.hits += 1
            say(f"hotset: killed ({how})")
    side.know_all()


def _in_transaction(side: Hotset) -> bool:
    return side.one("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") > 0


def _unpublished(side: Hotset) -> bool:
    return side.one("SELECT count(*) FROM jobs WHERE published_at IS NULL") >= side.load.jobs


def _waiting(side: Hotset) -> bool:
    with closing(Lanes(side.addresses.broker_url)) as lanes:
        return sum(lanes.lengths(side.client.fleet.queues).values()) > side.load.times


def _next_start(side: Side, since: float | None = None) -> None:
    """Until a job begins; it counts as a recovery."""
    since = time.time() if since is None else since
    side.hits += 1
    if side.until(lambda: side.journal.read().first_start_after(since) is not None):
        start = side.journal.first_start_after(since)
        side.recovered += [] if start is None else [start - since]


def _all_published(side: Hotset, lanes: Lanes) -> bool:
    """Whether the broker knows every job that waits. One that is claimed between the two looks is missed once."""
    waiting = sum(lanes.lengths(side.client.fleet.queues).values())
    return waiting > 0 and waiting >= side.one("SELECT count(*) FROM jobs WHERE state = 'queued'")
