"""What chose the sizes: rows listed at a time, seconds of a chunk, bytes from which an answer goes by mailbox, groups.

Each table tries several values of one constant in turn, the others as they are; a constant stands where the curve is
flat, so that a slower or quicker machine does not need another one.
"""

from __future__ import annotations

import functools
import math
import pickle
import statistics
import unittest.mock
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import pdparallel
from benchmarks.measure import seconds, write
from benchmarks.works import haversine, points
from pdparallel.core import chunking
from pdparallel.data import grouped_frames, groups
from pdparallel.data.fastpath import row as lazy
from pdparallel.data.fastpath.group import LOOK_AFTER, LazyGroups, LazyTrial
from pdparallel.data.grouped_frames import MAX_VALUES, FrameReturn
from pdparallel.transport import task


def _tried(module: Any, name: str, values: list[Any], call: Callable[[], Any], times: int) -> list[dict[str, Any]]:
    """Median seconds of the call for each value, the values in turn."""
    took: dict[Any, list[float]] = {value: [] for value in values}
    for _ in range(times):
        for value in values:
            with unittest.mock.patch.object(module, name, value):
                took[value].append(seconds(call)[0])
    stands = vars(module)[name]
    return [_row(name, value, statistics.median(times_of), value == stands) for value, times_of in took.items()]


def _row(constant: str, value: Any, seconds: float, stands: bool) -> dict[str, Any]:
    return {"constant": constant, "value": value, "seconds": seconds, "stands": stands}


def answer(size: int, position: int) -> np.ndarray:
    """An array of so many bytes."""
    return np.zeros(size // 8)


def by_mailbox_from(size: int) -> None:
    """Let this worker answer by mailbox what has more bytes."""
    task.MAILBOX_BYTES = size


def main(quick: bool = False) -> list[dict[str, Any]]:
    """Try the values of each constant."""
    times, rows = (1, 2_000) if quick else (7, 100_000)
    frame = points(rows)
    pdparallel.map(abs, range(4), engine="process")  # the pool is warm
    found = _tried(
        lazy, "ROWS_LISTED", [256, 512, 1_024, 2_048, 4_096, 16_384, 1_000_000],
        lambda: frame.par(engine="serial").apply_rows(haversine), times,
    )  # fmt: skip
    found += _tried(
        chunking, "CHUNK_SECONDS", [0.005, 0.02, 0.05, 0.1, 0.2, 0.5],
        lambda: frame.par(engine="process", n_workers=2).apply_rows(haversine), times,
    )  # fmt: skip
    for size in (1 << 17, 1 << 19, 1 << 21, 1 << 23):
        for name, most in (("by pipe", 1 << 40), ("by mailbox", task.MAILBOX_BYTES)):
            ask = functools.partial(
                pdparallel.map, functools.partial(answer, size), range(32), engine="process", n_workers=2,
                chunk_size=1, initializer=by_mailbox_from, initargs=(most,),
            )  # fmt: skip
            ask()
            took = [seconds(ask)[0] for _ in range(times)]
            stands = size > task.MAILBOX_BYTES and name == "by mailbox"
            found.append(_row(f"an answer of so many bytes, {name}", size, statistics.median(took) / 32, stands))
    for n in (5, 20, 80, 320):
        found += _ways_of_cutting(n, times)
    found += _lazy_groups(20 * times)
    for n in (20, 200, 2_000, 20_000):
        found += _pieces(n, times)
    lines = ["| constant | value | median, ms | as it stands |", "|---|---:|---:|---|"]
    lines += [
        f"| {row['constant']} | {row['value']:,} | {row['seconds'] * 1e3:.3g} | {'yes' if row['stands'] else ''} |"
        for row in found
    ]
    write("constants", found, "\n".join(lines), quick=quick)
    return found


def _ways_of_cutting(n: int, times: int) -> list[dict[str, Any]]:
    """What it costs to cut out the groups of a chunk of so many, in either way."""
    sizes = np.full(n, 50)
    data = points(int(sizes.sum()))
    found = _tried(
        groups, "LOOP_MIN_GROUPS", [0, n + 1], lambda: groups.Groups(data, sizes).feed(_Taker()), 20 * times
    )  # fmt: skip
    ways = ("pandas' own loop", "iloc")
    stands = (n >= groups.LOOP_MIN_GROUPS, n < groups.LOOP_MIN_GROUPS)
    return [
        _row(f"groups of a chunk, by {way}", n, row["seconds"], stood)
        for way, row, stood in zip(ways, found, stands, strict=True)
    ]


def _lazy_groups(times: int) -> list[dict[str, Any]]:
    """What a lazy group costs besides its function, and what it costs to try some."""
    n = 1_000
    data, sizes = points(50 * n), [50] * n
    found = _median(lambda: LazyGroups(len).call_with_groups(data, sizes, range(n), _Taker()), times)
    units = [data.iloc[at : at + 50] for at in range(0, 50 * LOOK_AFTER, 50)]

    def tries() -> None:
        trial = LazyTrial(len)
        for unit in units:
            trial.call(weighs, unit, (), {})

    return [
        _row("a lazy group (LAZY_SECONDS)", n, found / n, True),
        _row("some groups are tried (TRIAL_WORTH_SECONDS)", LOOK_AFTER, _median(tries, times), True),
    ]


def _pieces(rows: int, times: int) -> list[dict[str, Any]]:
    """What it costs until a frame of so many rows, which a function of a group returned, is one with the others."""
    many = max(2, 200_000 // rows)
    data = points(rows * many)[["lat1", "lon1", "lat2"]]
    values = [FrameReturn(data.iloc[at : at + rows]) for at in range(0, len(data), rows)]

    def travels(packed: Any) -> Any:
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(packed, 5, buffer_callback=buffers.append)
        return pickle.loads(head, buffers=buffers)

    def by_itself() -> Any:
        return pd.concat([piece.value for piece in travels(values)])

    def together() -> Any:
        return pd.concat([travels(FrameReturn.packed(values)).whole])

    found = []
    with unittest.mock.patch.object(grouped_frames, "MAX_VALUES", math.inf):
        for name, call in (("by itself", by_itself), ("put together", together)):
            stands = (data.shape[1] * rows <= MAX_VALUES) == (name == "put together")
            found.append(
                _row(f"a frame of so many values, {name}", data.shape[1] * rows, _median(call, times) / many, stands)
            )
    return found


def weighs(group: Any) -> float:
    """Reads two columns."""
    return float(group["lat1"].to_numpy()[0] + group["lon1"].to_numpy()[0])


def _median(call: Callable[[], Any], times: int) -> float:
    return statistics.median(seconds(call)[0] for _ in range(times))


class _Taker:
    """Takes units, and does nothing with them."""

    def start_block(self, most: int) -> int:
        """As many as there are."""
        return most

    def call_owned(self, unit: Any) -> None:
        """Take it."""


if __name__ == "__main__":
    main()
