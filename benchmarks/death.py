"""How long it takes until a killed worker is an error: the promise is two seconds on every engine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pathos.pools

import pdparallel
from benchmarks.measure import write

TIMES = 5


def _dies(x: int) -> int:
    """Kill the worker at the fourth item."""
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return x


def _seconds(engine: Any, **options: Any) -> float:
    pdparallel.map(abs, range(8), engine=engine, n_workers=2, **options)
    began = time.perf_counter()
    try:
        pdparallel.map(_dies, range(8), engine=engine, n_workers=2, chunk_size=1, **options)
    except pdparallel.WorkerDiedError:
        return time.perf_counter() - began
    raise AssertionError("a killed worker was not noticed")


def main(quick: bool = False) -> list[dict[str, Any]]:
    repeats = 1 if quick else TIMES
    fork = multiprocessing.get_context("fork")
    found: list[dict[str, Any]] = []

    def note(engine: str, times: list[float]) -> None:
        found.append({"engine": engine, "median": statistics.median(times), "longest": max(times)})

    for name in ("process", "pathos"):
        for method in ("forkserver", "spawn", "fork"):
            note(f"{name}, {method}", [_seconds(name, start_method=method) for _ in range(repeats)])
    for label, make in (
        ("a ProcessPoolExecutor of yours", lambda: ProcessPoolExecutor(2, mp_context=fork)),
        ("a multiprocessing.Pool of yours", lambda: fork.Pool(2)),
    ):
        times = []
        for _ in range(repeats):
            with make() as pool:
                times.append(_seconds(pool))
        note(label, times)
    times = []
    for number in range(repeats):
        pool = pathos.pools.ProcessPool(nodes=2, id=f"death-{number}")
        times.append(_seconds(pool))
        pool.terminate()
        pool.join()
        pool.clear()
    note("a pathos ProcessPool of yours", times)
    lines = ["| engine | seconds to WorkerDiedError, median | longest |", "|---|---:|---:|"]
    lines += [f"| {row['engine']} | {row['median']:.2f} | {row['longest']:.2f} |" for row in found]
    write("death", found, "\n".join(lines), quick)
    return found


if __name__ == "__main__":
    main()
