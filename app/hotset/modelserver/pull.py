"""`/api/pull`: what the server has is there already, and nothing else can be had."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

from hotset.modelserver import describe
from hotset.modelserver.profiles import Profile
from hotset.modelserver.refusals import Refusal


async def progress(profile: Profile | None, known: Iterable[str]) -> AsyncGenerator[dict[str, Any], None]:
    """The progress of a pull; None is a model that this server does not have."""
    yield {"status": "pulling manifest"}
    if profile is None:
        raise Refusal(
            500, f"pull model manifest: file does not exist (simulated: there are only {', '.join(sorted(known))})"
        )
    digest, size = describe.digest(profile.name), describe.mib(profile.model.size_mb)
    yield {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": size, "completed": size}
    for status in ("verifying sha256 digest", "writing manifest", "success"):
        yield {"status": status}
