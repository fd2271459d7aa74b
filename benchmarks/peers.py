"""Peers: what others make of the same works on the same machine, each beside the pandas of its own process.

Those that run on the newest pandas run on this Python; the four packages that stopped at pandas 2 run on the Python
of ``.venv-peers``, with its pandas 2.3, and pdparallel beside them there too.  A peer may hang: all run in a
process of their own, which is ended when a call takes too long.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import plots
from benchmarks.measure import folder, paired, table, write, write_table
from benchmarks.works import BY_NAME
from pdparallel.core.cpu_count import usable_cores

ROOT = Path(__file__).parent.parent
OLD_PYTHON = ROOT / ".venv-peers" / "bin" / "python"

#: Seconds that one call of a peer may take: many times what pandas takes for any of these works.
LIMIT = 40.0

NEW = ("pandas", "pdparallel", "multiprocessing.Pool", "pathos", "joblib", "dask")
OLD = ("pandas", "pdparallel", "pandarallel", "mapply", "parallel-pandas", "swifter")

#: Rows and rounds of each work; fewer rows than in speed.py, so that the slow ones end.  Five rounds where pdparallel
#: starts its pool in the second call, since a second of work is not worth one: the median is of a pool that is up.
SIZES: dict[str, tuple[int, int]] = {
    "light": (50_000, 3),
    "mixed": (30_000, 3),
    "series": (8_000, 5),
    "expand": (30_000, 3),
    "heavy": (1_000, 3),
    "map": (2_000_000, 5),
    "groups-50": (500_000, 3),
    "groups-3": (150_000, 3),
    "transform": (500_000, 3),
    "rolling": (1_000_000, 5),
    "rows-100": (100, 5),
}


@dataclass
class Found:
    """What became of one contender: seconds by round, and pandas' beside them, or why there are none.

    ``after`` is the seconds until it failed, ``named`` whether its error names the row.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    problem: str = ""
    differs: str = ""
    alone: bool = False
    after: float = 0.0
    named: bool = False


def side_by_side(
    python: Path | str, work: str, rows: int, rounds: int, names: Sequence[str], limit: float = LIMIT
) -> tuple[str, dict[str, Found]]:
    """Measure contenders in turn in a process of their own; the version of its pandas, and what became of each.

    Where one hangs or kills the process all others begin anew without it, so that the rounds stay side by side, and it
    has another try alone with pandas: what another left behind may have been the cause.
    """
    version = "?"
    lost: dict[str, Found] = {}
    while True:
        found = {name: Found(name) for name in names if name not in lost}
        busy = ""
        asked = {"work": work, "rows": rows, "rounds": rounds, "workers": usable_cores().number, "names": list(found)}
        with talking(python, "benchmarks.contenders", json.dumps(asked)) as said:
            while True:
                line = said(limit if busy else 2 * limit)  # at first it imports pandas and makes the frame
                if line is None or "problem" in line or "done" in line:
                    break
                version = line.get("version", version)
                busy = line.get("begins", busy)
                if "ends" in line:
                    found[line["ends"]].seconds.append(line["seconds"])
                elif "fails" in line:
                    one = found[line["fails"]]
                    one.problem, one.after, one.named = f"fails: {line['error']}", line["seconds"], line["named"]
                elif "differs" in line:
                    found[line["differs"]].differs = line["how"]
        if line is not None and "done" in line:
            for one in found.values():
                one.plain = found["pandas"].seconds if "pandas" in found else []
            for name in lost if len(names) > 2 and "pandas" in found else ():
                again = side_by_side(python, work, rows, rounds, ("pandas", name), limit)[1][name]
                again.alone = True
                lost[name] = again
            return version, {name: lost.get(name) or found[name] for name in names}
        problem = f"hangs: no result after {limit:g} s" if line is None else line["problem"]
        if not busy:
            return version, {name: lost.get(name) or Found(name, problem=problem) for name in names}
        lost[busy] = Found(busy, problem=problem)


@contextlib.contextmanager
def talking(python: Path | str, module: str, asked: str, environment: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A process that reports in lines; yields a function that waits for the next one, None where it waits in vain."""
    lines: queue.Queue[dict[str, Any]] = queue.Queue()
    with tempfile.TemporaryFile("w+") as noise:
        process = subprocess.Popen(
            [str(python), "-m", module, asked],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            start_new_session=True,  # its workers are of its group, and end with it
        )

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.put(json.loads(line))
            noise.seek(0)
            last = (noise.read().strip().splitlines() or [""])[-1]
            lines.put({"problem": f"ends its process ({process.wait()}): {last}"})

        reader = threading.Thread(target=read, daemon=True)
        reader.start()

        def said(seconds: float) -> dict[str, Any] | None:
            try:
                return lines.get(timeout=seconds)
            except queue.Empty:
                return None

        try:
            yield said
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reader.join(5)
            # Who left the group may hold the other end of the pipe still, and closing ours would wait for the reader.
            if process.stdout is not None and not reader.is_alive():
                process.stdout.close()


def measured(python: Path | str, names: Sequence[str], quick: bool) -> list[dict[str, Any]]:
    """Every work by every contender of one Python."""
    found: list[dict[str, Any]] = []
    for work, (rows, rounds) in SIZES.items():
        rows, rounds = (max(20, rows // 1_000), 1) if quick else (rows, rounds)
        version, by_name = side_by_side(python, work, rows, rounds, names)
        for one in by_name.values():
            complete = bool(one.plain) and len(one.seconds) == len(one.plain)
            found.append(
                {
                    "work": work,
                    "title": BY_NAME[work].title,
                    "rows": rows,
                    "rounds": rounds,
                    "pandas_version": version,
                    "contender": one.name,
                    "seconds": median(one.seconds) if one.seconds else None,
                    "ratio": paired(one.plain, one.seconds) if complete else None,
                    "problem": one.problem,
                    "differs": one.differs,
                    "alone": one.alone,
                }
            )
            shown = one.problem or f"{found[-1]['ratio'] or 0:.2f} {one.differs}"
            print(f"pandas {version}, {work}, {one.name}: {shown}", file=sys.stderr, flush=True)
    return found


def everybody() -> list[tuple[Path | str, str]]:
    """Each package that is no pandas, with the Python that it runs on; of the second Python only where there is one."""
    pairs: list[tuple[Path | str, str]] = [(sys.executable, name) for name in NEW[1:]]
    return pairs + ([(OLD_PYTHON, name) for name in OLD[2:]] if OLD_PYTHON.exists() else [])


def main(quick: bool = False) -> list[dict[str, Any]]:
    found = measured(sys.executable, NEW, quick)
    parts = [as_markdown(found, NEW)]
    if OLD_PYTHON.exists():
        old = measured(OLD_PYTHON, OLD, quick)
        parts.append(as_markdown(old, OLD))
        found += old
    else:
        print("no .venv-peers: make bench makes it; its four packages are left out", file=sys.stderr)
    write("peers", found, "\n\n".join(parts), quick)
    write_short(found, quick)
    picture(folder(quick) / "peers.png", found)
    return found


def _cell(row: dict[str, Any], notes: list[str]) -> str:
    """A figure, or a mark; what is to be said about it goes under the table."""
    if row["contender"] == "pandas":
        return f"{row['seconds']:.3g} s" if row["seconds"] else "-"
    ratio = row["ratio"]
    shown = "-" if not ratio else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
    note = row["problem"] or (f"another result than pandas: {row['differs']}" if row["differs"] else "")
    if row["alone"] and not row["problem"]:
        note = "; ".join(filter(None, ["hung or died beside the others, measured alone with pandas", note]))
    if not note:
        return shown
    note = f"{row['contender']}, {row['title']}: {note}"
    if note not in notes:
        notes.append(note)
    return f"{shown} [{notes.index(note) + 1}]"


def as_markdown(found: list[dict[str, Any]], names: Sequence[str]) -> str:
    notes: list[str] = []
    lines = []
    for work in dict.fromkeys(row["work"] for row in found):
        rows = {row["contender"]: row for row in found if row["work"] == work}
        first = rows[names[0]]
        lines.append([first["title"], f"{first['rows']:,}", *(_cell(rows[name], notes) for name in names)])
    version = found[0]["pandas_version"]
    head = f"speed-up over pandas {version} | rows | " + " | ".join(names)
    under = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1))
    return table(head, "l" + "r" * (len(names) + 1), lines) + (f"\n\n{under}" if under else "")


def _short_cell(row: dict[str, Any]) -> str:
    """A figure, or in a word why there is none; notes are for the long table."""
    if row["contender"] == "pandas":
        return f"{row['seconds']:.3g} s" if row["seconds"] else "-"
    if row["problem"]:
        return "no such method" if "NotImplementedError: it has no" in row["problem"] else row["problem"].split(":")[0]
    shown = f"{row['ratio']:.2f}" if row["ratio"] >= 0.1 else f"{row['ratio']:.2g}"
    return f"{shown}, other result" if row["differs"] else shown


def write_short(found: list[dict[str, Any]], quick: bool = False) -> None:
    """The same tables without notes, for the README; from figures that are there already, too."""
    parts = []
    for names in (NEW, OLD):
        # pdparallel and pandas are in both tables, which are told apart by the pandas that they were measured on
        versions = {row["pandas_version"] for row in found if row["contender"] == names[-1]}
        rows = [row for row in found if row["pandas_version"] in versions]
        lines = []
        for work in dict.fromkeys(row["work"] for row in rows):
            by_name = {row["contender"]: row for row in rows if row["work"] == work}
            first = by_name[names[0]]
            lines.append([first["title"], f"{first['rows']:,}", *(_short_cell(by_name[name]) for name in names)])
        if rows:
            head = f"speed-up over pandas {rows[0]['pandas_version']} | rows | " + " | ".join(names)
            parts.append(table(head, "l" + "r" * (len(names) + 1), lines))
    write_table("peers_short", "\n\n".join(parts), quick)


def picture(path: Path, found: list[dict[str, Any]]) -> None:
    panels: dict[str, list[tuple[str, dict[str, float], str]]] = {}
    for version in dict.fromkeys(row["pandas_version"] for row in found):
        panel = panels[f"pandas {version}"] = []
        for work in SIZES:
            rows = [row for row in found if row["pandas_version"] == version and row["work"] == work]
            ratios = {row["contender"]: row["ratio"] for row in rows if row["ratio"] and row["contender"] != "pandas"}
            notes = [f"{row['contender']} {row['problem'].partition(':')[0]}" for row in rows if row["problem"]]
            if rows:
                panel.append((f"{rows[0]['title']}\n({rows[0]['rows']:,} rows)", ratios, ", ".join(notes)))
    plots.dots(path, "pdparallel and its peers", panels)


if __name__ == "__main__":
    main()
