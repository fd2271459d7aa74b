"""When it helps and when plain pandas is as good: the table on the README's first screen.

Each work in its default form (``engine="auto"``, warm pool) against the pandas call that it replaces.
"""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd

import pdparallel
from benchmarks.measure import Compared, compare, write


def haversine(row: pd.Series) -> float:
    """Kilometres between two points of a row, in plain Python."""
    lat1, lat2 = math.radians(row["lat1"]), math.radians(row["lat2"])
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin(math.radians(row["lon2"] - row["lon1"]) / 2) ** 2
    return 12_742 * math.asin(math.sqrt(half))


def busy(row: pd.Series) -> float:
    """Two milliseconds of work."""
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end:
        pass
    return float(row["lat1"])


def two_values(row: pd.Series) -> pd.Series:
    """A Series for each row."""
    return pd.Series({"x": row["lat1"] + row["lat2"], "y": row["lon1"] - row["lon2"]})


def shout(text: str) -> str:
    """A light function of a text."""
    return text.strip().upper().replace("-", " ")


def words(text: str) -> int:
    """A heavier function of a text: distinct letter pairs."""
    return len({text[i : i + 2] for _ in range(20) for i in range(len(text) - 1)})


def spread(column: pd.Series) -> float:
    """A column in plain Python."""
    mean = sum(column) / len(column)
    return math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))


def clean(chunk: pd.DataFrame) -> pd.DataFrame:
    """Vectorised cleaning of texts."""
    text = chunk["text"].str.strip().str.replace(r"[-_\s]+", " ", regex=True).str.title()
    return chunk.assign(text=text, long=text.str.len() > 12)


def points(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "lat1": rng.uniform(-80, 80, n),
            "lon1": rng.uniform(-180, 180, n),
            "lat2": rng.uniform(-80, 80, n),
            "lon2": rng.uniform(-180, 180, n),
        }
    )


def texts(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame({"text": [f"  new-york_{number} jfk " for number in rng.integers(0, n, n)]})


def main() -> list[Compared]:
    pdparallel.map(abs, range(4), engine="process")  # the pool is warm, as from the second call on
    found: list[Compared] = []
    for n in (100, 1_000, 10_000, 200_000):
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
    df = points(200_000)
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
    few = points(1_000)
    found.append(
        compare("heavy rows, 2 ms each", 1_000, lambda: few.apply(busy, axis=1), lambda: few.par.apply_rows(busy))
    )
    some = points(5_000)
    found.append(
        compare(
            "rows that return a Series",
            5_000,
            lambda: some.apply(two_values, axis=1),
            lambda: some.par.apply_rows(two_values),
        )
    )
    many = texts(500_000)["text"]
    found.append(compare("Series.map, light", 500_000, lambda: many.map(shout), lambda: many.par.map(shout)))
    fewer = many.head(50_000)
    found.append(compare("Series.map, 30 µs a value", 50_000, lambda: fewer.map(words), lambda: fewer.par.map(words)))
    wide = pd.DataFrame(np.random.default_rng(3).normal(size=(50_000, 64)))
    found.append(
        compare("columns in plain Python, 64", 50_000, lambda: wide.apply(spread), lambda: wide.par.apply_cols(spread))
    )
    long = texts(1_000_000)
    found.append(
        compare("whole chunks, vectorised text", 1_000_000, lambda: clean(long), lambda: long.par.apply_chunks(clean))
    )
    numbers = points(1_000_000)
    found.append(
        compare(
            "whole chunks, plain arithmetic",
            1_000_000,
            lambda: numbers * 2 + 1,
            lambda: numbers.par.apply_chunks(lambda chunk: chunk * 2 + 1),
        )
    )
    answer = {True: "yes", False: "NO"}
    lines = ["| work | rows | pandas, s | pdparallel, s | speed-up | same result |", "|---|---:|---:|---:|---:|---|"]
    lines += [
        f"| {row.work} | {row.rows:,} | {row.pandas:.3g} | {row.ours:.3g} | {row.ratio:.2f} | {answer[row.same]} |"
        for row in found
    ]
    write("when_it_helps", found, "\n".join(lines))
    return found


if __name__ == "__main__":
    main()
