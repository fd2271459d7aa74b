"""Scale: how the time grows with the rows, the speed-up with the cost of a row, and what a first call is worth.

Only what was measured is shown: pandas and the peers end where a call takes too long for a benchmark.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import pandas as pd

import pdparallel
from benchmarks import plots
from benchmarks.first_call import in_new_process
from benchmarks.measure import folder, in_turn, paired, table, write
from benchmarks.peers import NEW, side_by_side
from benchmarks.works import at_its_cost

#: Light rows: how many, in how many rounds, by whom.  pandas is measured as far as it takes some seconds.
ROWS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (10, 3, NEW),
    (100, 3, NEW),
    (1_000, 3, NEW),
    (10_000, 2, NEW),
    (100_000, 2, NEW),
    (300_000, 1, NEW),
    (1_000_000, 1, ("pdparallel", "multiprocessing.Pool", "joblib")),
)
ROWS_QUICK = ((10, 1, NEW), (100, 1, NEW))

#: Seconds of a row, and so many rows that pandas takes about a second.
COSTS = ((1e-6, 60_000), (1e-5, 40_000), (1e-4, 10_000), (1e-3, 1_000), (1e-2, 100))
COSTS_QUICK = ((1e-6, 100), (1e-3, 100))
PAIRS = 3

#: Light rows of a first call in a new process, and of the second one there.
FIRST_ROWS = (100, 1_000, 10_000, 30_000, 100_000, 200_000)
FIRST_QUICK = (100, 1_000)


def by_rows(quick: bool) -> list[dict[str, Any]]:
    found = []
    for rows, rounds, names in ROWS_QUICK if quick else ROWS:
        _, by_name = side_by_side(sys.executable, "light", rows, rounds, names)
        for name, one in by_name.items():
            if one.problem:
                print(f"{rows:,} rows, {name}: {one.problem}", file=sys.stderr)
            else:
                found.append({"rows": rows, "contender": name, "seconds": statistics.median(one.seconds)})
    return found


def by_cost(quick: bool) -> list[dict[str, Any]]:
    pdparallel.map(abs, range(4), engine="process")  # warm
    found = []
    for cost, rows in COSTS_QUICK if quick else COSTS:
        df = pd.DataFrame({"cost": [cost] * rows, "other": 0.5})
        took, _ = in_turn(
            {
                "pandas": lambda df=df: df.apply(at_its_cost, axis=1),
                "ours": lambda df=df: df.par.apply_rows(at_its_cost),
            },
            1 if quick else PAIRS,
        )
        found.append(
            {
                "cost": cost,
                "rows": rows,
                "pandas": statistics.median(took["pandas"]),
                "ours": statistics.median(took["ours"]),
                "ratio": paired(took["pandas"], took["ours"]),
            }
        )
    return found


def by_call(quick: bool) -> list[dict[str, Any]]:
    found = []
    for rows in FIRST_QUICK if quick else FIRST_ROWS:
        (plain, plain_again), (cold, warm) = (in_new_process("light", rows, way, 2) for way in ("pandas", "ours"))
        found.append({"rows": rows, "pandas": plain, "pandas_again": plain_again, "first": cold, "second": warm})
    return found


def main(quick: bool = False) -> dict[str, list[dict[str, Any]]]:
    rows, costs, calls = by_rows(quick), by_cost(quick), by_call(quick)
    write("scale", rows, as_markdown(rows, costs, calls), quick, costs=costs, first_calls=calls)
    names = list(dict.fromkeys(row["contender"] for row in rows))
    plots.lines(
        folder(quick) / "rows.png",
        "Light rows: seconds by number of rows",
        "rows",
        "seconds",
        {name: [(row["rows"], row["seconds"]) for row in rows if row["contender"] == name] for name in names},
    )
    plots.lines(
        folder(quick) / "cost.png",
        "Speed-up by what the function costs, pool warm",
        "cost of a row, µs of CPU time",
        "speed-up over plain pandas",
        {"pdparallel": [(row["cost"] * 1e6, row["ratio"]) for row in costs]},
        ratios=True,
    )
    plots.lines(
        folder(quick) / "first_call.png",
        "Light rows in a new process: the first call, and the second",
        "rows",
        "speed-up over plain pandas",
        {
            "first call, pool not started": [(row["rows"], row["pandas"] / row["first"]) for row in calls],
            "second call": [(row["rows"], row["pandas_again"] / row["second"]) for row in calls],
        },
        ratios=True,
    )
    return {"rows": rows, "costs": costs, "calls": calls}


def as_markdown(rows: list[dict[str, Any]], costs: list[dict[str, Any]], calls: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(row["contender"] for row in rows))
    took = {(row["rows"], row["contender"]): f"{row['seconds']:.3g}" for row in rows}
    sizes = sorted({row["rows"] for row in rows})
    by_size = table(
        "light rows, seconds | " + " | ".join(names),
        "r" * (len(names) + 1),
        ([f"{size:,}", *(took.get((size, name), "-") for name in names)] for size in sizes),
    )
    by_cost = table(
        "cost of a row, µs | rows | pandas, s | pdparallel, s | speed-up",
        "rrrrr",
        (
            (
                f"{row['cost'] * 1e6:g}",
                f"{row['rows']:,}",
                f"{row['pandas']:.3g}",
                f"{row['ours']:.3g}",
                f"{row['ratio']:.2f}",
            )
            for row in costs
        ),
    )
    by_call = table(
        "light rows | pandas, s | first call, s | speed-up | second call, s | speed-up",
        "rrrrrr",
        (
            (
                f"{row['rows']:,}",
                f"{row['pandas']:.3g}",
                f"{row['first']:.3g}",
                f"{row['pandas'] / row['first']:.2f}",
                f"{row['second']:.3g}",
                f"{row['pandas_again'] / row['second']:.2f}",
            )
            for row in calls
        ),
    )
    return f"{by_size}\n\n{by_cost}\n\n{by_call}"


if __name__ == "__main__":
    main()
