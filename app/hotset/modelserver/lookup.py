"""From the name in a request to a model of the fleet, and to what the request needs of the GPU."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from hotset.fleet import Fleet, Model
from hotset.models.names import canonical
from hotset.modelserver.describe import trained_context
from hotset.modelserver.gpu import Want
from hotset.modelserver.options import check, load_options
from hotset.modelserver.refusals import not_found


class Lookup:
    """The fleet's models by canonical name, and the count that names requests in the trace."""

    def __init__(self, fleet: Fleet) -> None:
        self._models = {canonical(model.name): model for model in fleet.models.values()}
        self._numbers = itertools.count(1)

    def model(self, name: str) -> Model:
        """With or without `:latest`. Refuses with 404."""
        model = self._models.get(canonical(name))
        if model is None:
            raise not_found(name)
        return model

    @property
    def models(self) -> list[Model]:
        return list(self._models.values())

    def want(self, model: Model, options: Mapping[str, Any], keep_alive_s: float | None) -> Want:
        """Refuses bad options."""
        check(options)
        loaded_with = load_options(options, trained_context=trained_context(model))
        context = loaded_with.context(model.context)
        return Want(model, loaded_with, context, keep_alive_s, options.get("hotset_fault"))

    def job(self, options: Mapping[str, Any]) -> str:
        """The request's name in the trace: its option `hotset_job`, else a number."""
        given = options.get("hotset_job")
        return given if isinstance(given, str) and given else f"r{next(self._numbers):06d}"
