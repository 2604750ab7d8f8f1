"""Models as `/api/ps`, `/api/tags` and `/api/show` describe them."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from hotset.modelserver.clock import Clock
from hotset.modelserver.profiles import Profile
from hotset.modelserver.residents import Resident

_MIB = 1024 * 1024
_FOREVER = timedelta(days=292 * 365.25)  # the longest duration that Go can write
_PARAMETERS = re.compile(r"(\d+(?:\.\d+)?[bm])\b", re.IGNORECASE)
_FAMILIES = (("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gemma", "gemma3"), ("nomic", "nomic-bert"), ("phi", "phi3"))


def tagged(name: str) -> str:
    """The name with its tag, as Ollama lists it."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def now() -> str:
    """RFC 3339, UTC, to the nanosecond as Go writes it (here to the microsecond)."""
    seconds, fraction = divmod(time.time(), 1.0)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(fraction * 1e6):06d}Z"


def loaded_row(resident: Resident, clock: Clock) -> dict[str, Any]:
    """A row of `/api/ps`; called in the event loop, whose timers it reads."""
    return {
        **_name(resident.name),
        "size": mib(resident.size_mb),
        "digest": digest(resident.name),
        "details": _details(resident.name),
        "expires_at": _expires(resident, clock),
        "size_vram": mib(resident.vram_mb),
        "context_length": resident.context,
    }


def tag_row(profile: Profile, since: str) -> dict[str, Any]:
    """A row of `/api/tags`."""
    return {
        **_name(profile.name),
        "modified_at": since,
        "size": mib(profile.model.size_mb),
        "digest": digest(profile.name),
        "details": _details(profile.name),
        "capabilities": list(profile.capabilities),
    }


def card(profile: Profile, since: str) -> dict[str, Any]:
    """The answer of `/api/show`."""
    details = _details(profile.name)
    family = details["family"]
    return {
        "modelfile": f"# a simulated model of hotset\nFROM {tagged(profile.name)}\n",
        "template": "{{ .System }}\n{{ .Prompt }}",
        "details": details,
        "model_info": {"general.architecture": family, f"{family}.context_length": profile.trained_context},
        "capabilities": list(profile.capabilities),
        "modified_at": since,
    }


def mib(size: float) -> int:
    """MiB in bytes."""
    return int(size * _MIB)


def digest(name: str) -> str:
    return hashlib.sha256(f"hotset simulated {name}".encode()).hexdigest()


def _name(name: str) -> dict[str, str]:
    return {"name": tagged(name), "model": tagged(name)}


def _details(name: str) -> dict[str, Any]:
    family = next((family for start, family in _FAMILIES if start in name), "llama")
    size = _PARAMETERS.search(name)
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": size[1].upper() if size else "",
        "quantization_level": "Q4_K_M",
    }


def _expires(resident: Resident, clock: Clock) -> str:
    if math.isinf(resident.keep_alive_s):
        left = _FOREVER
    elif resident.timer is not None:
        left = timedelta(seconds=resident.timer.when() - asyncio.get_running_loop().time())
    else:  # it runs: as if it ended now
        left = timedelta(seconds=min(clock.waited(resident.keep_alive_s), _FOREVER.total_seconds()))
    return (datetime.now(UTC) + left).isoformat().replace("+00:00", "Z")
