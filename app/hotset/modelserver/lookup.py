"""From the name in a request to a model of the fleet, and to what the request needs of the GPU."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from hotset.models.names import canonical
from hotset.modelserver.gpu import Want
from hotset.modelserver.options import check, load_options
from hotset.modelserver.profiles import Profile
from hotset.modelserver.refusals import not_found


class Lookup:
    """The models by canonical name, and the count that names requests in the trace."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = dict(profiles)
        self._numbers = itertools.count(1)

    def profile(self, name: str) -> Profile:
        """With or without `:latest`. Refuses with 404."""
        profile = self.find(name)
        if profile is None:
            raise not_found(name)
        return profile

    def find(self, name: str) -> Profile | None:
        return self._profiles.get(canonical(name))

    @property
    def profiles(self) -> list[Profile]:
        return list(self._profiles.values())

    def want(self, profile: Profile, options: Mapping[str, Any], keep_alive_s: float | None) -> Want:
        """Refuses bad options."""
        check(options)
        loaded_with = load_options(options, trained_context=profile.trained_context)
        context = loaded_with.context(profile.model.context)
        return Want(profile, loaded_with, context, keep_alive_s, options.get("hotset_fault"))

    def job(self, options: Mapping[str, Any]) -> str:
        """The request's name in the trace: its option `hotset_job`, else a number."""
        given = options.get("hotset_job")
        return given if isinstance(given, str) and given else f"r{next(self._numbers):06d}"
