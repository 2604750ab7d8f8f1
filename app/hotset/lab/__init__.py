"""Benchmarks: each sets hotset beside something a user knows, on the same servers, in one call.

    run_bench("overhead", stage=stage, runs=3)   # one object, as docs/formats.md gives it

The servers come from a `Stage`, which the command line makes: a bench decides what is measured, not what it runs on.
"""

from hotset.lab.benches import BENCHES, Bench, bench_named, run_bench
from hotset.lab.stage import Addresses, Running, Stage

__all__ = ["BENCHES", "Addresses", "Bench", "Running", "Stage", "bench_named", "run_bench"]
