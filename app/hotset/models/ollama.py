"""The client of an Ollama server (or of `hotset serve`): the worker's hands on one GPU. Thread-safe."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx

from hotset.errors import GenerationFailed, ModelServerUnavailable
from hotset.models.generation import OllamaGeneration, unavailable
from hotset.models.lanes import Lanes, connection
from hotset.models.names import canonical
from hotset.models.protocol import Loaded, Prompt, ServerInfo
from hotset.models.refusals import refusal

_MIB = 1024 * 1024
_FOREVER = -1
_LONGEST_DIGEST = 200
_POLL_S = (0.005, 0.1)  # from, to: an idle model is gone at once, a busy one takes a while
_ASK_AGAIN_S = 1.0  # somebody else's request may have set the keep_alive back (point 8 of what Ollama does)


class OllamaServer:
    """An Ollama server at `base_url`. Implements `hotset.models.protocol.ModelServer`.

    Timeouts are wall seconds: to connect, and for answers that need no model (`/api/ps` and its like).
    `connections`: how many are kept for the next request; more are made when more requests run.
    The environment's proxies are not used: a GPU's server is a neighbour.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float = 5.0,
        answer_timeout_s: float = 10.0,
        connections: int = 16,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.address = base_url.rstrip("/")
        self._connect_s = connect_timeout_s
        self._answer_s = answer_timeout_s
        secure = self.address.startswith("https:")
        verify: ssl.SSLContext | bool = ssl.create_default_context() if secure else False
        self._lanes = Lanes(self.address, headers=headers or {}, verify=verify, keep=connections)
        self._client = httpx.Client(
            base_url=self.address,
            headers=dict(headers or {}),
            trust_env=False,
            transport=connection(
                verify, httpx.Limits(max_connections=None, max_keepalive_connections=connections, keepalive_expiry=30.0)
            ),
        )

    def __enter__(self) -> OllamaServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def info(self) -> ServerInfo:
        """Its version, whether it says that it is simulated, and the models it could load (canonical names)."""
        version = self._ask("GET", "/api/version", timeout_s=self._answer_s)
        tags = self._ask("GET", "/api/tags", timeout_s=self._answer_s)
        return ServerInfo(
            version=str(version.get("version", "")),
            simulated=version.get("simulated") is True,
            models=tuple(canonical(str(row["name"])) for row in tags.get("models") or ()),
        )

    def resident(self) -> tuple[Loaded, ...]:
        """What is loaded now, by anyone; names are canonical (`hotset.models.canonical`)."""
        rows = self._ask("GET", "/api/ps", timeout_s=self._answer_s).get("models") or ()
        return tuple(
            Loaded(
                model=canonical(str(row["name"])),
                size_mb=row.get("size", 0) / _MIB,
                vram_mb=row.get("size_vram", 0) / _MIB,
                digest=str(row.get("digest", ""))[:_LONGEST_DIGEST],
            )
            for row in rows
        )

    def load(self, model: str, options: Mapping[str, Any], *, timeout_s: float) -> None:
        """Load with these options and keep; returns when the model is resident. A timeout aborts the load."""
        body = {"model": model, "options": dict(options), "keep_alive": _FOREVER, "stream": False}
        said = self._ask("POST", "/api/generate", timeout_s=timeout_s, model=model, body=body)
        if said.get("done") is not True:
            raise GenerationFailed(f"The model server did not say that it has loaded {model}: {said}.")

    def unload(self, model: str, *, timeout_s: float) -> None:
        """Evict; returns when `/api/ps` no longer shows it. A model that runs for others goes when they are done.

        Raises GenerationFailed (retryable) when it is still there after `timeout_s`.
        """
        body = {"model": model, "keep_alive": 0, "stream": False}
        deadline = time.monotonic() + timeout_s
        asked = -_ASK_AGAIN_S
        pause, longest = _POLL_S
        while True:
            now = time.monotonic()
            if now - asked >= _ASK_AGAIN_S:
                self._ask("POST", "/api/generate", timeout_s=self._answer_s, model=model, body=body)
                asked = now
            if canonical(model) not in {loaded.model for loaded in self.resident()}:
                return
            if now >= deadline:
                raise GenerationFailed(
                    f"{model} is still loaded {timeout_s:g} s after it was asked to go.",
                    remedy="Another client of the model server keeps it busy; see `hotset status`.",
                )
            time.sleep(min(pause, max(0.0, deadline - now)))
            pause = min(2 * pause, longest)

    def generate(self, prompt: Prompt, *, first_token_timeout_s: float, stall_timeout_s: float) -> OllamaGeneration:
        """A streamed request, sent at the iterator's first step. Errors are raised by the iterator.

        It leaves the model's keep_alive as the load set it: saying it again would take back an eviction that another
        client waits for, who then could wait for ever (point 8 of what Ollama does).
        Where a proxy sends headers before the first token, the wait for that token is bounded by the stall timeout.
        """
        body: dict[str, Any] = {
            "model": prompt.model,
            "prompt": prompt.prompt,
            "options": dict(prompt.options),
            "stream": True,
        }
        if prompt.system is not None:
            body["system"] = prompt.system
        return OllamaGeneration(
            self._lanes,
            body,
            address=self.address,
            connect_timeout_s=self._connect_s,
            first_token_timeout_s=first_token_timeout_s,
            stall_timeout_s=stall_timeout_s,
        )

    def close(self) -> None:
        """Close the idle connections; running generations end on their own (or by their `close`)."""
        self._lanes.close()
        self._client.close()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        model: str = "",
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One question, one JSON object."""
        timeout = httpx.Timeout(timeout_s, connect=self._connect_s)
        try:
            response = self._client.request(method, path, json=body, timeout=timeout)
        except httpx.ReadTimeout as error:
            if model:
                raise GenerationFailed(f"{model} was not ready after {timeout_s:g} s.") from error
            raise unavailable(self.address, error) from error
        except httpx.HTTPError as error:
            raise unavailable(self.address, error) from error
        if response.status_code != 200:
            if not model:
                raise ModelServerUnavailable(
                    f"{self.address}{path} answers with status {response.status_code}.",
                    remedy="Is this the address of an Ollama server?",
                )
            raise refusal(response.status_code, response.text, model)
        try:
            said = response.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ModelServerUnavailable(
                f"{self.address}{path} does not answer with a JSON object.",
                remedy="Is this the address of an Ollama server?",
            )
        return said
