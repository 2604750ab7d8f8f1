"""The table of docs/model-server.md: each point of what Ollama does, and the tests that show it or why none does.

`make ollama-table` writes it; `test_model_server_table.py` fails when it is out of date.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE / "contracts"
BOTH = {"test_model_server_contract", "test_model_server_official"}  # these run against a real Ollama too
DOC = HERE.parent / "docs" / "model-server.md"
BEGIN = "<!-- made by `make ollama-table` -->"
END = "<!-- end of the table -->"

POINTS = {
    1: "a request for a resident model passes the queue by, and is not bounded by it",
    2: "the queue holds OLLAMA_MAX_QUEUE (512) requests, then 503",
    3: "it is first in, first out, and its head blocks all others",
    4: "who waits for a turn on a loaded model does not count towards the limit",
    5: "three models per GPU at most",
    6: "victims: idle first, then the shortest keep_alive, then path order",
    7: "a busy victim gets a keep_alive of 0, and the head waits",
    8: "newcomers for the victim can starve the head",
    9: "other load options, or a dead process, are a hidden swap",
    10: "num_ctx is clipped to the trained context, and at least 4",
    11: "a pending request whose client has left is dropped",
    12: "loading blocks the queue",
    13: "a loading model is not listed by /api/ps",
    14: "the client's leaving aborts the load that it caused",
    15: "a load that stalls: 500 `timed out waiting for llama-server to start`",
    16: "the process dies: 500 `llama-server process has terminated`",
    17: "out of memory at load: one more try, after everything else is evicted",
    18: "the estimate of a model is its file and the KV cache of num_ctx × parallel",
    19: "80 % of free VRAM beside others; alone it loads anyway, partly on the CPU",
    20: "after an unload it waits until the VRAM is back",
    21: "the default num_ctx is 4096 below 23 GiB of VRAM",
    22: "OLLAMA_NUM_PARALLEL requests at once per model; embedding models one",
    23: 'keep_alive: seconds, a Go duration, negative for ever; `"300"` is 400',
    24: "the last keep_alive wins, from its start; it counts when nothing runs",
    25: "keep_alive 0: unload when idle; without a prompt at once, `unload`",
    26: "an empty prompt loads only: one object, `load`",
    27: "streams are NDJSON, else one JSON object",
    28: "an error is a status before the first chunk, and a line after it",
    29: "what a chunk has, and what the last one adds",
    30: "a client that leaves frees its slot",
    31: "an endless repetition ends without a done line",
    32: "num_predict −1 is 10 × num_ctx",
    33: "unknown model 404, no model 400, no body 400",
    34: "wrong option type 500, unknown options ignored",
    35: "think on a model that cannot is 400; thinking models think by default",
    36: "format: json, or a schema",
    37: "/api/embed",
    38: "/api/ps",
    39: "/api/tags, /api/show, /api/version, /",
    40: "the official client has no timeout; an error line in mid-stream has status −1",
    41: "refused connections and timeouts in the official client",
    42: "what the official client sends; closing its generator cancels",
}

LEFT_OUT = {
    18: "a model's `size_mb` is measured and includes the KV cache, so num_ctx does not change it",
}

# What a point that is shown leaves out nevertheless.
PARTLY = {
    6: "models have no files here: names stand for paths",
    9: "no adapters; a process dies by the fault `crash`, there is none to ping",
    15: "by the fault `load_timeout`",
    16: "by the fault `load_crash`; in a run Ollama says `an error was encountered while running the model` (`crash`)",
    17: "by the faults `load_oom` and `load_oom_once`; the try with a smaller automatic context is left out",
    19: "with `--admission ollama`; num_gpu 0 reloads a model and changes nothing else",
    20: "by a profile's `unload_s` (default 0: a measured `load_s` includes the wait)",
    21: "the default is the fleet file's `context`, 4096 if it says none, whatever the VRAM",
    31: "by the fault `repeat`: simulated words do not repeat 30 times",
}


@dataclass(frozen=True)
class Shown:
    """A test, and whether it runs against a real Ollama too."""

    test: str
    real: bool


def shown() -> dict[int, list[Shown]]:
    """The marked tests by point, read from their source."""
    found: dict[int, list[Shown]] = defaultdict(list)
    for path in sorted(TESTS.glob("test_model_server_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                for point in points(node):
                    arguments = {argument.arg for argument in node.args.args}
                    found[point].append(Shown(node.name, "server" in arguments and path.stem in BOTH))
    return found


def points(node: ast.FunctionDef) -> Iterator[int]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.ollama":
            yield from (ast.literal_eval(argument) for argument in decorator.args)


def table() -> str:
    by_point = shown()
    lines = [BEGIN, "| | what Ollama does | shown by | real Ollama too | left out |", "|---|---|---|---|---|"]
    for point, what in POINTS.items():
        tests = by_point.get(point, [])
        names = ", ".join(f"`{each.test.removeprefix('test_')}`" for each in tests) or "–"
        real = sum(each.real for each in tests)
        real_too = "–" if not real else "yes" if real == len(tests) else f"{real} of {len(tests)}"
        rest = f"**left out**: {LEFT_OUT[point]}" if point in LEFT_OUT else PARTLY.get(point, "")
        lines.append(f"| {point} | {what} | {names} | {real_too} | {rest} |")
    return "\n".join([*lines, END])


def in_doc() -> str:
    text = DOC.read_text(encoding="utf-8")
    return text[text.index(BEGIN) : text.index(END) + len(END)]


if __name__ == "__main__":
    DOC.write_text(DOC.read_text(encoding="utf-8").replace(in_doc(), table()), encoding="utf-8")
