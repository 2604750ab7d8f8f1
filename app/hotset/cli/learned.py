"""What was learned, by model, as `--json` prints it and tables are made of."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hotset.learning import EMPTY, KINDS, QUEUE_WORTH, Key, Kind, figures
from hotset.store import costs, ledger
from hotset.store.costs import Cost

if TYPE_CHECKING:
    from hotset.client import Client
    from hotset.store.ledger import Accuracy


def learned_now(client: Client) -> dict[str, dict[str, Any]]:
    """By model of the fleet."""
    found = costs.read(client.engine).costs
    off = {a.queue: a for a in ledger.accuracy(client.engine)}
    fleet, known = client.fleet, _Known(found)
    return {
        name: {
            "load_s": known.figure("load", name, model.load_s),
            "drain_s": known.figure("drain", name, None),
            "tokens_per_s": known.figure("rate", name, model.tokens_per_s),
            "size_mb": known.last("size", name),
            "queues": {
                queue.name: {
                    "run_s": known.figure("run", queue.name, queue.run_s),
                    "output_tokens": known.figure("tokens", queue.name, None),
                    "agents": known.agents(queue.name),
                    "forecasts": _accuracy(off.get(queue.name)),
                }
                for queue in fleet.queues.values()
                if queue.model == name
            },
        }
        for name, model in fleet.models.items()
    }


class _Known:
    def __init__(self, found: tuple[Cost, ...]) -> None:
        self._all = costs.by_key(found)
        self._by_gpu: dict[Key, list[Cost]] = {}
        for cost in sorted(found, key=lambda c: c.gpu):
            self._by_gpu.setdefault(cost.key, []).append(cost)

    def figure(self, kind: Kind, name: str, stated: float | None) -> dict[str, Any]:
        """Over all GPUs, and of each that has seen something."""
        key, worth = Key(kind, name), KINDS[kind].worth
        over_all = _figure(self._all.get(key, EMPTY), stated, worth)
        gpus = {c.gpu: _figure(c.sketch, stated, worth) for c in self._by_gpu.get(key, ())}
        return {**over_all, "gpus": gpus}

    def last(self, kind: Kind, name: str) -> dict[str, float]:
        """The newest of each GPU."""
        return {c.gpu: c.sketch.last for c in self._by_gpu.get(Key(kind, name), ())}

    def agents(self, queue: str) -> dict[str, Any]:
        run_s = self._all.get(Key("run", queue), EMPTY).mean()
        return {
            key.agent: {
                "run_s": _figure(sketch, run_s, QUEUE_WORTH),
                "output_tokens": _figure(self._all.get(Key("tokens", queue, key.agent), EMPTY), None, 0.0),
            }
            for key, sketch in sorted(self._all.items())
            if key.kind == "run" and key.name == queue and key.agent
        }


def _figure(sketch: Any, stated: float | None, worth: float) -> dict[str, Any]:
    """`stated`: before anything was seen; `value`: what is reckoned with; None where there is neither."""
    known = figures(sketch, stated or 0.0, worth)
    value = known.value if stated is not None or known.count else None
    return {"stated": stated, "value": value, "mean": known.mean, "p50": known.p50, "n": known.count}


def _accuracy(found: Accuracy | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {k: v for k, v in asdict(found).items() if k != "queue"}
