"""Features: what each package does, by small programs that try it; no cell is written by hand.

Each package runs its tries in a process of its own, on the pandas that it runs on; one that hangs or ends its process
is told, and the others go on in a new process.  An option that a package does not have cannot be tried: ``-`` stands
for that, after its documentation.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measure import table, write
from benchmarks.peers import OLD, OLD_PYTHON, everybody, talking
from benchmarks.tries import BARS, PROGRAM, TRIES

#: Seconds that a try may take, and one that runs programs of its own.
LIMIT, LIMIT_LONG = 25.0, 4 * PROGRAM


@dataclass(frozen=True)
class Feature:
    """A line of the table.

    Attributes
    ----------
    title : str
        What is asked.
    tries : str
        The try, or the beginning of the names of several, of which those are counted that were seen to be so.
    who : tuple of str
        Packages that have an option for it; the others are not tried. All by default.
    """

    title: str
    tries: str
    who: tuple[str, ...] = ()

    def names(self) -> list[str]:
        return [name for name in TRIES if name == self.tries or name.startswith(f"{self.tries}: ")]


FEATURES = (
    Feature("runs on pandas 3", "pandas 3"),
    Feature("exact answer, of 12 returns", "returns"),
    Feature("exact answer, of 12 frames", "frames"),
    Feature("`Series.map`", "map"),
    Feature("`groupby.apply`", "apply"),
    Feature("`groupby.transform`", "transform"),
    Feature("`rolling.apply`", "rolling"),
    Feature("one call for each row", "once"),
    Feature("lambdas and closures", "lambdas"),
    Feature("spawned: no `__main__` guard", "script"),
    Feature("spawned: functions typed in", "stdin"),
    Feature("an exception names the row", "named"),
    Feature("errors as results", "errors", ("pdparallel",)),
    Feature("time limit", "timeout", ("pdparallel", "joblib", "pathos", "multiprocessing.Pool")),
    Feature("checkpoints", "checkpoint", ("pdparallel", "joblib")),
    Feature("one progress bar, in rows", "bar", tuple(BARS)),
    Feature("random numbers differ", "random"),
    Feature("seed for any workers", "seed", ("pdparallel",)),
    Feature("logs reach your handlers", "logs"),
    Feature("Ctrl-C ends it", "interrupt"),
    Feature("left when the program ends", "end"),
    Feature("left when the program is killed", "kill"),
    Feature("on a Dask cluster", "cluster", ("pdparallel", "joblib", "dask")),
    Feature("types (`py.typed`)", "types"),
)


@dataclass(frozen=True)
class Tried:
    """What one package was seen to do."""

    contender: str
    attempt: str
    saw: str


def tried(
    python: Path | str, name: str, tries: list[str], environment: dict[str, str] | None = None
) -> Iterator[Tried]:
    """All of these tries by one package; in a new process after each that hangs or ends its process."""
    left = list(tries)
    while left:
        asked = json.dumps({"name": name, "tries": left})
        busy = ""
        with talking(python, "benchmarks.tries", asked, environment) as said:
            while True:
                line = said(LIMIT_LONG if busy in ALONE else LIMIT if busy else 3 * LIMIT)
                if line is None or "problem" in line or "done" in line:
                    break
                busy = line.get("begins", busy)
                if "ends" in line:
                    left.remove(line["ends"])
                    yield Tried(name, line["ends"], line["saw"])
        if line is not None and "done" in line:
            return
        saw = "hangs" if line is None else f"no: {line['problem']}"
        for lost in [busy] if busy else left:
            yield Tried(name, lost, saw)
        left = left[left.index(busy) + 1 :] if busy else []


#: Tries that run programs of their own, or begin a cluster.
ALONE = ("script", "stdin", "interrupt", "end", "kill", "bar", "cluster", "timeout")

#: Tries that leave a worker of a pool busy.
LAST = ("timeout",)


def on_this_pandas(python: Path | str, name: str) -> Iterator[Tried]:
    """Whether a package of the second Python runs on the pandas of this one, which finds it after all of its own."""
    with tempfile.TemporaryDirectory() as folder:
        second = next(OLD_PYTHON.parent.parent.glob("lib/python*/site-packages"))
        (Path(folder) / "sitecustomize.py").write_text(f"import sys\nsys.path.append({str(second)!r})\n")
        yield from tried(sys.executable, name, ["pandas 3"], {"PYTHONPATH": folder})


def cell(feature: Feature, name: str, found: list[Tried]) -> str:
    """In a word or two."""
    if feature.who and name not in feature.who:
        return "-"
    saw = [one.saw for one in found if one.contender == name and one.attempt in feature.names()]
    if len(feature.names()) > 1:
        return f"{saw.count('yes')}"
    return ", ".join(one.partition(":")[0] for one in saw) or "-"


def main(quick: bool = False) -> list[Tried]:
    pairs = everybody()
    features = [feature for feature in FEATURES if not quick or feature.tries in ("pandas 3", "lambdas", "types")]
    found: list[Tried] = []
    for python, name in pairs[:2] if quick else pairs:
        asked = [each for one in features if not one.who or name in one.who for each in one.names()]
        asked.sort(key=LAST.__contains__)
        if name in OLD[2:]:
            asked.remove("pandas 3")
            found += on_this_pandas(python, name)
        for one in tried(python, name, asked):
            found.append(one)
            print(f"{name}: {one.attempt}: {one.saw}", file=sys.stderr, flush=True)
    show(features, found, quick)
    return found


def show(features: Sequence[Feature], found: list[Tried], quick: bool = False) -> None:
    """Keep what was seen, and the table."""
    names = list(dict.fromkeys(one.contender for one in found))
    lines = [(feature.title, *(cell(feature, name, found) for name in names)) for feature in features]
    head = " | ".join(["what is tried", *names]).replace("multiprocessing.Pool", "Pool")  # narrow enough for a page
    write("features", [asdict(one) for one in found], table(head, "l" * (len(names) + 1), lines), quick)


if __name__ == "__main__":
    main()
