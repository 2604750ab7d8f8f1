"""Everything that runs beside one GPU, put together and taken apart in order."""

from __future__ import annotations

import logging
import os
import secrets
import socket

from hotset.agents import load_options, load_registry
from hotset.agents.intake import Intake
from hotset.broker import Lanes, Replies
from hotset.broker.replies import connect_cache
from hotset.errors import InvalidSettings, ModelServerUnavailable, StoreUnavailable, did_you_mean
from hotset.fleet import Fleet, Gpu
from hotset.jobs import RetryPolicy
from hotset.models import OllamaServer
from hotset.scheduling import OBJECTIVES, Options
from hotset.settings import Settings
from hotset.store import Cipher, JobStore, make_engine
from hotset.store.engine import connected
from hotset.store.migrate import pending
from hotset_worker.decision_log import DecisionLog
from hotset_worker.events import Woken
from hotset_worker.foresight import Foresight
from hotset_worker.gpu import Owner, Timing
from hotset_worker.heartbeat import BrokerHeartbeat, Ear, Heartbeat
from hotset_worker.hopeless import Hopeless
from hotset_worker.pauses import PauseWatch
from hotset_worker.run_job import Tools
from hotset_worker.runs import ActiveRuns
from hotset_worker.upkeep import MemoryUpkeep, Upkeep, UpkeepThread
from hotset_worker.watchdog import Watchdog

log = logging.getLogger(__name__)

#: Wall seconds that a run which was broken off gets to hand its job back.
_HAND_BACK_S = 5.0


def choose_gpu(fleet: Fleet, name: str | None) -> Gpu:
    """The GPU to serve. Raises InvalidSettings when the fleet has none of that name, or several and none was named."""
    names = [g.name for g in fleet.gpus]
    if name is None and len(names) == 1:
        return fleet.gpus[0]
    if name is None:
        raise InvalidSettings(f"The fleet has {len(names)} GPUs.", remedy=f"Set HOTSET_GPU to one of {names}.")
    if name not in names:
        raise InvalidSettings(f"The fleet has no GPU {name!r}.", remedy=did_you_mean(name, names, "hotset status"))
    return fleet.gpu(name)


class GpuWorker:
    """Built in the worker process before Celery connects; `start` and `stop` by the boot step."""

    def __init__(self, settings: Settings, fleet: Fleet) -> None:
        if settings.objective not in OBJECTIVES:
            hint = did_you_mean(settings.objective, OBJECTIVES, "hotset simulate --help")
            raise InvalidSettings(f"There is no objective {settings.objective!r}.", remedy=hint)
        self.gpu = choose_gpu(fleet, settings.gpu)
        self._grace_s = settings.stop_grace_s
        # Never that of a worker before: a restarted container has the host and often the process id of the one that
        # died, and what died with that one must not seem to run beside what this one runs.
        name = f"{self.gpu.name}@{socket.gethostname()}:{os.getpid()}-{secrets.token_hex(2)}"
        self.server = OllamaServer(self.gpu.address or settings.model_server)
        self.simulated = self._meet_server()
        self.lanes = Lanes(
            settings.broker_url.get_secret_value(),
            weights=settings.tenant_weights,
            pace=self.gpu.speed / settings.scale,
        )
        self.replies = Replies(settings.cache_url.get_secret_value())
        self.runs = ActiveRuns()
        url = settings.database_url.get_secret_value()
        limit_s = settings.database_timeout_s
        self._engine = make_engine(
            url, application=f"hotset-worker {name}", pool_size=self.gpu.slots + 3, answer_s=limit_s
        )
        self._meet_database()
        cipher = Cipher.of(settings.encryption_keys)
        store = JobStore(self._engine, scale=settings.scale, cipher=cipher)
        # Leases are renewed over a connection of their own, which is given up while another one can still be in time.
        self._beats = make_engine(
            url,
            application=f"hotset-heartbeat {name}",
            pool_size=1,
            answer_s=min(limit_s, (settings.lease_s - settings.heartbeat_s) / 2),
        )
        self._pauses = PauseWatch(self._engine, lambda: self.owner.tell(Woken()))
        options = Options(objective=settings.objective)
        self._decisions = DecisionLog(settings.decisions, self.gpu.name, options) if settings.decisions else None
        self.owner = Owner(
            self.gpu,
            fleet,
            self.server,
            self.lanes,
            worker=name,
            timing=Timing(
                scale=settings.scale,
                load_timeout_s=settings.load_timeout_s,
                first_token_timeout_s=settings.first_token_timeout_s,
            ),
            options=options,
            load_options=load_options,
            simulated=self.simulated,
            paused=lambda: self._pauses.now,
            loading=lambda model: self.replies.loading(self.gpu.name, model),
            decided=self._decisions or (lambda snapshot, decisions: None),
            spoke_since=self.runs.spoke_since,
            restart=settings.model_server_restart,
        )
        registry = load_registry(fleet, settings.agents)
        self.tools = Tools(
            worker=name,
            store=store,
            registry=registry,
            intake=Intake(registry, fleet, tenant=settings.tenant, max_prompt_chars=settings.max_prompt_chars),
            fleet=fleet,
            server=self.server,
            lanes=self.lanes,
            replies=self.replies,
            runs=self.runs,
            retry=RetryPolicy(max_retries=settings.max_retries, backoff_s=settings.retry_backoff_s),
            tell_owner=self.owner.tell,
            scale=settings.scale,
            lease_s=settings.lease_s,
            first_token_timeout_s=settings.first_token_timeout_s,
            stall_timeout_s=settings.stall_timeout_s,
            simulated=self.simulated,
            digest=self.owner.revisions.of,
        )
        self._heartbeat = Heartbeat(
            JobStore(self._beats, scale=settings.scale, cipher=cipher),
            self.runs,
            worker=name,
            every_s=settings.heartbeat_s,
            lease_s=settings.lease_s,
        )
        self._broker_heartbeat = BrokerHeartbeat(self.lanes, self.runs, every_s=settings.heartbeat_s)
        self._watchdog = Watchdog(self.runs)
        self._ear = Ear(self.lanes, self.owner, self._heartbeat, self.runs)
        books = self.owner.books
        self._upkeep = UpkeepThread(
            Upkeep(
                worker=name,
                store=store,
                lanes=self.lanes,
                replies=self.replies,
                lease_s=settings.lease_s,
                heartbeat_s=settings.heartbeat_s,
                relay_after_s=settings.relay_after_s,
                max_crashes=settings.max_crashes,
                keep_jobs_days=settings.keep_jobs_days,
                keep_audit_months=settings.keep_audit_months,
                keep_messages_days=settings.keep_messages_days,
                learned=books.learned,
                ledger=books.ledger,
                foresight=Foresight(self.lanes, fleet, books.learned, lambda: self._pauses.now, scale=settings.scale),
                hopeless=Hopeless(self.lanes, fleet, books.learned, scale=settings.scale)
                if settings.expire_hopeless
                else None,
                audit_seal_s=settings.audit_seal_s,
                audit_anchor=settings.audit_anchor,
            ),
            "hotset-upkeep",
        )

        self._cache = connect_cache(settings.cache_url.get_secret_value(), text=False)
        self._memory = UpkeepThread(
            MemoryUpkeep(
                worker=name,
                engine=self._engine,
                cache=self._cache,
                cold_s=settings.memory_cold_hours * 3600,
                keep_days=settings.keep_memory_days,
                store=store,
                intake=self.tools.intake,
                summaries=settings.memory_summaries,
                keys=settings.memory_keys == "model",
            ),
            "hotset-memory",
        )

    def start(self) -> None:
        beats = (self._heartbeat, self._broker_heartbeat)
        for part in (self._pauses, self.owner, *beats, self._watchdog, self._ear, self._upkeep, self._memory):
            part.start()
        log.info(
            "GPU %s: %.0f MiB, %d slots, model server %s%s.",
            self.gpu.name,
            self.gpu.vram_mb,
            self.gpu.slots,
            self.server.address,
            " (SIMULATED: its words mean nothing)" if self.simulated else "",
        )

    def stop(self) -> None:
        """Grant nothing more, let running jobs finish for a while, hand back the rest; they lose nothing."""
        self._ear.stop()
        self.owner.stop()
        if not self.runs.wait_idle(self._grace_s):
            for run in self.runs.all():
                run.end("handed back", "the worker stops")
            self.runs.wait_idle(_HAND_BACK_S)
        self._heartbeat.stop()
        self._broker_heartbeat.stop()
        self._watchdog.stop()
        self._upkeep.stop()
        self._memory.stop()
        self._pauses.stop()
        self.replies.close()
        self._cache.close()
        if self._decisions is not None:
            self._decisions.close()

    def _meet_database(self) -> None:
        """Raises InvalidSettings when its tables are more than one revision older than this code."""
        try:
            with connected(self._engine) as connection:
                state = pending(connection)
        except StoreUnavailable as e:
            # A worker may be up before its database; until that answers nothing is granted.
            log.warning("%s", e)
            return
        if state.unknown:
            log.warning(
                "The database's tables are those of a newer hotset (%s). It was made so that this one works on; "
                "bring this worker up to date.",
                state.current,
            )
        elif len(state.missing) == 1 and state.current is not None:
            log.warning(
                "The database lacks the migration %s: all that needs it is refused until `hotset migrate` was run.",
                state.missing[0],
            )
        elif state.missing:
            raise InvalidSettings(
                f"The database lacks the migration {', '.join(state.missing)}: this worker is newer than its tables.",
                remedy="Run `hotset migrate`, then start it again.",
            )

    def _meet_server(self) -> bool:
        try:
            return self.server.info().simulated
        except ModelServerUnavailable as e:
            # A worker may be up before its model server; until it answers nothing is loaded and jobs wait.
            log.warning("%s", e)
            return False
