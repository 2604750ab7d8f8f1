"""Is the model server more than alive: a model that is loaded, and listed, and generates nothing (as Ollama can be, its
issue 17408) is found by a request of one token, rested, and its server restarted where we are told how.

Nothing is asked while all is well: a round of probes follows only a job that timed out without its first token. The
state belongs to the owner's thread; probes and the restart run on a thread of their own and come back as events.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hotset.errors import GenerationFailed, HotsetError, InvalidSettings

log = logging.getLogger(__name__)

#: Wall seconds: the first pause before a sick model is probed again (it doubles), the longest; and what a restart may
#: take, and how long running requests are waited for before it.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 300.0
_RESTART_S = 120.0
_DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Silent:
    """A job's time was over before its model had said a word."""

    model: str


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe came to; `error` None: it generates. `began`: monotonic."""

    model: str
    error: str | None
    began: float


@dataclass(frozen=True, slots=True)
class Examined:
    """A round of probes is over."""


@dataclass(slots=True)
class _Sick:
    reason: str
    failures: int
    next_look: float


class Health:
    """What the owner knows of it. `probe` raises when a model gives no token; `spoke_since` says whether a job of that
    model got a token after that moment: then it is well, however long a probe had to queue behind others."""

    def __init__(
        self,
        gpu: str,
        *,
        probe: Callable[[str], None],
        spoke_since: Callable[[str, float], bool],
        tell: Callable[[Probed | Examined], None],
        restart: str | None,
    ) -> None:
        self._gpu = gpu
        self._probe = probe
        self._spoke_since = spoke_since
        self._tell = tell
        self._restart = parse_command(restart)
        self._sick: dict[str, _Sick] = {}
        self._failures: dict[str, int] = {}
        self._examining = False
        self._asked: set[str] = set()
        self._drains_since: float | None = None
        #: The server was restarted since a probe failed last: it is probed again before the next restart.
        self._restarted = False

    # ---- events ----------------------------------------------------------------------------------------------

    def silent(self, event: Silent) -> None:
        """Look at it at the next chance."""
        if event.model not in self._sick:
            self._asked.add(event.model)

    def probed(self, event: Probed, now: float) -> bool:
        """Take the result in; whether a model has become sick or well by it."""
        was = self._sick.pop(event.model, None)
        if event.error is None or self._spoke_since(event.model, event.began):
            self._failures.pop(event.model, None)
            if was is not None:
                log.warning("GPU %s: %s generates again.", self._gpu, event.model)
            return was is not None
        failures = self._failures[event.model] = self._failures.get(event.model, 0) + 1
        pause = _pause(failures)
        self._restarted = False
        self._sick[event.model] = _Sick(event.error, failures, now + pause)
        log.error(
            "GPU %s: %s is loaded and generates nothing: %s It gets no jobs, and is looked at again in %.0f s%s.",
            self._gpu,
            event.model,
            event.error,
            pause,
            " after a restart of its server" if self._restart else "",
        )
        return was is None

    def examined(self) -> None:
        self._examining = False

    def resident(self, models: Iterable[str]) -> None:
        """These are loaded now. One that is gone (evicted, or its server restarted) gets another chance."""
        here = set(models)
        for model in [m for m in self._sick if m not in here]:
            del self._sick[model]
            log.warning("GPU %s: %s is not loaded any more; it may be tried again.", self._gpu, model)
        self._asked &= here

    # ---- what follows ----------------------------------------------------------------------------------------

    def mend(self, residents: Iterable[str], busy: int, now: float) -> None:
        """Start what is due: probes, or a restart of the server once the GPU is idle."""
        if not self._sick:
            self._drains_since = None
        if self._examining:
            return
        due = {model for model, sick in self._sick.items() if now >= sick.next_look}
        if self._asked:
            # One that is silent makes the others doubtful: each is asked.
            asked, self._asked = sorted(set(residents)), set()
            self._examine(asked, restart=False)
        elif due and (not self._restart or self._restarted):
            self._examine(sorted(due), restart=False)
        elif due:
            if self._drains_since is None:
                self._drains_since = now
            if busy == 0 or now - self._drains_since >= _DRAIN_S:
                self._drains_since = None
                self._restarted = True
                for sick in self._sick.values():
                    sick.next_look = now + _pause(sick.failures)
                self._examine([], restart=True)

    def rests(self, model: str) -> bool:
        return model in self._sick

    def stands_still(self, residents: Iterable[str]) -> bool:
        """Whether the GPU is to start nothing at all: nothing it holds generates, or its server is to be restarted."""
        held = set(residents)
        return self._drains_since is not None or (bool(self._sick) and held <= set(self._sick))

    @property
    def unhealthy(self) -> Mapping[str, str]:
        """Model -> what is wrong with it."""
        return {model: sick.reason for model, sick in self._sick.items()}

    # ---- on a thread of its own ------------------------------------------------------------------------------

    def _examine(self, models: list[str], *, restart: bool) -> None:
        self._examining = True
        work = threading.Thread(target=self._work, args=(models, restart), name="hotset-health", daemon=True)
        work.start()

    def _work(self, models: list[str], restart: bool) -> None:
        try:
            if restart:
                self._restart_server()
                return  # what it holds now is another matter: it is listed in a moment, and probed if it stays sick
            for model in models:
                began = time.monotonic()
                self._tell(Probed(model, self._trouble(model), began))
        finally:
            self._tell(Examined())

    def _trouble(self, model: str) -> str | None:
        try:
            self._probe(model)
        except GenerationFailed as e:
            # It refused, so it answers: busy, say. Only silence is a sign.
            return None if e.status is not None else str(e)
        except HotsetError as e:
            return str(e)
        except Exception as e:
            log.exception("GPU %s: the probe of %s failed in an unforeseen way.", self._gpu, model)
            return f"{type(e).__name__}: {e}"
        return None

    def _restart_server(self) -> None:
        log.error("GPU %s: its model server is restarted: %s", self._gpu, shlex.join(self._restart))
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
                self._restart,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_RESTART_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            log.error("GPU %s: the restart failed: %s", self._gpu, e)
            return
        if done.returncode:
            said = done.stdout.decode(errors="replace").strip()[-500:]
            log.error("GPU %s: the restart ended with status %d: %s", self._gpu, done.returncode, said)


def _pause(failures: int) -> float:
    return min(_FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20), _LONGEST_PAUSE_S)


def parse_command(text: str | None) -> list[str]:
    """Words of a command, as a shell would split them; none for None. Raises InvalidSettings."""
    try:
        return shlex.split(text or "")
    except ValueError as e:
        raise InvalidSettings(
            f"model_server_restart is no command: {e}.", remedy="Write it like `systemctl restart ollama`."
        ) from None
