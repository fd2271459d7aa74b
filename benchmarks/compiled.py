"""Functions of numbers: ``engine="numba"`` beside pandas, and beside what people write without pdparallel.

By hand means a loop over arrays that ``numba.njit`` compiles. The limit is an expression of whole columns. The first
call is that of a new process, with the import of numba and the compilation. Bodo needs pandas 3.0, so it runs in
``.venv-bodo``, beside pandas there.
"""

from __future__ import annotations

import importlib.util
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import difference, in_turn, table, write
from benchmarks.speed import yes

ROOT = Path(__file__).parent.parent

#: Python of the environment for Bodo: ``make bench`` makes it.
BODO_PYTHON = ROOT / ".venv-bodo" / "bin" / "python"

#: Rounds of pandas and of pdparallel; the other ways take part in as many.
ROUNDS = 3

#: Compiled code may take this many times the time of a loop that is compiled by hand.
MAX_OF_HAND = 2.5

#: Seconds that a new process may take.
LIMIT = 200


# The functions, as users write them. Each has the same by hand, for arrays, and as an expression of columns.


def light(row: Any) -> Any:
    return row["x"] * 2 + row["y"]


def branches(row: Any) -> Any:
    if row["x"] > 0.5:
        return row["y"] * 2
    if row["y"] > 0.5:
        return row["x"] - row["y"]
    return math.sqrt(abs(row["x"] * row["y"]))


def loop(row: Any) -> Any:
    x, total = row["x"], 0.0
    for power in range(20):
        total = total * x + row["y"] / (power + 1)
    return total


def pair(row: Any) -> Any:
    return row["x"] + row["y"], row["x"] * row["y"]


def value(x: Any) -> Any:
    return x * x + 0.5 if x > 0 else -x


def light_arrays(x: Any, y: Any, out: Any) -> None:
    for at in range(len(x)):
        out[at] = x[at] * 2 + y[at]


def branches_arrays(x: Any, y: Any, out: Any) -> None:
    for at in range(len(x)):
        if x[at] > 0.5:
            out[at] = y[at] * 2
        elif y[at] > 0.5:
            out[at] = x[at] - y[at]
        else:
            out[at] = math.sqrt(abs(x[at] * y[at]))


def loop_arrays(x: Any, y: Any, out: Any) -> None:
    for at in range(len(x)):
        total = 0.0
        for power in range(20):
            total = total * x[at] + y[at] / (power + 1)
        out[at] = total


def value_arrays(x: Any, y: Any, out: Any) -> None:
    for at in range(len(x)):
        out[at] = x[at] * x[at] + 0.5 if x[at] > 0 else -x[at]


def branches_columns(x: Any, y: Any) -> Any:
    return np.where(x > 0.5, y * 2, np.where(y > 0.5, x - y, np.sqrt(np.abs(x * y))))


def loop_columns(x: Any, y: Any) -> Any:
    total = np.zeros(len(x))
    for power in range(20):
        total = total * x + y / (power + 1)
    return total


@dataclass(frozen=True)
class Case:
    """A function over rows or values, with its goals: how many times as fast as pandas, warm and in the first call."""

    name: str
    rows: int
    func: Callable[[Any], Any]
    warm: float
    first: float | None = None
    kind: str = "rows"
    has_texts: bool = False
    by_hand: Callable[..., Any] | None = None
    columns: Callable[[Any, Any], Any] | None = None


CASES = (
    Case("light row", 300_000, light, 50, 4, by_hand=light_arrays, columns=lambda x, y: x * 2 + y),
    Case("light row, many", 3_000_000, light, 50, by_hand=light_arrays, columns=lambda x, y: x * 2 + y),
    Case("branches", 300_000, branches, 100, by_hand=branches_arrays, columns=branches_columns),
    Case("loop of 20 steps", 300_000, loop, 100, by_hand=loop_arrays, columns=loop_columns),
    Case("two results, expanded", 300_000, pair, 30, kind="expand"),
    Case("a column of texts beside", 300_000, light, 30, has_texts=True, by_hand=light_arrays),
    Case("Series.map", 1_000_000, value, 5, kind="map", by_hand=value_arrays,
         columns=lambda x, y: np.where(x > 0, x * x + 0.5, -x)),
)  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    """Medians of a way, and how many times as fast as pandas it is."""

    case: str
    rows: int
    way: str
    seconds: float
    times: float
    goal: float | None
    reached: bool
    same: bool


def frame_of(case: Case, quick: bool) -> pd.DataFrame:
    rows = 2_000 if quick else case.rows
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.random(rows), "y": random.random(rows)})
    return frame.assign(name="some text") if case.has_texts else frame


def plain(case: Case, frame: Any) -> Callable[[], Any]:
    if case.kind == "map":
        return lambda: frame["x"].map(case.func)
    return lambda: frame.apply(case.func, axis=1, result_type="expand" if case.kind == "expand" else None)


def ours(case: Case, frame: Any) -> Callable[[], Any]:
    if case.kind == "map":
        return lambda: frame["x"].par(engine="numba").map(case.func)
    how = {"result_type": "expand"} if case.kind == "expand" else {}
    return lambda: frame.par(engine="numba").apply_rows(case.func, **how)


def others(case: Case, frame: pd.DataFrame) -> dict[str, Callable[[], Any]]:
    """Return the ways without pdparallel, compiled and ready."""
    import numba

    ways: dict[str, Callable[[], Any]] = {}
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    if case.by_hand is not None:
        compiled = numba.njit(case.by_hand)

        def by_hand() -> Any:
            out = np.empty(len(x))
            compiled(x, y, out)
            return pd.Series(out, name="x" if case.kind == "map" else None)

        by_hand()
        ways["numba by hand"] = by_hand
    if case.name.startswith("light"):
        whole = frame[["x", "y"]]
        whole.apply(_light_values, axis=1, raw=True, engine="numba")
        ways["pandas, engine='numba', raw=True"] = lambda: whole.apply(_light_values, axis=1, raw=True, engine="numba")
    if case.columns is not None:
        columns = case.columns
        name = "x" if case.kind == "map" else None
        ways["whole columns"] = lambda: pd.Series(columns(x, y), name=name)
    return ways


def _light_values(values: Any) -> Any:
    return values[0] * 2 + values[1]


def measured(case: Case, quick: bool) -> list[Compiled]:
    frame = frame_of(case, quick)
    calls = {"pandas": plain(case, frame), "pdparallel": ours(case, frame), **others(case, frame)}
    calls["pdparallel"]()  # compiled
    took, first = in_turn(calls, 1 if quick else ROUNDS)
    if not quick:  # pandas takes seconds, the others milliseconds: more rounds cost nothing
        more, _ = in_turn({way: call for way, call in calls.items() if way != "pandas"}, 6)
        for way, seconds in more.items():
            took[way] += seconds
    pandas = statistics.median(took["pandas"])
    hand = statistics.median(took.get("numba by hand", [math.inf]))
    found = []
    for way, seconds in took.items():
        spent, is_ours = statistics.median(seconds), way == "pdparallel"
        differs = "" if way == "pandas" else difference(first[way], first["pandas"])
        if differs and is_ours:
            print(f"{case.name}: {differs}", file=sys.stderr)
        reached = not is_ours or (pandas / spent >= case.warm and (case.kind != "rows" or spent <= MAX_OF_HAND * hand))
        goal = case.warm if is_ours else None
        found.append(Compiled(case.name, len(frame), way, spent, pandas / spent, goal, reached, not differs))
    if case.first is not None:
        spent = first_call(case, quick)
        times = pandas / spent
        found.append(
            Compiled(
                case.name, len(frame), "pdparallel, first call", spent, times, case.first, times >= case.first, True
            )
        )
    return found


def first_call(case: Case, quick: bool) -> float:
    """Return the seconds of the first call of a new process, the median of three."""
    code = (
        "import sys, time; from benchmarks import compiled\n"
        "case = next(one for one in compiled.CASES if one.name == sys.argv[1])\n"
        "call = compiled.ours(case, compiled.frame_of(case, sys.argv[2] == 'quick'))\n"
        "began = time.perf_counter(); call(); print(time.perf_counter() - began)\n"
    )
    spent = [
        float(
            subprocess.run(
                [sys.executable, "-c", code, case.name, "quick" if quick else "whole"],
                capture_output=True, text=True, check=True, cwd=ROOT, timeout=LIMIT,
            ).stdout
        )
        for _ in range(1 if quick else 3)
    ]  # fmt: skip
    return statistics.median(spent)


def bodo() -> list[dict[str, Any]]:
    """Return the seconds of Bodo, first and warm, and of pandas beside it; nothing if it is not installed."""
    if not BODO_PYTHON.exists():
        return []
    code = (
        "import json, time, numpy as np, pandas as pd, bodo, bodo.decorators\n"
        "random = np.random.default_rng(0); n = 300_000\n"
        "df = pd.DataFrame({'x': random.random(n), 'y': random.random(n)})\n"
        "def light(row): return row['x'] * 2 + row['y']\n"
        "def seconds(call):\n"
        "    began = time.perf_counter(); call(); return time.perf_counter() - began\n"
        "pandas = min(seconds(lambda: df.apply(light, axis=1)) for _ in range(3))\n"
        "took = [seconds(lambda: df.apply(light, axis=1, engine=bodo.jit)) for _ in range(4)]\n"
        "found = {'pandas': pandas, 'first': took[0], 'warm': sorted(took[1:])[1], 'version': pd.__version__}\n"
        "print(json.dumps(found))\n"
    )
    try:
        done = subprocess.run(
            [str(BODO_PYTHON), "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:  # its workers of MPI may not start
        print(f"Bodo did not end within {LIMIT} s", file=sys.stderr)
        return []
    if done.returncode:
        print(f"Bodo: {done.stderr[-500:]}", file=sys.stderr)
        return []
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return [{"case": "light row", "rows": 300_000, **found}]


def main(quick: bool = False) -> None:
    if importlib.util.find_spec("numba") is None:
        print("compiled: numba is not installed", file=sys.stderr)
        return
    found = [one for case in CASES for one in measured(case, quick)]
    beside = [] if quick else bodo()
    text = [
        "# Functions of numbers\n",
        (
            "`df.par(engine='numba')`, compiled in an earlier call, beside pandas and others. Seconds are medians of "
            "interleaved rounds. 'times' is how many times as fast as pandas. A goal is reached if rows also take at "
            "most 2.5 times the loop by hand.\n"
        ),
        table(
            "case | rows | way | seconds | times | goal | reached | equal to pandas", "lrlrrrll",
            [
                [one.case, f"{one.rows:,}", one.way, f"{one.seconds:.4f}", f"{one.times:.1f}",
                 "" if one.goal is None else f"{one.goal:g}", yes(one.reached), yes(one.same)]
                for one in found
            ],
        ),
    ]  # fmt: skip
    if beside:
        text += [
            f"\nBodo with pandas {beside[0]['version']}, through pandas' `engine=`, on the light row:\n",
            table("way | seconds", "lr", [[name, f"{beside[0][name]:.3f}"] for name in ("pandas", "first", "warm")]),
        ]
    write("compiled", found, "\n".join(text), quick, bodo=beside)


if __name__ == "__main__":
    main()
