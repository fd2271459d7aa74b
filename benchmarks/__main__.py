"""Run the benchmarks, all or those that are named: ``make bench``, or ``python -m benchmarks speed peers --quick``."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import (
    cluster,
    compiled,
    constants,
    death,
    doors,
    faults,
    features,
    handover,
    memory,
    peers,
    progress,
    scale,
    small,
    speed,
    waiting,
    when_it_helps,
)
from benchmarks.measure import folder

#: In this order: first what has long been shown in the README, then side by side with others, then alone.
ALL = {
    "when_it_helps": when_it_helps.main,
    "speed": speed.main,
    "doors": doors.main,
    "small": small.main,
    "peers": peers.main,
    "scale": scale.main,
    "memory": memory.main,
    "progress": progress.main,
    "waiting": waiting.main,
    "compiled": compiled.main,
    "cluster": cluster.main,
    "handover": handover.main,
    "constants": constants.main,
    "death": death.main,
    "faults": faults.main,
    "features": features.main,
}


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks of pdparallel.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which: {', '.join(ALL)}; all by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see whether all runs; no figure counts")
    asked = parser.parse_args(given)
    unknown = [name for name in asked.names if name not in ALL]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(ALL)}")
    for name in asked.names or ALL:
        began = time.perf_counter()
        ALL[name](quick=asked.quick)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"Tables, figures and pictures are in {folder(asked.quick)}", file=sys.stderr)


if __name__ == "__main__":
    main()
