"""Answers that are written as they come into being, and that end with their client: a stream, or one object."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hotset.modelserver.refusals import CutOff, Garbled, Refusal

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
_GARBLED = b'{"model":"tinyllama","created_at":"20\n'

Lines = AsyncGenerator[dict[str, Any], None]
Join = Callable[[list[dict[str, Any]]], dict[str, Any]]


def encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Json(Response):
    def __init__(self, value: Mapping[str, Any], status: int = 200) -> None:
        super().__init__(encode(value), status, media_type=None, headers={"content-type": JSON})


class Answer(Response):
    """Runs `lines` while its client listens. With `join` they become one object, else one line each.

    A client that leaves stops `lines` wherever they are, which frees what they hold; so does one that takes nothing for
    `patience_s` wall seconds. Until then a client that reads slowly holds its answer up, as nothing is kept for it. A
    Refusal before the first line is an answer with its status, later an error line inside the stream.
    """

    def __init__(self, lines: Lines, *, join: Join | None, patience_s: float) -> None:
        self._lines = lines
        self._join = join
        self._patience_s = patience_s
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not writing.done():
                writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing

    async def _write(self, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._patience_s):
                    await send(message)
            except TimeoutError:
                raise CutOff from None

        # CutOff: a body without its end, for which the server drops the connection.
        with contextlib.suppress(CutOff):
            async with contextlib.aclosing(self._lines) as lines:
                if self._join is not None:
                    await self._write_joined(lines, self._join, send_in_time)
                else:
                    await self._write_lines(lines, send_in_time)

    async def _write_joined(self, lines: Lines, join: Join, send: Send) -> None:
        status = 200
        try:
            body = encode(join([line async for line in lines]))
        except Refusal as refusal:
            body, status = encode({"error": refusal.message}), refusal.status
        except Garbled:
            body = _GARBLED
        await send(_start(status, JSON, length=len(body)))
        await send({"type": "http.response.body", "body": body})

    async def _write_lines(self, lines: Lines, send: Send) -> None:
        begun, status, kind, end = False, 200, NDJSON, b""
        try:
            async for line in lines:
                if not begun:
                    begun = True
                    await send(_start(200, NDJSON))
                await send({"type": "http.response.body", "body": encode(line) + b"\n", "more_body": True})
        except Refusal as refusal:
            end, status, kind = encode({"error": refusal.message}) + b"\n" * begun, refusal.status, JSON
        except Garbled:
            end = _GARBLED
        if not begun:
            await send(_start(status, kind, length=len(end)))
        await send({"type": "http.response.body", "body": end})


def _start(status: int, content_type: str, *, length: int | None = None) -> Message:
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
