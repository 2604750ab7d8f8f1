"""Waiting for the end of one job, or of many: plans, carried out by threads and by tasks alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from hotset.client.news import Ended, Trouble
from hotset.client.progress import Progress, swaps_now
from hotset.client.steps import Box, Call, Give, Plan, Take, is_over, sooner, until_after
from hotset.errors import CannotDecrypt, HotsetError, JobFailed, ResultTimeout, UnknownJob
from hotset.jobs import JobResult, JobView, State

if TYPE_CHECKING:
    from hotset.client.client import Client

#: Wall seconds between two looks at the swaps, while progress is shown.
_TICK_S = 1.0


class Waited(Protocol):
    """A handle on a job, which keeps how it ended."""

    _id: UUID
    _ended: JobView | None
    _trouble: HotsetError | None


H = TypeVar("H", bound=Waited)


def result(client: Client, job: Waited, timeout: float | None) -> Plan[Any, JobResult]:
    """Its result. Raises JobFailed, ResultTimeout, UnknownJob."""
    if job._ended is None and job._trouble is None:
        yield from _end_of(client, job, timeout)
    return result_of(job)


def results(client: Client, jobs: Sequence[Waited], timeout: float | None) -> Plan[Any, list[JobResult]]:
    """The results in the jobs' order. Once all have ended, raises JobFailed for the first that has none."""
    yield from as_completed(client, jobs, timeout=timeout, progress=False)
    return [result_of(job) for job in jobs]


def as_completed(client: Client, jobs: Iterable[H], *, timeout: float | None, progress: bool) -> Plan[H, None]:
    """The jobs as they end, however they end. Raises ResultTimeout, and StoreUnavailable if it cannot begin."""
    handles: dict[UUID, list[H]] = {}
    for handle in jobs:
        handles.setdefault(handle._id, []).append(handle)
    listener = client._here()._listener
    until = until_after(timeout)
    box = Box()
    bar = Progress(sum(map(len, handles.values()))) if progress else None
    try:
        known = [job for job, (first, *_) in handles.items() if first._ended is not None]
        listener.watch(handles.keys() - known, box)
        for job in known:
            yield from _given(handles.pop(job), bar)
        began = False
        if bar is not None:
            bar.swapped((yield Call(partial(swaps_now, client))))
        while handles:
            news = yield Take(box, until if bar is None else sooner(until, _TICK_S))
            match news:
                case Ended(view) if view.id in handles:
                    began = True
                    yield from _given(_settled(handles.pop(view.id), view, None), bar)
                case Trouble(job, UnknownJob() as error) if job in handles:
                    yield from _given(_settled(handles.pop(job), None, error), bar)
                case Trouble(_, error) if not began:
                    raise error
                case None if is_over(until):
                    raise ResultTimeout(f"{len(handles)} jobs have not ended within {timeout} s; they go on.")
            if bar is not None and bar.wants_swaps():
                bar.swapped((yield Call(partial(swaps_now, client))))
    finally:
        listener.unwatch(box)
        if bar is not None:
            bar.close()


def result_of(job: Waited) -> JobResult:
    """What an ended job came to. Raises JobFailed, CannotDecrypt, or UnknownJob when it is gone."""
    view = job._ended
    if job._trouble is not None:
        raise job._trouble
    if view is None:
        raise UnknownJob(job._id)
    if view.state is State.SUCCEEDED and view.result is not None:
        return view.result
    if view.state is State.SUCCEEDED and view.error_kind == CannotDecrypt.__name__:
        raise CannotDecrypt(f"The result of job {view.id}")
    why = f": {view.error}" if view.error else "."
    raise JobFailed(
        f"Job {view.id} ended as {view.state}{why}",
        job_id=str(view.id),
        state=view.state,
        error_kind=view.error_kind,
        remedy=f"`hotset jobs show {view.id}` tells what happened.",
    )


def _end_of(client: Client, job: Waited, timeout: float | None) -> Plan[Any, None]:
    listener = client._here()._listener
    box = Box()
    try:
        listener.watch([job._id], box)
        news = yield Take(box, until_after(timeout))
    finally:
        listener.unwatch(box)
    match news:
        case Ended(view):
            job._ended = view
        case Trouble(_, error):
            raise error
        case _:
            raise ResultTimeout(
                f"Job {job._id} has not ended within {timeout} s; it goes on.", remedy="Wait again, or cancel it."
            )


def _settled(handles: list[H], view: JobView | None, error: HotsetError | None) -> list[H]:
    for handle in handles:
        handle._ended, handle._trouble = view, error
    return handles


def _given(handles: list[H], bar: Progress | None) -> Plan[H, None]:
    for handle in handles:
        if bar is not None:
            bar.advance()
        yield Give(handle)
