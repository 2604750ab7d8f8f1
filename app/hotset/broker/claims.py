"""Claims on loads: several GPUs decide without a leader, and never load more replicas of a model than they wanted.

A GPU looks (`look`), decides, and takes the claim (`take`) on what it has seen. When the picture has changed since,
the claim is refused, and the GPU looks and decides again. What a claim reserves are the slots of its GPU: others see
the GPU as one that holds the model already, and leave to it what those slots will start.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis

from hotset.broker.board import KEEP_S, GpuState, read_state, will_hold
from hotset.broker.scripts import lua

#: Why a claim was not given. rival: another worker serves the GPU. moved: somebody's hot set has changed since the
#: look. enough: as many hold or load the model as were wanted. last: jobs wait for a victim that nobody else holds.
Refusal = Literal["rival", "moved", "enough", "last"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The worker of that GPU is about to load the model in place of the victims."""

    model: str
    gpu: str
    worker: str
    victims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """The GPUs that are alive and their claims, at one moment. `version` stands for that moment."""

    version: str
    gpus: Mapping[str, GpuState]
    claims: tuple[Claim, ...]

    def claim_of(self, gpu: str) -> Claim | None:
        """What that GPU has claimed and does not say itself yet."""
        if self.gpus[gpu].loading is not None:
            return None
        return next((c for c in self.claims if c.gpu == gpu and self._lives(c)), None)

    def holds(self, gpu: str) -> tuple[str, ...]:
        """The models that it has and keeps, or loads; what it has claimed counts already."""
        state, claim = self.gpus[gpu], self.claim_of(gpu)
        return state.holds if claim is None else will_hold(state.residents, claim.victims, claim.model)

    def replicas(self, model: str, *, but: str) -> set[str]:
        """The GPUs, without that one, that hold the model and keep it, or load it, or have claimed it."""
        found = {name for name in self.gpus if model in self.holds(name)}
        found |= {c.gpu for c in self.claims if c.model == model and self._lives(c)}
        return found - {but}

    def _lives(self, claim: Claim) -> bool:
        """A claim ends with its worker."""
        state = self.gpus.get(claim.gpu)
        return state is not None and state.worker == claim.worker


NOBODY = Look("", {}, ())


class Claims:
    def __init__(self, client: redis.Redis, *, keep_s: float = KEEP_S) -> None:
        self._keep_ms = round(keep_s * 1000)
        self._take = client.register_script(lua("take"))
        self._others = client.register_script(lua("others"))

    def look(self, models: Iterable[str], *, unless: str = "") -> Look | None:
        """All GPUs, and the claims on these models; None while the version is still that one."""
        answer = cast(list[Any], self._others(args=[unless, *models]))
        if len(answer) == 1:
            return None
        states = [s for s in map(read_state, answer[1]) if s is not None]
        triples = zip(*[iter(answer[2])] * 3, strict=True)
        claims = tuple(_claim(model, gpu, json.loads(raw)) for model, gpu, raw in triples)
        return Look(answer[0], {state.name: state for state in states}, claims)

    def take(
        self,
        claim: Claim,
        *,
        want: int,
        seen: str,
        guarded: Mapping[str, Collection[str]],
        holds: Collection[str],
        life_s: float,
    ) -> Refusal | None:
        """Claim a load on what was seen at that version; None: it is ours.

        `want`: replicas there may be in the end. `guarded`: victims that are dispensable as far as was seen, with their
        queues. `holds`: what the GPU has and keeps from now on, or loads. `life_s`: wall seconds.
        """
        arguments: list[Any] = [claim.gpu, claim.worker, claim.model, json.dumps(claim.victims)]
        arguments += [json.dumps({victim: list(queues) for victim, queues in guarded.items()}), want, seen]
        arguments += [json.dumps(list(holds)), max(1, round(life_s * 1000)), self._keep_ms]
        return cast(Refusal | None, self._take(args=arguments))


def _claim(model: str, gpu: str, raw: dict[str, Any]) -> Claim:
    # Lua knows no empty array: it writes one as an object.
    return Claim(model, gpu, raw["worker"], tuple(raw["victims"]))
