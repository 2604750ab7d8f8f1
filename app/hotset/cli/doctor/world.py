"""What the checks look at: the settings in force, the fleet, and what workers say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hotset.agents import Registry
from hotset.broker import Board, GpuState
from hotset.errors import InvalidSettings
from hotset.fleet import Fleet, Gpu, Model
from hotset.settings import Settings

#: Answers that need no model: wall seconds, unless the user allows less.
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class World:
    """`timeout_s`: wall seconds that one probe of a loaded model may take; a load may take `load_factor` times that.

    `quick`: load nothing. `thorough`: load each tier's model in turn.
    """

    settings: Settings
    fleet: Fleet
    registry: Registry
    timeout_s: float
    quick: bool = False
    thorough: bool = False
    load_factor: float = 4.0

    @property
    def answer_s(self) -> float:
        return min(_ANSWER_S, self.timeout_s)

    def address(self, gpu: Gpu) -> str:
        return gpu.address or self.settings.model_server

    def models_of(self, gpu: Gpu) -> dict[str, Model]:
        """The models of the fleet's queues that fit this GPU, the smallest first."""
        wanted = {queue.model for queue in self.fleet.queues.values()}
        fitting = [m for m in self.fleet.models.values() if m.name in wanted and m.size_mb <= gpu.vram_mb]
        return {m.name: m for m in sorted(fitting, key=lambda m: m.size_mb)}

    def workers(self) -> Mapping[str, GpuState]:
        """The live workers by GPU; none when the broker is away, which is said elsewhere."""
        try:
            with connect(self.settings.broker_url.get_secret_value(), "broker_url", self.answer_s) as client:
                return Board(client).read()
        except (redis.RedisError, ValueError, KeyError, TypeError, InvalidSettings):
            return {}


def connect(url: str, name: str, answer_s: float) -> redis.Redis:
    """A client that tries once: the library's own retries would make a dead server take a minute."""
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=answer_s,
            socket_timeout=answer_s,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # Not chained: the message of the cause would show the password.
        raise InvalidSettings(f"{name} is not a Redis URL.", remedy="It looks like redis://127.0.0.1:6379/0.") from None
