"""Memory: what a call takes beyond its input and its output; the promise is, in the parent, a tenth of both.

Beyond 1 GB, or a quarter of the memory that is available, data travel by chunk: parent, workers and files together take
15 % of input and output, or 300 MB, beyond both.  A second table shows that, with 40 % of the machine's memory.

Each case has a process of its own, with a warm pool.  The parent's peak is the kernel's high-water mark.  While the
call runs, a process beside it also adds up what the parent and its workers have for themselves, and the anonymous
files through which data travel, which are in no process' figure until they are mapped.  Linux only: it reads
``/proc``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import table, write
from benchmarks.works import clean, shout

ROOT = Path(__file__).parent.parent

#: Megabytes of the big frames of the official run, and of a quick look.
SIZE, SIZE_QUICK = 400, 8

#: The part of input and output that the parent may take beyond them.
PROMISE = 0.10

#: The part of the machine's memory that a big frame has; and the part of input and output, or the MB, that the parent,
#: the workers and the files together may take beyond both.
BIG_PART, BIG_PROMISE, BIG_LEAST = 0.4, 0.15, 300.0

#: Columns of the frame that is cut into groups; the first is the key.
GROUP_COLUMNS = 50

MB = 1e6


# The cases


def floats(megabytes: float, columns: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(6).normal(size=(int(megabytes * MB / 8 / columns), columns)))


def words(megabytes: float) -> pd.DataFrame:
    """Texts that repeat, of some 20 bytes each; the way to make them fills no memory with Python objects."""
    some = pd.Series([f"  new-york_{number:06} jfk " for number in range(1_000)])
    places = np.random.default_rng(7).integers(0, len(some), int(megabytes * MB / 32))
    return pd.DataFrame({"text": some.take(places).reset_index(drop=True)})


def scaled(chunk: pd.DataFrame) -> pd.DataFrame:
    return chunk * 2 + 1


def third(row: tuple[float, ...]) -> float:
    return row[2]


def keyed(megabytes: float) -> pd.DataFrame:
    """Groups of some thousand rows, which lie scattered."""
    frame = floats(megabytes, GROUP_COLUMNS)
    frame[0] = np.arange(len(frame)) % max(1, len(frame) // 5_000)
    return frame


def spread(group: pd.DataFrame) -> float:
    return float(group[1].max() - group[2].min())


@dataclass(frozen=True)
class Case:
    """A call whose memory is measured; ``part`` of the size, where a call on all of it takes too long."""

    title: str
    frame: Callable[[float], Any]
    call: Callable[[Any], Any]
    part: float = 1.0


CASES: dict[str, Case] = {
    "chunks": Case(
        "floats by chunks, the result as big",
        lambda size: floats(size, 20),
        lambda df: df.par(engine="process").apply_chunks(scaled),
    ),
    "rows": Case(
        "floats by rows of 500, as tuples",
        lambda size: floats(size, 500),
        lambda df: df.par(engine="process").apply_rows(third, rows="tuple"),
    ),
    "columns": Case(
        "floats by columns",
        lambda size: floats(size, 20),
        lambda df: df.par(engine="process").apply_cols(np.ptp),
    ),
    "groups": Case("floats by groups", keyed, lambda df: df.par(engine="process").groupby(0).apply(spread)),
    "text-chunks": Case(
        "texts by chunks, the result as big", words, lambda df: df.par(engine="process").apply_chunks(clean), 0.5
    ),
    "text-map": Case(
        "texts by map, the result as big", words, lambda df: df["text"].par(engine="process").map(shout), 0.25
    ),
}


# The measurement


@dataclass(frozen=True)
class Memory:
    """Megabytes: ``parent`` and ``together`` are peaks, less what was there before the call, and less the output.

    ``together`` is the highest sum of parent, workers and files at one moment; ``share`` is ``parent`` as a part of
    input and output.
    """

    case: str
    input: float
    output: float
    parent: float
    share: float
    kept: bool
    workers: float
    files: float
    together: float


def status(pid: int | str, field: str) -> float:
    """A figure of ``/proc/<pid>/status``, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / MB
    return 0.0


def own_memory(pid: int) -> float:
    """MB that a process has for itself: anonymous memory, pages shared after a fork counted in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1]) * 1024 / MB
    return 0.0


def files_of(pid: int) -> float:
    """MB of the files without a name that a process holds: arenas and mailboxes."""
    seen: dict[tuple[int, int], float] = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "memfd:" in os.readlink(link) or "(deleted)" in os.readlink(link):
                stat = link.stat()
                seen[stat.st_dev, stat.st_ino] = stat.st_blocks * 512 / MB
        except OSError:
            continue
    return sum(seen.values())


def descendants(pid: int) -> list[int]:
    children = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
            except OSError:
                continue
    found, todo = [], [pid]
    while todo:
        todo += (more := children.get(todo.pop(), []))
        found += more
    return found


def look(pid: int, but: int) -> tuple[float, float, float]:
    """MB of the parent, of its workers together, and of the files, now."""
    workers = 0.0
    for worker in descendants(pid):
        if worker != but:
            try:
                workers += own_memory(worker)
            except OSError:  # it ended meanwhile
                continue
    return own_memory(pid), workers, files_of(pid)


def watch(pid: int, end: Connection) -> None:
    """Until told to stop: the greatest of each figure, and of their sum."""
    most = [0.0, 0.0, 0.0, 0.0]
    end.send(look(pid, os.getpid()))
    while not end.poll(0.01):
        parent, workers, files = look(pid, os.getpid())
        figures = (parent, workers, files, parent + workers + files)
        most = [max(pair) for pair in zip(most, figures, strict=True)]
    end.send(most)


def size_of(data: Any) -> float:
    used = data.memory_usage(deep=True)
    return float(used if isinstance(data, pd.Series) else used.sum()) / MB


def run(name: str, size: float) -> Memory:
    """A case in this process."""
    case = CASES[name]
    data = case.frame(size * case.part)
    case.call(data.head(1_000))  # the pool is up, and everything is imported
    mine, its = multiprocessing.Pipe()
    watcher = multiprocessing.get_context("spawn").Process(target=watch, args=(os.getpid(), its))
    watcher.start()
    before = mine.recv()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    resident = status("self", "VmRSS")
    result = case.call(data)
    highest = status("self", "VmHWM")
    mine.send("enough")
    _, workers, files, together = mine.recv()
    watcher.join()
    given, output = size_of(data), size_of(result)
    more = highest - resident - output
    return Memory(
        case=case.title,
        input=given,
        output=output,
        parent=more,
        share=more / (given + output),
        kept=more <= PROMISE * (given + output),
        workers=workers - before[1],
        files=files,
        together=together - sum(before) - output,
    )


#: The cases of big frames.
BIG = ("rows", "columns", "chunks", "groups")


def measured(names: Iterable[str], size: float) -> list[Memory]:
    found = []
    for name in names:
        command = [sys.executable, "-m", "benchmarks.memory", name, str(size)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
        if ended.returncode != 0:
            raise RuntimeError(f"{name} ended with {ended.returncode}:\n{ended.stderr}")
        found.append(Memory(**json.loads(ended.stdout)))
    return found


def main(quick: bool = False, size: float | None = None) -> list[Memory]:
    if sys.platform != "linux":
        print("memory is measured on Linux only", file=sys.stderr)
        return []
    found = measured(CASES, size or (SIZE_QUICK if quick else SIZE))
    lines = (
        (
            row.case,
            *(f"{figure:.0f}" for figure in (row.input, row.output, row.parent)),
            f"{row.share:.0%}",
            "yes" if row.kept else "NO",
            *(f"{figure:.0f}" for figure in (row.workers, row.files, row.together)),
        )
        for row in found
    )
    head = "MB | input | output | parent, beyond both | of both | at most 10 % | workers | files | all, beyond both"
    text = table(head, "lrrrrlrrr", lines)
    if not quick and size is None:
        big = measured(BIG, BIG_PART * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MB)
        text += "\n\n" + big_table(big)
        found += big
    write("memory", found, text, quick)
    return found


def big_table(found: list[Memory]) -> str:
    lines = (
        (
            row.case,
            *(f"{figure:.0f}" for figure in (row.input, row.output, row.together)),
            f"{row.together / (row.input + row.output):.1%}",
            "yes" if row.together <= max(BIG_LEAST, BIG_PROMISE * (row.input + row.output)) else "NO",
        )
        for row in found
    )
    head = "MB, frames of 40 % of the memory | input | output | all, beyond both | of both | at most 15 % or 300 MB"
    return table(head, "lrrrrl", lines)


if __name__ == "__main__":
    print(json.dumps(asdict(run(sys.argv[1], float(sys.argv[2])))))
