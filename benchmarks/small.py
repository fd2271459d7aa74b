"""Small calls: ``Series.map`` of one value to ten thousand beside pandas, by what becomes of them.

A call that takes less than a millisecond is to cost no more than pandas' own either.  A round measures a block of calls
by each way in turn: as it is, and with a runner where there is a shorter way for few values.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

import pdparallel
from benchmarks.measure import difference, paired, seconds, table, write
from pdparallel import verbs

VALUES = (1, 10, 100, 1_000, 10_000)

#: Seconds that a block of calls is to take, roughly.
BLOCK_SECONDS = 0.002


@dataclass(frozen=True)
class Kind:
    """What is mapped to what."""

    title: str
    series: Callable[[int], pd.Series]
    func: Callable[[Any], Any]


def _numbers(n: int) -> pd.Series:
    return pd.Series(range(n))


def _texts(n: int) -> pd.Series:
    return pd.Series([f"word {number}" for number in range(n)])


KINDS = (
    Kind("ints to ints", _numbers, lambda value: value + 1),
    Kind("texts to texts", _texts, lambda text: text[:4]),
    Kind("ints to floats and None", _numbers, lambda value: value / 2 if value % 3 else None),
    Kind("ints to tuples", _numbers, lambda value: (value, value)),
    Kind("texts to texts and None", _texts, lambda text: text if text[-1] == "1" else None),
)


@dataclass(frozen=True)
class Small:
    """Medians in seconds of a call, and pandas' time divided by those of the others."""

    work: str
    values: int
    pandas: float
    ours: float
    ratio: float
    by_runner: float
    same: bool
    pairs: int


@contextmanager
def few(most: int) -> Iterator[None]:
    """With another constant."""
    before = verbs.FEW
    verbs.FEW = most
    try:
        yield
    finally:
        verbs.FEW = before


def measure(kind: Kind, values: int, rounds: int) -> Small:
    """All ways in turn."""
    s, func = kind.series(values), kind.func
    ways: dict[str, tuple[Callable[[], Any], int]] = {
        "pandas": (lambda: s.map(func), verbs.FEW),
        "ours": (lambda: s.par.map(func), verbs.FEW),
        "runner": (lambda: s.par.map(func), 0),
    }
    once, expected = seconds(ways["pandas"][0])
    differs = ""
    for call, most in ways.values():
        with few(most):
            differs = differs or difference(call(), expected)
    calls = max(1, int(BLOCK_SECONDS / once))
    took: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            call, most = ways[name]
            with few(most):
                spent, _ = seconds(lambda call=call: [call() for _ in range(calls)] and None)
            if number:  # before that all are warmed up
                took[name].append(spent / calls)
    if differs:
        print(f"{kind.title}: {differs}", file=sys.stderr)
    return Small(
        work=kind.title,
        values=values,
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
        for values in VALUES[:2] if quick else VALUES:
            row = measure(kind, values, 3 if quick else 201)
            print(f"{row.work} ({row.values:,}): {row.ratio:.2f}", file=sys.stderr, flush=True)
            found.append(row)
    write("small", found, as_markdown(found), quick)
    return found


def as_markdown(found: list[Small]) -> str:
    return table(
        "Series.map of | values | pandas, us | pdparallel, us | speed-up | by the runner",
        "lrrrrr",
        (
            (
                row.work,
                f"{row.values:,}",
                f"{row.pandas * 1e6:.0f}",
                f"{row.ours * 1e6:.0f}",
                f"{row.ratio:.2f}",
                f"{row.by_runner:.2f}",
            )
            for row in found
        ),
    )
