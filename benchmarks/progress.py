"""Progress: what a bar costs: the same light rows with it and without, in turn; it decides how often it is drawn.

Rows are as light as they get, so that there is next to nothing that the bar could hide behind.  A terminal is one of
the system's, which another process reads.  Beside the time of the whole call stands what the bar itself takes of it, by
the clock of its thread: that counts also where a machine is too busy to tell 1 % of a second.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import pdparallel
import pdparallel.progress.reporter
from benchmarks.measure import difference, in_turn, paired, seconds, table, write
from benchmarks.speed import yes
from benchmarks.works import BY_NAME, quick_rows

#: How much of the speed without a bar the call is to have.
TO_REACH = 0.99

ENGINES = ("process", "auto")
ROUNDS = 21


@dataclass(frozen=True)
class Cost:
    """Medians in seconds of a call with a bar and without, and how quick the one is beside the other.

    ``own`` is the part of the call that the bar takes itself.
    """

    engine: str
    shown: str
    rows: int
    without: float
    seconds: float
    ratio: float
    own: float
    to_reach: float
    reached: bool
    same: bool
    pairs: int


@contextlib.contextmanager
def terminal() -> Iterator[IO[str]]:
    """A terminal to write to; what is written there is read by another process."""
    import pty

    ours, theirs = pty.openpty()
    reader = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(ours)
    try:
        with open(theirs, "w") as stream:
            yield stream
    finally:
        reader.kill()
        reader.wait()


@contextlib.contextmanager
def clocked() -> Iterator[list[float]]:
    """Counts the seconds of its thread's time that a bar takes, from its making to its end."""
    took: list[float] = [0.0]
    places = [(pdparallel.progress.reporter, "_made")]
    places += [(pdparallel.progress.reporter._Shown, name) for name in ("add", "under_way", "begin_phase", "close")]
    before = [getattr(*place) for place in places]

    def timed(func: Callable[..., Any]) -> Callable[..., Any]:
        def one(*args: Any) -> Any:
            began = time.thread_time()
            try:
                return func(*args)
            finally:
                took[0] += time.thread_time() - began

        return one

    try:
        for place, func in zip(places, before, strict=True):
            setattr(*place, timed(func))
        yield took
    finally:
        for place, func in zip(places, before, strict=True):
            setattr(*place, func)


def measure(engine: str, rows: int, rounds: int) -> list[Cost]:
    """All ways to show it in turn with none."""
    work = BY_NAME["light"]
    data = work.frame(rows)

    def call(progress: Any, error: IO[str]) -> Callable[[], Any]:
        def one() -> Any:
            with contextlib.redirect_stderr(error):
                return data.par(engine=engine, progress=progress).apply_rows(work.func)

        return one

    with terminal() as screen, open(os.devnull, "w") as file:
        ways: dict[str, Callable[[], Any]] = {
            "nothing": call(False, screen),
            "a bar on a terminal": call(True, screen),
            "lines in a file": call(True, file),
            "a callable": call(lambda done, total: None, screen),
        }
        for way in ways.values():  # imports, and the pool
            way()
        took, first = in_turn(ways, rounds)
        own: dict[str, float] = {}
        for name, way in ways.items():
            with clocked() as inside:
                spent, _ = seconds(way)
            own[name] = inside[0] / spent
    found = []
    for name in list(ways)[1:]:
        ratio = paired(took["nothing"], took[name])
        same = not difference(first[name], first["nothing"])
        found.append(
            Cost(
                engine,
                name,
                rows,
                statistics.median(took["nothing"]),
                statistics.median(took[name]),
                ratio,
                own[name],
                TO_REACH,
                same and ratio >= TO_REACH,
                same,
                rounds,
            )
        )
    return found


def main(quick: bool = False) -> list[Cost]:
    pdparallel.map(abs, range(4), engine="process")
    work = BY_NAME["light"]
    found: list[Cost] = []
    for engine in ENGINES:
        new = measure(engine, quick_rows(work) if quick else work.rows, 3 if quick else ROUNDS)
        for row in new:
            print(f"{row.engine}, {row.shown}: {row.ratio:.3f}", file=sys.stderr, flush=True)
        found += new
    write("progress", found, as_markdown(found), quick)
    return found


def as_markdown(found: list[Cost]) -> str:
    return table(
        "engine | light rows | shown | without, s | with it, s | beside it | to reach | reached | of it the bar",
        "lrlrrrrlr",
        (
            (
                row.engine,
                f"{row.rows:,}",
                row.shown,
                f"{row.without:.3f}",
                f"{row.seconds:.3f}",
                f"{row.ratio:.3f}",
                f"{row.to_reach:g}",
                yes(row.reached),
                f"{row.own:.2%}",
            )
            for row in found
        ),
    )


if __name__ == "__main__":
    main()
