"""A model server whose tokens are the times at which it sends them: "0:1767225600000000000 1:1767225600100000000 ...".

So a client knows of each token how old it is, whatever it came through. It speaks as much of Ollama's API as a worker
uses, holds every model, and answers any number of requests at once. A process of its own, on this machine's clock.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Wall seconds before the first token, and between two.
FIRST_S = 0.1
EVERY_S = 0.1
_START_S = 20.0
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
#: Models by name; all fit.
_LOADED: dict[str, None] = {}


@contextmanager
def stamping(port: int) -> Iterator[None]:
    """Serve on that port of 127.0.0.1 while the block lasts."""
    # A fresh interpreter: this one may hold threads and connections.
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_serve, args=(port, ready), name="stamps", daemon=True)
    process.start()
    try:
        if not ready.wait(_START_S):
            raise TimeoutError(f"The model server of the bench did not start within {_START_S:g} s.")
        yield
    finally:
        process.terminate()
        process.join()


def ages_ms(text: str, now_ns: int) -> list[float]:
    """Of the tokens in a piece of an answer: how long ago each was sent."""
    return [(now_ns - int(token.partition(":")[2])) / 1e6 for token in text.split()]


def is_whole(text: str, tokens: int) -> bool:
    """Whether an answer holds each token once, in order."""
    return [token.partition(":")[0] for token in text.split()] == [str(i) for i in range(tokens)]


def _serve(port: int, ready: Any) -> None:
    async def main() -> None:
        server = await asyncio.start_server(_converse, "127.0.0.1", port, backlog=1024)
        ready.set()
        await server.serve_forever()

    asyncio.run(main())


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split(b" ", 2)[1].decode()
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            body = json.loads(await reader.readexactly(length)) if length else {}
            if path == "/api/generate" and body.get("prompt"):
                await _generate(writer, body)
            else:
                _answer(writer, _facts(path, body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


def _facts(path: str, body: dict[str, Any]) -> dict[str, Any]:
    match path:
        case "/api/version":
            return {"version": "0.0.0-stamps", "simulated": True}
        case "/api/ps":
            return {"models": [{"name": name, "size": 1, "size_vram": 1} for name in _LOADED]}
        case "/api/generate":
            if body.get("keep_alive") == 0:
                _LOADED.pop(body["model"], None)
            else:
                _LOADED[body["model"]] = None
            return {"model": body["model"], "response": "", "done": True, "done_reason": "load"}
    return {"models": []}


def _answer(writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
    said = json.dumps(value).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said) + said)


async def _generate(writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
    """`num_predict` tokens at a steady rate, as one stream of JSON lines."""
    model, tokens = body["model"], int(body.get("options", {}).get("num_predict", 1))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
    due = asyncio.get_running_loop().time() + FIRST_S
    for number in range(tokens):
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        due += EVERY_S
        _line(writer, {"model": model, "response": f"{number}:{time.time_ns()} ", "done": False})
    figures = {"prompt_eval_count": 1, "eval_count": tokens, "eval_duration": int(tokens * EVERY_S * 1e9)}
    _line(writer, {"model": model, "response": "", "done": True, "done_reason": "stop", **figures})
    writer.write(b"0\r\n\r\n")


def _line(writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
    said = json.dumps(value).encode() + b"\n"
    writer.write(b"%x\r\n%b\r\n" % (len(said), said))
