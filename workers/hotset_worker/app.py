"""The Celery application of a GPU worker: `celery -A hotset_worker worker`.

Which GPU, which servers: HOTSET_GPU and the other settings. Slots become the pool's size; the pool is threads, since
the owner shares memory with the runs and a slot is refilled without a trip between processes.
"""

from __future__ import annotations

import gc
import logging
import time
from typing import Any

from celery import Celery, bootsteps, signals
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.nodenames import NODENAME_DEFAULT, nodename, nodesplit

from hotset.broker import TASK, GrantDesk, Lanes, make_app
from hotset.errors import HotsetError, JobFailed, Unavailable, UsageError
from hotset.fleet_file import classic_fleet, read_fleet
from hotset.jobs import State
from hotset.settings import Settings, load_settings
from hotset_worker.request import Answer, QuietRequest
from hotset_worker.run_job import Delivery, job_of, run_job
from hotset_worker.worker import GpuWorker, choose_gpu

log = logging.getLogger(__name__)
# One line a request, at the level that Celery shows: noise.
logging.getLogger("httpx").setLevel(logging.WARNING)
#: Wall seconds that a slot rests when Postgres is away.
_AWAY_S = 1.0
#: What Celery does with the end of a task, as it stands in the message of a plain producer.
_LINKS = ("callbacks", "errbacks", "chain")


def build(settings: Settings) -> Celery:
    """The application; nothing connects and nothing starts before Celery starts the worker."""
    fleet = read_fleet(settings.fleet) if settings.fleet else classic_fleet()
    gpu = choose_gpu(fleet, settings.gpu)
    app = make_app(settings.broker_url.get_secret_value(), fleet.queues)
    app.conf.update(
        worker_pool="threads",
        worker_concurrency=gpu.slots,
        # Celery's own grace; ours (GpuWorker.stop) hands running jobs back within it.
        worker_soft_shutdown_timeout=0.0,
        worker_proc_alive_timeout=30.0,
        worker_redirect_stdouts=False,
        # What plain producers linked to a job may go to any queue of theirs.
        task_create_missing_queues=True,
    )
    part = _Part(settings, app)

    class OwnerStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery is untyped
        """Of the worker, not of its consumer, which starts anew with each connection."""

        requires = ("celery.worker.components:Pool",)

        def create(self, parent: Any) -> OwnerStep:
            try:
                part.make(fleet)
            except UsageError as e:
                # A setting is wrong: whoever started it wants to read that, and no traceback.
                raise SystemExit(f"hotset worker: {e}") from None
            return self

        def start(self, parent: Any) -> None:
            part.worker.start()
            # What is loaded stays. Each full collection would look at all of it again, and all threads stand meanwhile.
            gc.collect()
            gc.freeze()

        def stop(self, parent: Any) -> None:
            part.worker.stop()

        terminate = stop

    app.steps["worker"].add(OwnerStep)

    @app.task(  # type: ignore[untyped-decorator]
        name=TASK, bind=True, throws=(JobFailed, UsageError), typing=False, Request=QuietRequest
    )
    def run(task: Any, *args: Any, **kwargs: Any) -> str | Answer:
        """Run one job on this worker's GPU. Events, logs and `inspect` get no word of prompt or answer."""
        request = task.request
        headers = getattr(request, "hotset", None) or {}
        delivery = Delivery(
            task_id=str(request.id),
            claim=str(headers.get("claim", request.id)),
            queue=str(headers.get("queue", "")),
            lane=str(headers.get("lane", "")),
            args=args,
            kwargs=kwargs,
            not_before=getattr(request, "hotset_not_before", None),
            links={name: links for name in _LINKS if (links := getattr(request, name, None))},
            chord=bool(getattr(request, "chord", None)),
        )
        try:
            outcome = run_job(part.worker.tools, delivery)
        except Unavailable as e:
            # Back to its lane, not acknowledged: a plain producer's message is in no table yet. Not at once, or it
            # would come and go as fast as the machine can.
            log.warning("Message %s waits in its lane: %s", delivery.task_id, e)
            time.sleep(_AWAY_S)
            raise Reject(str(e), requeue=True) from None
        # The job's own, kept with it: a retry, or a run in its right queue, comes by a message without them.
        for name in _LINKS:
            setattr(request, name, outcome.links.get(name) if outcome is not None else None)
        if outcome is None:
            return "nothing to run"
        if outcome.state is State.SCHEDULED:
            raise Retry(outcome.error or "", when=outcome.retry_in_s)
        if outcome.state is State.CANCELLED:
            _say_revoked(task)
            raise Ignore
        if outcome.state is not State.SUCCEEDED:
            raise JobFailed(
                f"{outcome.state}: {outcome.error}",
                job_id=delivery.task_id,
                state=outcome.state,
                error_kind=outcome.error_kind,
            )
        return Answer(outcome.text, outcome.tokens) if outcome.links else f"{outcome.tokens} tokens"

    @signals.celeryd_init.connect(weak=False)  # type: ignore[untyped-decorator]
    def named_after_its_gpu(instance: Any = None, **_: Any) -> None:
        """Unless `-n` says otherwise: two workers on one host must not both be `celery@host`."""
        name, host = nodesplit(instance.hostname)
        if name == NODENAME_DEFAULT:
            instance.hostname = nodename(gpu.name, host)

    @signals.task_revoked.connect(weak=False)  # type: ignore[untyped-decorator]
    def revoked(request: Any = None, **_: Any) -> None:
        """`celery control revoke` cancels in Postgres too, or the relay would publish the job again."""
        try:
            part.worker.tools.store.cancel(job_of(str(request.id)), actor="celery", reason="revoked")
        except (HotsetError, ValueError, AttributeError) as e:
            log.error("A revoked task could not be cancelled: %s", e)

    return app


def _say_revoked(task: Any) -> None:
    """Flower and `celery events` show a cancelled run as revoked, which it is, and not as a failure."""
    try:
        task.send_event("task-revoked", retry=False, terminated=True, signum=None, expired=False)
    except Exception as e:
        # What came of the job is recorded; that nobody watches must not change it.
        log.warning("Watchers were not told that %s is cancelled: %s", task.request.id, e)


class _Part:
    """Ties the application to the worker's parts, which exist only once Celery has forked or detached."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._settings = settings
        self._app = app
        self._worker: GpuWorker | None = None

    def make(self, fleet: Any) -> None:
        self._worker = GpuWorker(self._settings, fleet)
        desk: GrantDesk = self._worker.owner.desk
        lanes: Lanes = self._worker.lanes
        self._app.conf.broker_transport_options = {
            **self._app.conf.broker_transport_options,
            "desk": desk,
            "lanes": lanes,
        }

    @property
    def worker(self) -> GpuWorker:
        if self._worker is None:
            raise RuntimeError("the boot step makes the worker before any task runs")
        return self._worker


app = build(load_settings())
