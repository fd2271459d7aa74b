"""Rows that wait: coroutines of pdparallel beside a bare event loop, packages for it, and threads.

The bare loop is an ``asyncio.Semaphore`` with ``asyncio.gather``. Each way makes the same values: from rows that wait,
and from rows that return at once, which shows what a way costs by itself. The third table is the peak memory of a
million rows, each way in a new process. aiopandas needs pandas 2, so it runs in ``.venv-peers``, beside a bare loop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import pdparallel
from benchmarks.measure import in_turn, paired, table, write
from benchmarks.memory import size_of, status
from benchmarks.peers import OLD_PYTHON
from benchmarks.speed import yes

ROOT = Path(__file__).parent.parent

#: Calls under way at once, of coroutines and of threads; and the threads that the documentation advises.
AT_ONCE, FEW_THREADS = 100, 32

#: A call of pdparallel may take this many times the bare loop's time, if rows wait.
MAX_RATIO = 1.15

#: It may take this many microseconds a row more than the bare loop, if rows return at once.
MAX_MICROSECONDS = 30.0

#: It may take this much memory beyond the frame and its result.
MAX_MEGABYTES = 150.0

MEMORY_ROWS, MEMORY_ROWS_QUICK = 1_000_000, 2_000

#: Seconds that one process may take.
LIMIT = 1_200

BARE = "semaphore and gather"

#: Whether this version of pdparallel awaits coroutine functions.
HAS_COROUTINES = "max_concurrency" in pdparallel.get_options()


@dataclass(frozen=True)
class Case:
    """Rows whose function takes so many seconds, and how often they are measured."""

    name: str
    rows: int
    seconds: float
    rounds: int


CASES = (Case("wait 50 ms", 2_000, 0.05, 7), Case("return at once", 200_000, 0.0, 5))
QUICK = (Case("wait 50 ms", 200, 0.05, 1), Case("return at once", 500, 0.0, 1))


@dataclass(frozen=True)
class Waited:
    """Medians of a way and of the bare loop beside it; `limit` is what pdparallel may take, as its case counts it."""

    case: str
    way: str
    rows: int
    bare: float
    seconds: float
    ratio: float
    microseconds: float
    limit: str
    reached: bool
    same: bool
    pandas: str
    rounds: int


@dataclass(frozen=True)
class Peak:
    """Megabytes beyond the frame and its result."""

    way: str
    rows: int
    frame: float
    result: float
    peak: float


# The ways


def frame_of(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"number": range(rows)})


class Functions:
    """The same function as a coroutine and plainly, of a value and of a row."""

    def __init__(self, seconds: float) -> None:
        async def value(number: int) -> int:
            if seconds:
                await asyncio.sleep(seconds)
            return 2 * number

        async def row(row: pd.Series) -> int:
            return await value(row["number"])

        def plain(number: int) -> int:
            if seconds:
                time.sleep(seconds)
            return 2 * number

        self.value, self.row, self.plain = value, row, plain
        self.plain_row = lambda row: plain(row["number"])


def gathered(func: Callable[[Any], Awaitable[Any]], items: Iterable[Any], gather: Any = asyncio.gather) -> list[Any]:
    """Call a coroutine function for each item as people write it by hand."""

    async def all_of_them() -> list[Any]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(item: Any) -> Any:
            async with slots:
                return await func(item)

        return await gather(*[one(item) for item in items])

    return asyncio.run(all_of_them())


def quiet_gather(*coroutines: Any) -> Any:
    from tqdm.asyncio import tqdm

    return tqdm.gather(*coroutines, disable=True)


def threads(func: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(func, items))


def joblib_threads(func: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    import joblib

    return joblib.Parallel(n_jobs=AT_ONCE, prefer="threads")(joblib.delayed(func)(item) for item in items)


def ways(frame: pd.DataFrame, seconds: float) -> dict[str, Callable[[], Any]]:
    """Return each way that can run in this Python: a call without arguments."""
    f, numbers = Functions(seconds), frame["number"]
    if importlib.util.find_spec("aiopandas") is not None:
        import aiopandas  # noqa: F401  its import adds methods to pandas

        return {
            BARE: lambda: gathered(f.value, numbers),
            "aiopandas, amap": lambda: asyncio.run(numbers.amap(f.value, max_parallel=AT_ONCE)),
            "aiopandas, aapply of rows": lambda: asyncio.run(frame.aapply(f.row, axis=1, max_parallel=AT_ONCE)),
        }
    found: dict[str, Callable[[], Any]] = {BARE: lambda: gathered(f.value, numbers)}
    if HAS_COROUTINES:
        found["pdparallel, coroutines, map"] = lambda: numbers.par(max_concurrency=AT_ONCE).map(f.value)
        found["pdparallel, coroutines, apply_rows"] = lambda: frame.par(max_concurrency=AT_ONCE).apply_rows(f.row)
    found["semaphore and gather over iterrows"] = lambda: gathered(f.row, (row for _, row in frame.iterrows()))
    found["tqdm.asyncio.tqdm.gather"] = lambda: gathered(f.value, numbers, quiet_gather)
    found[f"ThreadPoolExecutor({AT_ONCE}).map"] = lambda: threads(f.plain, numbers)
    if importlib.util.find_spec("joblib") is not None:
        found[f"joblib, {AT_ONCE} threads"] = lambda: joblib_threads(f.plain, numbers)
    for n in (AT_ONCE, FEW_THREADS):
        found[f"pdparallel, {n} threads, apply_rows"] = lambda n=n: frame.par(engine="thread", n_workers=n).apply_rows(
            f.plain_row
        )
    return found


# The measurement


def measure(case: Case) -> list[Waited]:
    """Measure all ways of this Python in turn."""
    calls = ways(frame_of(case.rows), case.seconds)
    for call in ways(frame_of(10), 0.0).values():  # imports
        call()
    took, first = in_turn(calls, case.rounds)
    bare, expected = took.pop(BARE), [2 * number for number in range(case.rows)]
    found = []
    for way, times in took.items():
        ratio = paired(times, bare)
        more = statistics.median((one - other) / case.rows * 1e6 for one, other in zip(times, bare, strict=True))
        limit, kept = "", True
        if "coroutines" in way:
            limit, kept = f"{MAX_RATIO:g} times", ratio <= MAX_RATIO
            if not case.seconds:
                limit, kept = f"{MAX_MICROSECONDS:g} µs a row", more <= MAX_MICROSECONDS
        same = list(first[way]) == expected
        medians = statistics.median(bare), statistics.median(times)
        found.append(
            Waited(
                case.name,
                way,
                case.rows,
                *medians,
                ratio,
                more,
                limit,
                kept and same,
                same,
                pd.__version__,
                case.rounds,
            )
        )
    return found


def peak(way: str, rows: int) -> Peak:
    """Measure a way in this process."""
    ways(frame_of(100), 0.0)[way]()  # imports
    frame = frame_of(rows)
    call = ways(frame, 0.0)[way]
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    resident = status("self", "VmRSS")
    result = pd.Series(call(), copy=False)
    highest = status("self", "VmHWM")
    output = size_of(result)
    return Peak(way, rows, size_of(frame), output, highest - resident - output)


def in_new_process(python: Path | str, asked: dict[str, Any]) -> Any:
    """Run this module with a Python, and return what it prints."""
    command = [str(python), "-m", "benchmarks.waiting", json.dumps(asked)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{asked} ended with {ended.returncode}:\n{ended.stderr}")
    return json.loads(ended.stdout)


def main(quick: bool = False) -> list[Waited]:
    found: list[Waited] = []
    for case in QUICK if quick else CASES:
        new = measure(case)
        if OLD_PYTHON.exists():
            new += [Waited(**one) for one in in_new_process(OLD_PYTHON, {"case": asdict(case)})]
        for row in new:
            print(f"{row.case}, {row.way}: {row.ratio:.3f}, {row.microseconds:.1f} µs", file=sys.stderr, flush=True)
        found += new
    peaks: list[Peak] = []
    if sys.platform == "linux":
        rows = MEMORY_ROWS_QUICK if quick else MEMORY_ROWS
        measured = [way for way in ways(frame_of(1), 0.0) if way.startswith((BARE, "pdparallel, cor", "ThreadPool"))]
        peaks = [Peak(**in_new_process(sys.executable, {"way": way, "rows": rows})) for way in measured]
    write("waiting", found, as_markdown(found, peaks), quick, memory=peaks)
    return found


def as_markdown(found: list[Waited], peaks: list[Peak]) -> str:
    text = []
    for case in dict.fromkeys(row.case for row in found):
        lines = (
            (
                row.way + (f" (pandas {row.pandas})" if row.pandas != pd.__version__ else ""),
                f"{row.bare:.3f}",
                f"{row.seconds:.3f}",
                f"{row.ratio:.2f}",
                f"{row.microseconds:.1f}",
                row.limit or "-",
                "-" if not row.limit else yes(row.reached),
                yes(row.same),
            )
            for row in found
            if row.case == case
        )
        rows = next(row.rows for row in found if row.case == case)
        head = f"{rows:,} rows that {case} | {BARE}, s | this way, s | times | more, µs a row"
        text.append(table(f"{head} | at most | reached | right values", "lrrrrrrl", lines))
    if peaks:
        lines = (
            (
                row.way,
                *(f"{figure:.0f}" for figure in (row.frame, row.result, row.peak)),
                f"{MAX_MEGABYTES:.0f}" if "coroutines" in row.way else "-",
                yes(row.peak <= MAX_MEGABYTES) if "coroutines" in row.way else "-",
            )
            for row in peaks
        )
        head = f"MB, {peaks[0].rows:,} rows that return at once | frame | result | peak beyond both | at most | reached"
        text.append(table(head, "lrrrrr", lines))
    return "\n\n".join(text)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if "case" in asked:
        print(json.dumps([asdict(row) for row in measure(Case(**asked["case"]))]))
    else:
        print(json.dumps(asdict(peak(asked["way"], asked["rows"]))))
