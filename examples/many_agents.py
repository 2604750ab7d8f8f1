"""Three agents of three tiers at once; answers are printed as they come.

hotset up; hotset serve --simulate --scale 0.05 &
HOTSET_SCALE=0.05 hotset worker &
HOTSET_SCALE=0.05 python examples/many_agents.py
"""

# ruff: noqa: T201 - an example prints

from concurrent.futures import ThreadPoolExecutor

import hotset

ASKED = [
    {"agent": "system-architect", "prompt": "Design a queue for a GPU that holds one model.", "deadline": "10m"},
    {"agent": "senior-backend-developer", "prompt": "Write a health check for it.", "priority": "high"},
    {"agent": "log-aggregator-loki", "prompt": "Which three log lines should it write?"},
]


def main() -> None:
    with hotset.Client() as client:
        jobs = client.submit_many(ASKED)  # one transaction: all of them are accepted, or none
        with ThreadPoolExecutor(len(jobs)) as waiting:
            for asked, result in zip(ASKED, waiting.map(lambda job: job.result(timeout=300), jobs), strict=True):
                mark = " (SIMULATED: the words mean nothing)" if result.simulated else ""
                print(f"{asked['agent']} by {result.model}{mark}:\n{result.text[:200]}\n")


if __name__ == "__main__":
    main()
