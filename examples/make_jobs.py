"""Makes `classic.jobs.jsonl`: 400 jobs that arrive at random at 0.7 of what the classic GPU could do without swaps.

python examples/make_jobs.py > examples/classic.jobs.jsonl
"""

# ruff: noqa: T201 - an example prints

import json
import random

LOAD, SLOTS, JOBS = 0.7, 2, 400
#: queue: (share of the jobs, mean run in model seconds, deadline in model seconds)
QUEUES = {"tinyllama": (0.275, 2.0, 30.0), "qwen": (0.45, 8.0, 120.0), "deepseek": (0.275, 25.0, 600.0)}


def main() -> None:
    draw = random.Random(7)
    mean_run_s = sum(share * run_s for share, run_s, _ in QUEUES.values())
    arrive_s = 0.0
    for n in range(JOBS):
        arrive_s += draw.expovariate(LOAD * SLOTS / mean_run_s)
        queue = draw.choices(list(QUEUES), [share for share, _, _ in QUEUES.values()])[0]
        _, run_s, deadline_s = QUEUES[queue]
        print(
            json.dumps(
                {
                    "id": f"j{n:06}",
                    "arrive_s": round(arrive_s, 4),
                    "queue": queue,
                    "agent": f"{queue}-{draw.randrange(40)}",
                    # A log-normal with sigma 0.5 around the mean.
                    "run_s": round(run_s * draw.lognormvariate(-0.125, 0.5), 4),
                    "priority": draw.choices(["low", "normal", "high"], [1, 8, 1])[0],
                    "deadline_s": deadline_s,
                }
            )
        )


if __name__ == "__main__":
    main()
