"""Makes docs/images/top.svg: a frame of `hotset top` from a real fleet with a simulated GPU, in the middle of its work.

python docs/images/make_top.py
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from rich.console import Console

from hotset.cli.demo.world import open_world
from hotset.cli.top.eye import LOOK_S, Eye, Moment
from hotset.cli.top.frame import frame

COLUMNS, LINES = 128, 40
TARGET = Path(__file__).with_name("top.svg")
LONGEST_S = 150.0
#: Slow enough that a look twice a second sees every swap.
SCALE = 0.2
#: Worth a picture: so many swaps seen, all slots taken and jobs waiting.
SWAPS, DONE = 2, 20


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hotset-top-") as folder:
        Path(folder).chmod(0o711)  # root's servers run as another account, which has to walk through
        moment = _work(Path(folder) / "home")
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, file=nowhere, force_terminal=True, width=COLUMNS, height=LINES)
        console.print(frame(moment, rows=LINES))
        TARGET.write_text(console.export_svg(title="hotset top"), "utf-8")


def _work(home: Path) -> Moment:
    with open_world(home, scale=SCALE, keep=True) as world, Eye(world.client.settings) as eye:
        world.submit(2)
        until = time.monotonic() + LONGEST_S
        moment = eye.look()
        while not _telling(moment) and time.monotonic() < until:
            time.sleep(LOOK_S)
            moment = eye.look()
        world.settled = True
        return moment


def _telling(moment: Moment) -> bool:
    gpu = next(iter(moment.gpus.values()), None)
    return (
        gpu is not None
        and gpu.busy == gpu.slots
        and len(moment.running) == gpu.slots
        and sum(swap.at is not None for swap in moment.swaps) >= SWAPS
        and sum(moment.pulse.ended.values()) >= DONE
        and any(queue.waiting for queue in moment.queues)
    )


if __name__ == "__main__":
    main()
