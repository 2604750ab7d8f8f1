"""A running `/api/generate`: lines of JSON become Chunks; any thread may break it off."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import httpx

from hotset.errors import GenerationFailed, HotsetError, ModelServerUnavailable
from hotset.models.lanes import Lane, Lanes
from hotset.models.protocol import Chunk, Usage
from hotset.models.refusals import error_line, refusal


class OllamaGeneration:
    """Iterate once for chunks; the request is sent at the first step, so that `close` can break even a load off.

    After `close` in another thread the iterator raises GenerationFailed: a text without its end is never taken for
    a whole one. `close` waits for nobody; while the connection is still being made it takes effect after that.
    """

    def __init__(
        self,
        lanes: Lanes,
        body: Mapping[str, Any],
        *,
        address: str,
        connect_timeout_s: float,
        first_token_timeout_s: float,
        stall_timeout_s: float,
    ) -> None:
        self._lanes = lanes
        self._body = body
        self._model = str(body["model"])
        self._address = address
        self._connect_s = connect_timeout_s
        self._first_s = first_token_timeout_s
        self._stall_s = stall_timeout_s
        self._stepping = threading.Lock()  # held by whoever iterates or tidies up
        self._state = threading.Lock()  # guards the two below
        self._lane: Lane | None = None
        self._closed = False
        self._response: httpx.Response | None = None
        self._lines: Iterator[str] | None = None
        self._seen_done = False
        self._over = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        try:
            with self._stepping:
                try:
                    return self._step()
                except BaseException:
                    self._finish()
                    raise
        finally:
            # `close` sets the flag before it tries the lock, we free the lock before we read the flag: one tidies up.
            if self._closed:
                self._tidy()

    def close(self) -> None:
        """Break the request off, which frees the server's slot. From any thread, any number of times."""
        with self._state:
            self._closed = True
            if self._lane is not None and not self._over:
                self._lane.cut()
        self._tidy()

    def _step(self) -> Chunk:
        if self._over:
            if self._closed and not self._seen_done:
                raise self._broken_off()
            raise StopIteration
        try:
            if self._lines is None:
                self._lines = self._send()
            line = self._next_line(self._lines)
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self._meaning(error) from error
        if line is None and self._seen_done:
            raise StopIteration
        if line is None:
            raise self._meaning(httpx.RemoteProtocolError("it ended without its last line"))
        chunk = self._chunk(line)
        self._seen_done = chunk.done
        return chunk

    def _send(self) -> Iterator[str]:
        with self._state:
            if self._closed:
                raise self._broken_off()
            lane = self._lane = self._lanes.take()
        timeout = httpx.Timeout(self._first_s, connect=self._connect_s)
        request = lane.client.build_request(
            "POST", "/api/generate", json=self._body, timeout=timeout, extensions={"trace": lane.trace}
        )
        self._response = lane.client.send(request, stream=True)
        # Read by httpcore when the body begins; Ollama's headers come with the first token.
        request.extensions["timeout"]["read"] = self._stall_s
        if self._response.status_code != 200:
            body = self._response.read().decode(errors="replace")
            raise refusal(self._response.status_code, body, self._model)
        return self._response.iter_lines()

    @staticmethod
    def _next_line(lines: Iterator[str]) -> str | None:
        for line in lines:
            if line.strip():
                return line
        return None

    def _chunk(self, line: str) -> Chunk:
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise GenerationFailed(
                f"The model server sent {self._model} a line that is no JSON object: {line[:200]!r}."
            )
        if "error" in said:
            raise error_line(said["error"], self._model)
        text, thinking = said.get("response") or "", said.get("thinking") or ""
        if not said.get("done"):
            return Chunk(text=text, thinking=thinking)
        return Chunk(text=text, thinking=thinking, done=True, done_reason=self._reason(said), usage=_usage(said))

    def _reason(self, said: Mapping[str, Any]) -> Literal["stop", "length"]:
        reason = said.get("done_reason")
        if reason in ("load", "unload"):
            raise GenerationFailed(
                f"The model server took the request to {self._model} for a mere {reason}.",
                retryable=False,
                remedy="The prompt is empty; give it some text.",
            )
        return "length" if reason == "length" else "stop"

    def _broken_off(self) -> GenerationFailed:
        return GenerationFailed(f"The generation on {self._model} was broken off by close().")

    def _meaning(self, error: Exception) -> HotsetError:
        """One of our errors for what the transport said."""
        if self._closed:
            return self._broken_off()
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)):
            return unavailable(self._address, error)
        if isinstance(error, httpx.ReadTimeout):
            what, bound = ("went silent", self._stall_s) if self._response else ("gave no first token", self._first_s)
            return GenerationFailed(
                f"{self._model} {what} for {bound:g} s.", remedy="`hotset doctor` probes each model of the server."
            )
        return GenerationFailed(f"The stream of {self._model} broke: {error or type(error).__name__}.")

    def _tidy(self) -> None:
        if self._stepping.acquire(blocking=False):
            try:
                self._finish()
            finally:
                self._stepping.release()

    def _finish(self) -> None:
        """Give the connection back. Only under `_stepping`."""
        with self._state:
            self._over = True
            lane, self._lane = self._lane, None
        if self._response is not None:
            self._response.close()
        if lane is not None:
            self._lanes.give(lane)


def unavailable(address: str, error: Exception) -> ModelServerUnavailable:
    """The error for a model server that does not answer."""
    return ModelServerUnavailable(
        f"The model server at {address} does not answer ({error or type(error).__name__}).",
        remedy="Is it running? `ollama serve`, or `hotset serve --simulate`, starts one.",
    )


def _usage(said: Mapping[str, Any]) -> Usage:
    def number(key: str) -> int:
        value = said.get(key)
        return value if isinstance(value, int) else 0

    return Usage(
        prompt_tokens=number("prompt_eval_count"),
        output_tokens=number("eval_count"),
        load_ms=number("load_duration") / 1e6,
        prompt_eval_ms=number("prompt_eval_duration") / 1e6,
        eval_ms=number("eval_duration") / 1e6,
        total_ms=number("total_duration") / 1e6,
    )
