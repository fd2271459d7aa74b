"""When it helps and when plain pandas is as good: the table on the README's first screen.

Each work in its default form (``engine="auto"``, warm pool) against the pandas call that it replaces.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

import pdparallel
from benchmarks.measure import Compared, compare, write
from benchmarks.works import BY_NAME, clean, haversine, points, shout, spread, texts, two_values, words


def busy(row: pd.Series) -> float:
    """Two milliseconds of work."""
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end:
        pass
    return float(row["lat1"])


def main(quick: bool = False) -> list[Compared]:
    less = 100 if quick else 1
    pdparallel.map(abs, range(4), engine="process")  # the pool is warm, as from the second call on
    found: list[Compared] = []
    for n in (100, 1_000, 10_000, 200_000 // less):
        df = points(n)
        found.append(
            compare(
                "light rows: distance by row['...']",
                n,
                lambda df=df: df.apply(haversine, axis=1),
                lambda df=df: df.par.apply_rows(haversine),
                pairs=5 if n <= 10_000 else 3,
            )
        )
    df = points(200_000 // less)
    found.append(
        compare(
            "the same, rows='tuple'",
            len(df),
            lambda: df.apply(haversine, axis=1),
            lambda: df.par.apply_rows(
                lambda row: haversine(dict(zip(("lat1", "lon1", "lat2", "lon2"), row, strict=True))), rows="tuple"
            ),
        )
    )
    few = points(1_000 // less)
    found.append(
        compare("heavy rows, 2 ms each", 1_000, lambda: few.apply(busy, axis=1), lambda: few.par.apply_rows(busy))
    )
    some = points(5_000 // less)
    found.append(
        compare(
            "rows that return a Series",
            5_000,
            lambda: some.apply(two_values, axis=1),
            lambda: some.par.apply_rows(two_values),
        )
    )
    many = texts(500_000 // less)["text"]
    found.append(compare("Series.map, light", 500_000, lambda: many.map(shout), lambda: many.par.map(shout)))
    fewer = many.head(50_000 // less)
    found.append(compare("Series.map, 30 µs a value", 50_000, lambda: fewer.map(words), lambda: fewer.par.map(words)))
    wide = pd.DataFrame(np.random.default_rng(3).normal(size=(50_000 // less, 64)))
    found.append(
        compare("columns in plain Python, 64", 50_000, lambda: wide.apply(spread), lambda: wide.par.apply_cols(spread))
    )
    for title, work, rows in (
        ("groupby.apply, a weighted mean, 10,000 groups", "groups-50", 500_000),
        ("groupby.transform, 10,000 groups", "transform", 500_000),
        ("rolling.apply, raw, 50 rows", "rolling", 1_000_000),
    ):
        asked, data = BY_NAME[work], BY_NAME[work].frame(rows // less)
        found.append(
            compare(title, rows, lambda a=asked, d=data: a.pandas(d), lambda a=asked, d=data: a.ours(d), pairs=5)
        )
    long = texts(1_000_000 // less)
    found.append(
        compare("whole chunks, vectorised text", 1_000_000, lambda: clean(long), lambda: long.par.apply_chunks(clean))
    )
    numbers = points(1_000_000 // less)
    found.append(
        compare(
            "whole chunks, plain arithmetic",
            1_000_000,
            lambda: numbers * 2 + 1,
            lambda: numbers.par.apply_chunks(lambda chunk: chunk * 2 + 1),
            pairs=31,  # whoever is first gets new memory, which takes ten times as long
        )
    )
    answer = {True: "yes", False: "NO"}
    lines = ["| work | rows | pandas, s | pdparallel, s | speed-up | same result |", "|---|---:|---:|---:|---:|---|"]
    lines += [
        f"| {row.work} | {row.rows:,} | {row.pandas:.3g} | {row.ours:.3g} | {row.ratio:.2f} | {answer[row.same]} |"
        for row in found
    ]
    write("when_it_helps", found, "\n".join(lines), quick)
    return found


if __name__ == "__main__":
    main()
