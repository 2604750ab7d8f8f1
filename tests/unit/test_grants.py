"""The desk between owner and hub: every grant ends in exactly one way."""

from __future__ import annotations

from collections.abc import Callable

from hotset.broker import Grant, GrantDesk, GrantEvent, Returned, Spent


class Hub:
    """Runs what it was asked to when told to, as the event loop does."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.asked.append(callback)

    def turn(self) -> None:
        asked, self.asked = self.asked, []
        for callback in asked:
            callback()


class Lane:
    """A spender with that many jobs."""

    def __init__(self, desk: GrantDesk, jobs: int) -> None:
        self.desk, self.jobs = desk, jobs

    def spend(self, grant: Grant) -> str | None:
        if not self.jobs:
            return "the lane was empty"
        self.jobs -= 1
        self.desk.spent(grant, f"claim-{self.jobs}")
        return None


def grant(epoch: int = 0) -> Grant:
    return Grant("q", "normal", "oldest", "m", epoch)


def test_grants_are_spent_in_the_hubs_thread_only_and_once() -> None:
    events: list[GrantEvent] = []
    desk, hub = GrantDesk(events.append), Hub()
    desk.attach(hub, Lane(desk, jobs=1))
    desk.issue(grant())
    desk.issue(grant())
    assert events == []
    hub.turn()
    hub.turn()
    assert [type(e) for e in events] == [Spent, Returned]


def test_a_new_epoch_voids_what_is_unspent() -> None:
    events: list[GrantEvent] = []
    desk, hub = GrantDesk(events.append), Hub()
    desk.attach(hub, Lane(desk, jobs=9))
    desk.issue(grant(epoch=0))
    desk.void_before(1)
    desk.issue(grant(epoch=1))
    hub.turn()
    assert [type(e) for e in events] == [Returned, Spent]


def test_grants_wait_while_there_is_no_connection() -> None:
    events: list[GrantEvent] = []
    desk, hub = GrantDesk(events.append), Hub()
    first = Lane(desk, jobs=9)
    desk.attach(hub, first)
    hub.turn()
    desk.detach(first)
    desk.issue(grant())
    assert events == [] and hub.asked == []
    desk.attach(hub, Lane(desk, jobs=9))
    hub.turn()
    assert [type(e) for e in events] == [Spent]
    desk.detach(first)  # an old channel that closes late takes nothing from its successor
    desk.issue(grant())
    hub.turn()
    assert len(events) == 2
