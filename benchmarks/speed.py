"""Speed: each work by plain pandas and by pdparallel, in turn, against what is to be reached and what can be.

The *limit* is the bare function upon data that lies ready, shared by the workers: no way to hand out rows, to send
them, or to shape the result can be quicker than none.  It takes for granted that cores do not slow each other down;
whether they do is measured beside it, by bare processes that have nothing in common but the machine.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import pandas as pd

import pdparallel
from benchmarks import plots
from benchmarks.first_call import in_new_process
from benchmarks.measure import difference, folder, in_turn, paired, seconds, table, write
from benchmarks.works import WORKS, Work, first, loop_seconds, quick_rows
from pdparallel.core.cpu_count import usable_cores

#: A bare function that takes longer than this many seconds is run once only: it is a good part of pandas' own time, and
#: varies as little.
LONG = 1.0

#: First calls are measured upon a quarter of the rows: a pool's start weighs more there than upon all of them.
PART = 4
FIRST_PAIRS = 2

#: Seconds under which a first call varies much, and costs little to measure: so many pairs more.
SHORT, MORE_PAIRS = 1.0, 5

#: A warm call of two workers with nothing to do: seconds to reach, and the stretch.
WARM_CALL, WARM_STRETCH = 0.005, 0.002
WARM_TIMES = 50

#: Rounds of bare processes, of some tenths of a second each.
BARE_TIMES = 9


@dataclass(frozen=True)
class Speed:
    """A work's medians in seconds, and its speed-ups over pandas: measured, possible (``limit``), and aimed at."""

    name: str
    work: str
    rows: int
    pandas: float
    ours: float
    bare: float
    ratio: float
    limit: float
    of_limit: float
    to_reach: float
    stretch: float
    reached: bool
    same: bool
    pairs: int


@dataclass(frozen=True)
class First:
    """Medians in seconds of the first call in a new process."""

    name: str
    work: str
    rows: int
    pandas: float
    ours: float
    ratio: float
    to_reach: float
    reached: bool
    pairs: int


def bare(work: Work, data: object) -> float:
    """Seconds of a plain loop that calls the function; the units are made before, and gone after."""
    units, func = work.units(data), work.func

    def loop() -> None:
        for unit in units:
            func(unit)

    return seconds(loop)[0]


def measure(work: Work, quick: bool = False) -> Speed:
    """Both ways and the bare function in turn."""
    rows = quick_rows(work) if quick else work.rows
    pairs = 1 if quick else work.pairs
    data = work.frame(rows)
    loops = [bare(work, data)]
    took, got = in_turn({"pandas": lambda: work.pandas(data), "ours": lambda: work.ours(data)}, pairs)
    if loops[0] < LONG:
        loops += [bare(work, data) for _ in range(min(pairs, 5) - 1)]
    differs = difference(got["ours"], got["pandas"])
    if differs:
        print(f"{work.title}: {differs}", file=sys.stderr)
    plain, ratio = statistics.median(took["pandas"]), paired(took["pandas"], took["ours"])
    limit = plain / (statistics.median(loops) / (work.workers or usable_cores().number))
    return Speed(
        name=work.name,
        work=work.title,
        rows=rows,
        pandas=plain,
        ours=statistics.median(took["ours"]),
        bare=statistics.median(loops),
        ratio=ratio,
        limit=limit,
        of_limit=ratio / limit,
        to_reach=work.to_reach,
        stretch=work.stretch,
        reached=ratio >= work.to_reach and not differs,
        same=not differs,
        pairs=pairs,
    )


def first_call(work: Work, quick: bool = False) -> First:
    """The first call of a new process, pandas in one and ours in another, in turn."""
    rows = quick_rows(work) if quick else max(work.rows // PART, min(work.rows, 1_000))
    pairs = 1 if quick else FIRST_PAIRS
    theirs: list[float] = []
    ours: list[float] = []
    while len(ours) < pairs + (MORE_PAIRS if not quick and theirs and theirs[0] < SHORT else 0):
        theirs += in_new_process(work.name, rows, "pandas")
        ours += in_new_process(work.name, rows, "ours")
    ratio = paired(theirs, ours)
    middle, pairs = statistics.median(ours), len(ours)
    return First(work.name, work.title, rows, statistics.median(theirs), middle, ratio, 1.0, ratio >= 1, pairs)


def warm_call(times: int) -> float:
    """Median seconds of a call that asks two workers, who are up, for next to nothing."""
    two = pd.DataFrame({"lat1": [1.0, 2.0]})
    par = two.par(engine="process", n_workers=2, chunk_size=1)
    return statistics.median(seconds(lambda: par.apply_rows(first))[0] for _ in range(times + 1))


def cores_together(times: int) -> float:
    """How many times as much all cores do at once as one does alone, by processes that share nothing.

    Each runs the plain Python of the work of columns; no pool can make more of the machine.
    """
    cores = usable_cores().number
    together = []
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        for number in range(times + 1):
            alone = pool.submit(loop_seconds).result()
            at_once = [one.result() for one in [pool.submit(loop_seconds) for _ in range(cores)]]
            if number:  # before that they start
                together.append(sum(alone / one for one in at_once))
    return statistics.median(together)


def yes(reached: bool) -> str:
    return "yes" if reached else "NO"


def main(quick: bool = False) -> list[Speed]:
    found: list[Speed] = []
    for work in WORKS:
        pdparallel.map(abs, range(4), engine="process", n_workers=work.workers)  # warm, as from the second call on
        found.append(measure(work, quick))
        print(f"{found[-1].work}: {found[-1].ratio:.2f}", file=sys.stderr, flush=True)
    firsts: list[First] = []
    for work in WORKS[:2] if quick else WORKS:
        firsts.append(first_call(work, quick))
        print(f"first call, {firsts[-1].work}: {firsts[-1].ratio:.2f}", file=sys.stderr, flush=True)
    warm = warm_call(3 if quick else WARM_TIMES)
    together = cores_together(1 if quick else BARE_TIMES)
    write(
        "speed", found, as_markdown(found, firsts, warm, together), quick,
        first_calls=firsts, warm_call=[{"seconds": warm}], cores_together=[{"cores": together}],
    )  # fmt: skip
    plots.bars(
        folder(quick) / "speed.png",
        "Speed-up over plain pandas, pool warm",
        [(f"{row.work} ({row.rows:,})", row.ratio, row.to_reach, row.limit) for row in found],
    )
    return found


def as_markdown(found: Iterable[Speed], firsts: Iterable[First], warm: float, together: float) -> str:
    speeds = table(
        "work | rows | pandas, s | pdparallel, s | speed-up | limit | of the limit | to reach | reached | same result",
        "lrrrrrrrll",
        (
            (
                row.work,
                f"{row.rows:,}",
                f"{row.pandas:.3g}",
                f"{row.ours:.3g}",
                f"{row.ratio:.2f}",
                f"{row.limit:.1f}",
                f"{row.of_limit:.0%}",
                f"{row.to_reach:g}",
                yes(row.reached),
                yes(row.same),
            )
            for row in found
        ),
    )
    calls = table(
        "first call in a new process | rows | pandas, s | pdparallel, s | speed-up | to reach | reached",
        "lrrrrrl",
        (
            (
                row.work,
                f"{row.rows:,}",
                f"{row.pandas:.3g}",
                f"{row.ours:.3g}",
                f"{row.ratio:.2f}",
                f"{row.to_reach:g}",
                yes(row.reached),
            )
            for row in firsts
        ),
    )
    line = (f"{warm * 1_000:.1f}", f"{WARM_CALL * 1_000:g}", f"{WARM_STRETCH * 1_000:g}", yes(warm <= WARM_CALL))
    overhead = table("warm call of two workers with nothing to do, ms | to reach | stretch | reached", "rrrl", [line])
    cores = table(
        "bare processes of plain Python, one for each core | as many cores as have nothing to do with each other",
        "lr",
        [(f"{usable_cores().number}", f"{together:.2f}")],
    )
    return f"{speeds}\n\n{calls}\n\n{overhead}\n\n{cores}"


if __name__ == "__main__":
    main()
