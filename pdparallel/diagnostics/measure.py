"""Measurement of the cost of a unit: calls the function with a few units, in pdparallel's loop and in pandas' loop.

The results are dropped. So this is only for ``explain``, and no part of a real call.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pdparallel.core import random_state
from pdparallel.core.call import Call, Work
from pdparallel.core.chunking import Chunk
from pdparallel.core.format import LARGE_SHARE
from pdparallel.core.outcome import Failed, Outcome
from pdparallel.core.returns import pack
from pdparallel.data.fastpath.row import NotingRows
from pdparallel.data.iterate import UnitIterator, feed_for
from pdparallel.transport.data import cut_out, encode_data, take
from pdparallel.transport.outcomes import described
from pdparallel.transport.shared_classes import SharedTable, dump
from pdparallel.worker.loop import calling, record

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["MAX_OF_A_PLACE", "Sample", "bytes_of", "fits_lazy_rows", "sampled"]

#: Seconds for calls in our loop, and about as many for pandas' loop.
#: Our loop may take MAX_BUDGETS times as long to reach every place.
BUDGET_SECONDS, MAX_BUDGETS = 0.02, 5

#: Number of places in the data to take units from, and largest number of units from a place.
PLACES, MAX_OF_A_PLACE = 8, 2_048

#: Units from the first place, and largest factor by which the next place may have more.
FIRST_UNITS, LARGER_PLACE = 16, 16

#: A function counts as waiting if it waits at least once in this number of calls.
CALLS_OF_A_WAIT = 10

#: Rows of the first chunk for a function of chunks, and factor by which each further chunk is larger.
FIRST_CHUNK, LARGER = 64, 4

#: Seconds of a unit from which pandas does not call it again, because pandas' overhead is small beside it.
LONG_UNIT = 0.001

#: Two numbers of rows for a function that does nothing, to measure the cost of making a row.
NOTHING_DONE = (16, 256)


@dataclass(slots=True, eq=False)
class Sample:
    """Measured figures of some units, named as in :class:`pdparallel.diagnostics.explanation.Explanation`."""

    chunks: list[Chunk]
    outcome: Outcome | None  # all returns, as of the first units; None without returns
    calls: int
    cost: float = math.nan
    waiting: float = math.nan
    function: float = math.nan
    handing: float = math.nan
    pandas_handing: float = math.nan
    pandas_cost: float = math.nan
    pandas_fixed: float = 0.0
    lazy: bool | None = None
    read: tuple[Any, ...] | None = None
    unread: tuple[Any, ...] | None = None
    again: Chunk | None = None  # units of one place that pandas' loop may call again


def sampled(call: Call, problems: list[str]) -> Sample | None:
    """Call the function with some units and return figures; None if it cannot be called here."""
    work = call.work
    if work.initializer is not None:
        problems.append(
            "what initializer= sets is for workers, so that the function is not called here: to have it measured, set "
            "up what it needs and ask without initializer="
        )
        return None
    with random_state.untouched():
        sample = _of_chunks(call, problems) if work.unit_format == "chunk" else _of_units(call, problems)
        if sample.outcome is not None:
            _with_pandas(call, sample)
    return sample


def _places(n: int) -> list[Chunk]:
    """Cut the data into parts of the same size, in an order that spreads the first few over all data."""
    order = [0, 4, 2, 6, 1, 5, 3, 7]
    parts = [Chunk(n * at // PLACES, n * (at + 1) // PLACES) for at in order]
    return [part for part in parts if len(part)]


def _of_units(call: Call, problems: list[str]) -> Sample:
    work = call.work
    noting = NotingRows(work.func, work.given, work.views) if work.unit_format == "row" else None
    feed: UnitIterator = (
        feed_for(work.unit_format, work.func, work.given, work.views) if noting is None else noting.feed
    )
    outcomes: list[Outcome] = []
    took: list[_Took] = []
    places, units, end = _places(call.n), FIRST_UNITS, time.perf_counter() + MAX_BUDGETS * BUDGET_SECONDS
    for number, place in enumerate(places, 1):
        now = time.perf_counter()
        until = now + max(0.0, end - now) / (len(places) - number + 1)
        chunk = Chunk(place.start, min(place.stop, place.start + units))
        outcome = _recorded(call, feed, chunk, took, until)
        outcomes.append(outcome)
        if outcome.failure is not None:
            problems.append(_raised(call, outcome))
            break
        if time.perf_counter() >= end:
            break
        # By computing time, not by the clock. On a busy machine a place would get so few units that the fixed cost of a
        # piece dominates.
        left = BUDGET_SECONDS - math.fsum(one.computed for one in took)
        enough = left / (len(places) - number + 1e-9) / (took[-1].computed / len(outcome.returns) + 1e-9)
        units = max(1, min(int(enough), LARGER_PLACE * units, MAX_OF_A_PLACE))
    waiting = _waiting(took, sum(len(outcome.returns) for outcome in outcomes))
    outcomes = [replace(outcome, seconds=one.seconds(waiting)) for outcome, one in zip(outcomes, took, strict=True)]
    good = [outcome for outcome in outcomes if len(outcome.returns)]
    called = sum(len(one.returns) + (one.failure is not None) for one in outcomes)
    done = [Chunk(one.chunk.start, one.chunk.start + len(one.returns) + (one.failure is not None)) for one in outcomes]
    if not good:
        return Sample(done, None, called)
    # The first place includes imports and caches of the function. It does not count if the others have enough units.
    counted = good[1:] if 2 * sum(len(one.returns) for one in good[1:]) >= len(good[0].returns) else good
    cost = math.fsum(one.seconds for one in counted) / sum(len(one.returns) for one in counted)
    # As from one place, because the cost of sending returns is measured on many of them.
    returns = list(itertools.chain.from_iterable(one.returns for one in good))
    sample = Sample(done, Outcome(Chunk(0, len(returns)), returns), called, cost, waiting, cost, 0.0)
    sample.again = max((Chunk(one.chunk.start, one.chunk.start + len(one.returns)) for one in good), key=len)
    if noting is not None:
        sample.lazy = noting.pay(called)
        sample.read, sample.unread = _columns_read(call, noting)
    return sample


def _raised(call: Call, outcome: Outcome) -> str:
    assert outcome.failure is not None
    place = call.where(outcome.chunk, outcome.failure.offset)
    return f"the function raised {described(outcome.failure.exception)}, {place}"


def _columns_read(call: Call, noting: NotingRows) -> tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]:
    """Return the columns that the function read, and those that it neither read nor names in its code."""
    read = noting.read
    if read is None:
        return None, None
    labels = list(getattr(call.data, "columns", ()))
    named = _names(getattr(call.work.func, "__code__", None))
    unread = () if named is None else tuple(label for label in labels if label not in read and label not in named)
    return tuple(label for label in labels if label in read), unread


def _names(code: CodeType | None) -> set[Any] | None:
    """Return the strings and names in the code of a function and its inner functions; None without code."""
    if code is None:
        return None
    found: set[Any] = set(code.co_names) | {const for const in code.co_consts if isinstance(const, str)}
    for const in code.co_consts:
        if isinstance(const, CodeType):
            found |= _names(const) or set()
        elif isinstance(const, tuple):
            found |= {part for part in const if isinstance(part, str)}
    return found


def _of_chunks(call: Call, problems: list[str]) -> Sample:
    """Measure a function of whole chunks with chunks of increasing size."""
    assert call.plan is not None
    feed, most = feed_for("chunk", call.work.func), max(map(len, call.plan))
    outcomes: list[Outcome] = []
    took: list[_Took] = []
    began, rows = time.perf_counter(), FIRST_CHUNK
    places = _places(call.n)
    while not outcomes or time.perf_counter() - began < BUDGET_SECONDS * (MAX_BUDGETS if len(outcomes) < 4 else 1):
        # If too few rows follow in the last place, the chunk ends at the end of the data.
        length = min(rows, most)
        start = min(places[len(outcomes) % len(places)].start, call.n - length)
        chunk = Chunk(start, start + length)
        outcome = _recorded(call, feed, chunk, took)
        outcomes.append(outcome)
        if outcome.failure is not None:
            problems.append(_raised(call, outcome))
            break
        if length == most:
            break
        rows *= LARGER
    waiting = _waiting(took, len(outcomes))
    outcomes = [replace(outcome, seconds=one.seconds(waiting)) for outcome, one in zip(outcomes, took, strict=True)]
    done = [one.chunk for one in outcomes]
    good = [one for one in outcomes if one.failure is None]
    if not good:
        return Sample(done, None, len(done))
    largest = good[-1]
    per_row, fixed = largest.seconds / len(largest.chunk), 0.0
    if len(good) > 2:  # the first includes imports and caches of the function
        other = good[-2]
        rows_more = len(largest.chunk) - len(other.chunk)
        per_row = max((largest.seconds - other.seconds) / rows_more, 0.0)
        fixed = max(largest.seconds - per_row * len(largest.chunk), 0.0)
    cost = per_row + fixed * len(call.plan) / call.n
    return Sample(done, largest, len(done), cost, waiting, cost, 0.0, pandas_cost=per_row, pandas_fixed=fixed)


#: Clock of the computing time of this process if the platform has a precise one; else of elapsed time.
_computed = time.process_time if time.get_clock_info("process_time").resolution < 1e-5 else time.perf_counter


class _Took(NamedTuple):
    """Elapsed seconds of a measurement, seconds of computing in this process, and number of waits."""

    elapsed: float
    computed: float
    waits: float

    def seconds(self, waiting: float) -> float:
        """Return the seconds without waits for a core, which a busy machine adds to computing."""
        return self.elapsed if waiting >= LARGE_SHARE else min(self.elapsed, self.computed)


def _recorded(call: Call, feed: UnitIterator, chunk: Chunk, took: list[_Took], until: float = math.inf) -> Outcome:
    piece = take(call.data, call.work.unit_format, chunk)
    switches, busy, began = _switches(), _computed(), time.perf_counter()
    outcome = record(call.work, feed, piece, chunk, until)
    elapsed, computed = time.perf_counter() - began, _computed() - busy
    took.append(_Took(elapsed, computed, _switches() - switches))
    return outcome


def _waiting(took: list[_Took], calls: int) -> float:
    """Return the part of the time in which the function waited, but not for a core."""
    waits = math.fsum(one.waits for one in took)
    elapsed, computed = math.fsum(one.elapsed for one in took), math.fsum(one.computed for one in took)
    # A thread waits for other threads now and then, even if the function never waits.
    return 0.0 if waits * CALLS_OF_A_WAIT < calls else max(0.0, 1 - computed / elapsed)


def _switches() -> float:
    """Return how often this thread gave up its core to wait; NaN if not known."""
    which = getattr(resource, "RUSAGE_THREAD", None)
    return math.nan if which is None else resource.getrusage(which).ru_nvcsw


# Seconds in pandas


def _nothing(*args: Any, **kwargs: Any) -> float:
    return 0.0


def _with_pandas(call: Call, sample: Sample) -> None:
    """Add the seconds of pandas for units that it makes in another way."""
    work, again = call.work, sample.again
    data: Any = call.data
    if again is None:
        return
    if work.unit_format.startswith("row") and isinstance(data, pd.DataFrame) and work.unit_format != "row-broadcast":
        frame = take(data, "row", again)
        sample.pandas_handing = _per_unit(lambda part: part.apply(_nothing, axis=1), frame)
        handing = _per_unit(lambda part: _fed(call, part), frame)
        sample.handing = min(handing if sample.lazy is not False else sample.pandas_handing, sample.cost)
        sample.function = sample.cost - sample.handing
        sample.pandas_cost = sample.function + sample.pandas_handing
        if work.unit_format == "row" and sample.lazy and sample.cost < LONG_UNIT:
            _called_by_pandas(call, sample, frame, lambda part, func: part.apply(func, axis=1))
    elif work.unit_format == "value" and sample.cost < LONG_UNIT:
        values = take(data, "value", again)
        _called_by_pandas(call, sample, values, lambda part, func: part.map(func))
    elif math.isnan(sample.pandas_cost):
        sample.pandas_cost = sample.cost


def _called_by_pandas(call: Call, sample: Sample, part: Any, ask: Callable[[Any, Any], Any]) -> None:
    """Measure the same units in pandas' own loop, because its units may take another time to read."""
    func, budget = calling(call.work), BUDGET_SECONDS / 2
    clock = time.perf_counter if sample.waiting >= LARGE_SHARE else _computed
    least = max(1, min(NOTHING_DONE[0], int(budget / sample.cost), len(part)))

    def took(rows: Any) -> float:
        sample.calls += len(rows)
        began = clock()
        ask(rows, func)
        return clock() - began

    try:
        took(part.iloc[:1])  # includes imports and caches, and does not count
        before, last, units = 0.0, took(part.iloc[:least]), [0, least]
        while LARGER * units[-1] <= len(part) and LARGER * last <= budget:
            units.append(LARGER * units[-1])
            before, last = last, took(part.iloc[: units[-1]])
        # The difference excludes the fixed cost of a call. On a busy machine it may be negative: then use the mean.
        found = (last - before) / (units[-1] - units[-2]) if last > before else last / units[-1]
        if len(units) > 2:
            sample.pandas_cost = max(found, 0.0 if math.isnan(sample.pandas_handing) else sample.pandas_handing)
        elif math.isnan(sample.pandas_cost):  # else the earlier figure is better than one from so few units
            sample.pandas_cost = found
    except Exception:  # the function fails if it is called with the same units again
        if math.isnan(sample.pandas_cost):
            sample.pandas_cost = sample.cost


def _per_unit(ask: Callable[[Any], Any], frame: pd.DataFrame) -> float:
    """Return the seconds of a row without the fixed cost of a call."""
    few_rows, many = NOTHING_DONE
    if len(frame) == 0:
        return math.nan
    if len(frame) < many:  # repeat rows, because the function does nothing with them
        frame = frame.take(np.resize(np.arange(len(frame)), many))
    took = []
    for rows in (few_rows, many):
        part, best = frame.iloc[:rows], math.inf
        for _ in range(2):
            began = _computed()
            ask(part)
            best = min(best, _computed() - began)
        took.append(best)
    return max(took[1] - took[0], 0.0) / (many - few_rows)


def _fed(call: Call, part: pd.DataFrame) -> None:
    unit_format = call.work.unit_format
    record(Work(_nothing, (), {}, unit_format), feed_for(unit_format, _nothing), part, Chunk(0, len(part)))


# Bytes that are sent


def bytes_of(call: Call, outcome: Outcome) -> dict[str, float]:
    """Return the bytes of a unit, of all data, and of a return, named as in an explanation."""
    unit_format, chunk = call.work.unit_format, outcome.chunk

    def of_units(number: int) -> int:
        units = cut_out(call.data, unit_format, Chunk(chunk.start, chunk.start + number))
        return sum(part.nbytes for part in encode_data(units, SharedTable()))

    values = [value for value in outcome.returns if type(value) is not Failed]

    def of_returns(number: int) -> int:
        parts: list[memoryview] = []
        some = values[:number]
        head = dump(pack(some) or some, SharedTable(), buffer_callback=lambda buffer: parts.append(buffer.raw()))
        return len(head) + sum(part.nbytes for part in parts)

    each = _each(of_returns, len(values)) / (len(chunk) if unit_format == "chunk" else 1)
    found = {"bytes_unit": _each(of_units, len(chunk)), "bytes_return": each}
    return {**found, "bytes_data": found["bytes_unit"] * call.n}


def _each(of: Callable[[int], int], number: int) -> float:
    """Return the bytes of one of ``number`` objects without the fixed part; NaN if they cannot be sent."""
    try:
        if number == 0:
            return math.nan
        one, all_of_them = of(1), of(number)
        # One object may be serialized in another way than many, and take more.
        return (all_of_them - one) / (number - 1) if all_of_them > one else all_of_them / number
    except Exception:  # a user's object may raise anything when it is pickled
        return math.nan


def fits_lazy_rows(frame: pd.DataFrame) -> bool:
    """Return True if the rows of this frame can be lazy rows."""
    rows = NotingRows(_nothing)
    record(Work(_nothing, (), {}, "row"), rows.feed, frame.iloc[:1], Chunk(0, 1))
    return rows.fit
