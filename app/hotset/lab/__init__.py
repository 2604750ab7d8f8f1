"""Benchmarks: each sets hotset beside something a user knows, on the same servers, in one call.

    run_bench("overhead", stage=stage, runs=3)   # one object, as docs/formats.md gives it

The servers come from a `Stage`, which the command line makes: a bench decides what is measured, not what it runs on.
"""

from hotset.lab.benches import BENCHES, Bench, bench_named, run_bench
from hotset.lab.stage import Addresses, Breakable, BreakableServers, Running, Stage
from hotset.lab.trace_check import TraceReport, check_trace, read_traces

__all__ = [
    "BENCHES",
    "Addresses",
    "Bench",
    "Breakable",
    "BreakableServers",
    "Running",
    "Stage",
    "TraceReport",
    "bench_named",
    "check_trace",
    "read_traces",
    "run_bench",
]
