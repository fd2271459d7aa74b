"""Recording: what a recorder keeps, where it stops, and what of it is a copy."""

from __future__ import annotations

import math
import time
from typing import Any

import pandas as pd
import pytest

from pdparallel.core.call import Work
from pdparallel.core.chunking import Chunk
from pdparallel.data.iterate import feed_for
from pdparallel.typing import UnitFormat
from pdparallel.worker.loop import record

FRAME = pd.DataFrame({"a": range(100), "b": 1.5})

FORMATS: dict[UnitFormat, Any] = {
    "row": FRAME,
    "row-array": FRAME.to_numpy(),
    "row-tuple": FRAME,
    "row-namedtuple": FRAME,
    "row-dict": FRAME,
    "column": FRAME.T,
    "column-array": FRAME.to_numpy().T,
    "value": FRAME["a"],
    "item": list(range(100)),
    "star": [(at,) for at in range(100)],
}


def _recorded(unit_format: UnitFormat, func: Any, until: float = math.inf, *args: Any, **kwargs: Any) -> Any:
    return record(
        Work(func, args, kwargs, unit_format), feed_for(unit_format, func), FORMATS[unit_format], Chunk(200, 300), until
    )


@pytest.mark.parametrize("unit_format", FORMATS)
def test_all_units_in_order(unit_format: UnitFormat) -> None:
    seen = iter(range(100))
    outcome = _recorded(unit_format, lambda unit: next(seen))
    assert (outcome.chunk, outcome.failure, list(outcome.returns)) == (Chunk(200, 300), None, list(range(100)))
    assert outcome.seconds > 0


@pytest.mark.parametrize("unit_format", FORMATS)
def test_a_time_that_is_over_stops_between_two_units_and_after_one_at_least(unit_format: UnitFormat) -> None:
    calls: list[int] = []
    outcome = _recorded(unit_format, lambda unit: calls.append(1), time.perf_counter() - 1.0)
    assert outcome.chunk == Chunk(200, 201)
    assert len(calls) == len(outcome.returns) == 1
    assert outcome.failure is None


@pytest.mark.parametrize("unit_format", FORMATS)
def test_time_enough_means_all(unit_format: UnitFormat) -> None:
    outcome = _recorded(unit_format, lambda unit: 1, time.perf_counter() + 1e6)
    assert outcome.chunk == Chunk(200, 300)
    assert list(outcome.returns) == [1] * 100


@pytest.mark.parametrize("until", [math.inf, 1e12])
@pytest.mark.parametrize("unit_format", FORMATS)
def test_a_failure_ends_it_and_says_where(unit_format: UnitFormat, until: float) -> None:
    calls: list[int] = []

    def func(unit: Any) -> int:
        calls.append(1)
        if len(calls) == 38:
            raise KeyError("here")
        return len(calls)

    outcome = _recorded(unit_format, func, until)
    assert list(outcome.returns) == list(range(1, 38))
    assert outcome.failure.offset == 37
    assert isinstance(outcome.failure.exception, KeyError)
    assert len(calls) == 38


@pytest.mark.parametrize("until", [math.inf, 1e12])
@pytest.mark.parametrize("unit_format", FORMATS)
def test_a_stop_iteration_of_the_function_is_a_failure_and_no_end(unit_format: UnitFormat, until: float) -> None:
    few = iter(range(38))
    outcome = _recorded(unit_format, lambda unit: next(few), until)
    assert list(outcome.returns) == list(range(38))
    assert outcome.failure.offset == 38
    assert isinstance(outcome.failure.exception, StopIteration)
    assert outcome.chunk == Chunk(200, 300)


def test_a_stop_iteration_in_the_last_unit_and_in_a_chunk() -> None:
    few = iter(range(99))
    assert _recorded("value", lambda unit: next(few)).failure.offset == 99
    work = Work(lambda chunk: next(iter([])), (), {}, "chunk")
    outcome = record(work, feed_for("chunk", work.func), FRAME, Chunk(200, 300))
    assert (outcome.failure.offset, type(outcome.failure.exception)) == (0, StopIteration)


@pytest.mark.parametrize("unit_format", FORMATS)
def test_arguments_come_after_the_unit(unit_format: UnitFormat) -> None:
    outcome = _recorded(unit_format, lambda unit, one, two=0: (one, two), math.inf, 5, two=6)
    assert set(outcome.returns) == {(5, 6)}


def test_a_series_that_somebody_else_has_is_recorded_as_it_is_now() -> None:
    shared = pd.Series([0])

    def func(row: Any) -> pd.Series:
        shared.iloc[0] += 1
        return shared

    outcome = _recorded("row", func)
    mine = [int(value.iloc[0]) for value in outcome.returns]
    shared.iloc[0] = 0
    kept: list[pd.Series] = []
    FRAME.apply(lambda row: kept.append(func(row).copy(deep=False)), axis=1)  # as pandas' own loop keeps them
    assert mine == [int(value.iloc[0]) for value in kept]


def test_a_row_that_is_returned_is_recorded_as_it_is_now() -> None:
    outcome = _recorded("row", lambda row: row)
    assert [type(row) for row in outcome.returns] == [pd.Series] * 100
    assert [row["a"] for row in outcome.returns] == list(range(100))
