"""Small calls beside pandas: of one row or value to some thousands, with the shorter ways for them and without.

A call that takes less than a millisecond is to cost no more than pandas' own either.  A round measures a block of calls
by each way in turn.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import unittest.mock
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import pdparallel
from benchmarks.measure import difference, paired, seconds, table, write
from pdparallel.execution.placement import Placement
from pdparallel.operations import apply

#: Seconds that a block of calls is to take, roughly.
BLOCK_SECONDS = 0.002


@dataclass(frozen=True)
class Kind:
    """What is called: pandas' own, and ours, with data of so many rows."""

    title: str
    data: Callable[[int], Any]
    pandas: Callable[[Any], Any]
    ours: Callable[[Any], Any]
    sizes: tuple[int, ...]


def _numbers(n: int) -> pd.Series:
    return pd.Series(range(n))


def _texts(n: int) -> pd.Series:
    return pd.Series([f"word {number}" for number in range(n)])


def _frame(n: int) -> pd.DataFrame:
    return pd.DataFrame({"x": np.arange(n) * 1.5, "y": np.arange(n)})


def _mapped(title: str, data: Callable[[int], Any], func: Callable[[Any], Any]) -> Kind:
    return Kind(title, data, lambda s: s.map(func), lambda s: s.par.map(func), (1, 10, 100, 1_000, 10_000))


def _by_row(title: str, func: Callable[[Any], Any]) -> Kind:
    def pandas(df: pd.DataFrame) -> Any:
        return df.apply(func, axis=1)

    return Kind(title, _frame, pandas, lambda df: df.par.apply_rows(func), (1, 10, 25, 50, 100))


KINDS = (
    _by_row("rows to numbers", lambda row: row["x"] + row["y"]),
    _by_row("rows to Series", lambda row: pd.Series({"x": row["x"]})),
    Kind(
        "two columns",
        _frame,
        lambda df: df.apply(lambda column: column.max()),
        lambda df: df.par.apply_cols(lambda column: column.max()),
        (10, 1_000),
    ),
    _mapped("map of two columns", _frame, lambda value: value * 2),
    _mapped("map of ints to ints", _numbers, lambda value: value + 1),
    _mapped("map of texts to texts", _texts, lambda text: text[:4]),
    _mapped("map of ints to floats and None", _numbers, lambda value: value / 2 if value % 3 else None),
    _mapped("map of ints to tuples", _numbers, lambda value: (value, value)),
    _mapped("map of texts to texts and None", _texts, lambda text: text if text[-1] == "1" else None),
)


def _inline(*of: Any, **limits: Any) -> Placement:
    return Placement.INLINE


@dataclass(frozen=True)
class Small:
    """Medians in seconds of a call, and pandas' time divided by those of the others."""

    work: str
    rows: int
    pandas: float
    ours: float
    ratio: float
    by_runner: float
    same: bool
    pairs: int


def measure(kind: Kind, rows: int, rounds: int) -> Small:
    """All ways in turn."""
    data = kind.data(rows)
    ways: dict[str, tuple[Callable[[Any], Any], Any]] = {
        "pandas": (kind.pandas, contextlib.nullcontext()),
        "ours": (kind.ours, contextlib.nullcontext()),
        "runner": (kind.ours, unittest.mock.patch.object(apply, "place", _inline)),
    }
    once, expected = seconds(lambda: kind.pandas(data))
    differs = ""
    for call, around in ways.values():
        with around:
            differs = differs or difference(call(data), expected)
    if differs:
        print(f"{kind.title}: {differs}", file=sys.stderr)
    calls = range(max(1, int(BLOCK_SECONDS / once)))
    took: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            call, around = ways[name]
            with around:
                spent, _ = seconds(lambda call=call: [call(data) for _ in calls] and None)
            if number:  # before that all are warmed up
                took[name].append(spent / len(calls))
    return Small(
        work=kind.title,
        rows=rows,
        pandas=statistics.median(took["pandas"]),
        ours=statistics.median(took["ours"]),
        ratio=paired(took["pandas"], took["ours"]),
        by_runner=paired(took["pandas"], took["runner"]),
        same=not differs,
        pairs=rounds,
    )


def main(quick: bool = False) -> list[Small]:
    pdparallel.map(abs, range(4), engine="process")  # the pool is warm, as from the second call on
    found = []
    for kind in KINDS:
        for rows in kind.sizes[:2] if quick else kind.sizes:
            row = measure(kind, rows, 3 if quick else 201)
            print(f"{row.work} ({row.rows:,}): {row.ratio:.2f}", file=sys.stderr, flush=True)
            found.append(row)
    write("small", found, as_markdown(found), quick)
    return found


def as_markdown(found: list[Small]) -> str:
    return table(
        "work | rows | pandas, us | pdparallel, us | speed-up | without the shorter ways",
        "lrrrrr",
        (
            (
                row.work,
                f"{row.rows:,}",
                f"{row.pandas * 1e6:.0f}",
                f"{row.ours * 1e6:.0f}",
                f"{row.ratio:.2f}",
                f"{row.by_runner:.2f}",
            )
            for row in found
        ),
    )
