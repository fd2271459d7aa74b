"""What it costs to hand a call over: it decides two constants of ``pdparallel.execution.placement``.

The same work, a given number of seconds in one process, is done here and by a pool that must start first, and by one
that is warm.  ``COLD_WORTH_SECONDS`` is about the least work at which it is worth to start a pool, since the caller
works on meanwhile; ``WARM_WORTH_SECONDS`` is about the least at which a warm pool is ahead.
"""

from __future__ import annotations

import statistics
import time

import pdparallel
from benchmarks.measure import seconds, write

PAIRS = 3
WORKS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)


def busy(duration: float) -> float:
    """Keep a core busy for so many seconds of its own time."""
    end = time.thread_time() + duration
    while time.thread_time() < end:
        pass
    return duration


def main(quick: bool = False) -> list[dict[str, float]]:
    found = []
    for work in WORKS[:2] if quick else WORKS:
        units = [work / 200] * 200
        here, cold, warm = [], [], []
        for _ in range(1 if quick else PAIRS):
            here.append(seconds(lambda units=units: pdparallel.map(busy, units, engine="serial"))[0])
            pdparallel.shutdown()
            cold.append(seconds(lambda units=units: pdparallel.map(busy, units, engine="process"))[0])
            warm.append(seconds(lambda units=units: pdparallel.map(busy, units, engine="process"))[0])
        found.append(
            {
                "work": work,
                "here": statistics.median(here),
                "cold": statistics.median(cold),
                "warm": statistics.median(warm),
            }
        )
    lines = ["| seconds of work | here | cold pool | warm pool |", "|---:|---:|---:|---:|"]
    lines += [f"| {row['work']:.2f} | {row['here']:.2f} | {row['cold']:.2f} | {row['warm']:.2f} |" for row in found]
    write("handover", found, "\n".join(lines), quick)
    return found


if __name__ == "__main__":
    main()
