"""Measurement of the cost of a unit: calls the function with a few units, in pdparallel's loop and in pandas' loop.

The results are dropped. So this is only for ``explain``, and no part of a real call.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace
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
from pdparallel.diagnostics.explanation import Explanation
from pdparallel.transport.data import cut_out, encode_data, take
from pdparallel.transport.narrow import narrowing
from pdparallel.transport.outcomes import described
from pdparallel.transport.shared_classes import SharedTable, dump
from pdparallel.typing import UnitFormat
from pdparallel.worker.loop import calling, record
from pdparallel.worker.waiting import WaitClock

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


class Sample(NamedTuple):
    """Measured figures, and what the explanation does not show of them."""

    found: Explanation
    outcome: Outcome | None = None  # all returns, as of the first units; None without returns
    pandas_fixed: float = 0.0  # seconds of a call of pandas besides its units
    again: Chunk | None = None  # units of one place that pandas' loop may call again


class _Run(NamedTuple):
    """Outcome of a measurement, its elapsed seconds, its seconds of computing here, and its number of waits."""

    outcome: Outcome
    elapsed: float
    computed: float
    waits: float

    @property
    def calls(self) -> int:
        return len(self.outcome.returns) + (self.outcome.failure is not None)


def sampled(call: Call, found: Explanation, problems: list[str]) -> Sample:
    """Call the function with some units and add their figures, unless it cannot be called here."""
    call = replace(call, work=replace(call.work, retry=None))  # an explanation waits for no retry
    work = call.work
    if work.initializer is not None:
        problems.append(
            "what initializer= sets is for workers, so that the function is not called here: to have it measured, set "
            "up what it needs and ask without initializer="
        )
        return Sample(found)
    with random_state.untouched():
        noting = NotingRows(work.func, work.given, work.views) if work.unit_format == "row" else None
        feed = noting.feed if noting else feed_for(work.unit_format, work.func, work.given, work.views)
        runs = _run_chunks(call, feed) if work.unit_format == "chunk" else _run_units(call, feed)
        last = runs[-1].outcome
        if last.failure is not None:
            place = call.where(last.chunk, last.failure.offset)
            problems.append(f"the function raised {described(last.failure.exception)}, {place}")
        sample = _summarized(call, found, runs)
        if sample.outcome is None:
            return sample
        found = sample.found
        if noting is not None:
            read, unread = _columns_read(call, noting)
            found = replace(found, lazy=noting.pay(found.calls), columns_read=read, columns_unread=unread)
        return sample._replace(found=found if sample.again is None else _with_pandas(call, found, sample.again))


def _places(n: int) -> list[Chunk]:
    """Cut the data into parts of the same size, in an order that spreads the first few over all data."""
    order = [0, 4, 2, 6, 1, 5, 3, 7]
    parts = [Chunk(n * at // PLACES, n * (at + 1) // PLACES) for at in order]
    return [part for part in parts if len(part)]


def _run_units(call: Call, feed: UnitIterator) -> list[_Run]:
    """Call the function with units from many places."""
    runs: list[_Run] = []
    places, units, end = _places(call.n), FIRST_UNITS, time.perf_counter() + MAX_BUDGETS * BUDGET_SECONDS
    for left, place in zip(range(len(places), 0, -1), places, strict=True):
        now = time.perf_counter()
        until = now + max(0.0, end - now) / left
        run = _run(call, feed, Chunk(place.start, min(place.stop, place.start + units)), until)
        runs.append(run)
        if run.outcome.failure is not None or time.perf_counter() >= end:
            break
        # By computing time, not by the clock. On a busy machine a place would get so few units that the fixed cost of a
        # piece dominates.
        budget = BUDGET_SECONDS - math.fsum(one.computed for one in runs)
        enough = budget / (left - 1 + 1e-9) / (run.computed / run.calls + 1e-9)
        units = max(1, min(int(enough), LARGER_PLACE * units, MAX_OF_A_PLACE))
    return runs


def _run_chunks(call: Call, feed: UnitIterator) -> list[_Run]:
    """Call a function of whole chunks with chunks of increasing size."""
    assert call.plan is not None
    runs: list[_Run] = []
    places, most, began = _places(call.n), max(map(len, call.plan)), time.perf_counter()
    while not runs or time.perf_counter() - began < BUDGET_SECONDS * (MAX_BUDGETS if len(runs) < 4 else 1):
        # If too few rows follow in the last place, the chunk ends at the end of the data.
        length = min(FIRST_CHUNK * LARGER ** len(runs), most)
        start = min(places[len(runs) % len(places)].start, call.n - length)
        runs.append(_run(call, feed, Chunk(start, start + length)))
        if length == most or runs[-1].outcome.failure is not None:
            break
    return runs


def _run(call: Call, feed: UnitIterator, chunk: Chunk, until: float = math.inf) -> _Run:
    """Call the function with the units of a chunk, and measure that."""
    piece = take(call.data, call.work.unit_format, chunk)
    clock = WaitClock()
    switches, busy, began = _switches(), _computed(), time.perf_counter()
    outcome = record(call.work, feed, piece, chunk, until, clock=clock)
    elapsed, computed = time.perf_counter() - began, _computed() - busy
    if call.work.is_async:  # without the time to begin on the loop
        elapsed = outcome.seconds
    return _Run(outcome, elapsed, computed, _switches() - switches)


def _summarized(call: Call, found: Explanation, runs: list[_Run]) -> Sample:
    """Add the figures of the calls, without those of pandas."""
    plan, calls = call.plan if call.work.unit_format == "chunk" else None, sum(run.calls for run in runs)
    chunks = [run.outcome.chunk for run in runs]
    stops = [one.start + run.calls if plan is None else one.stop for one, run in zip(chunks, runs, strict=True)]
    found = replace(found, calls=calls, sampled=tuple(zip((one.start for one in chunks), stops, strict=True)))
    elapsed, waits = (math.fsum(getattr(run, name) for run in runs) for name in ("elapsed", "waits"))
    waiting = 0.0
    # A thread waits for other threads now and then, even if the function never waits. The number of waits may be NaN.
    if _computed is time.process_time and not waits * CALLS_OF_A_WAIT < calls:
        waiting = math.fsum(run.outcome.waited or 0.0 for run in runs) / elapsed
    # Without waits for a core, which a busy machine adds to computing.
    good = [
        replace(run.outcome, seconds=run.elapsed if waiting >= LARGE_SHARE else min(run.elapsed, run.computed))
        for run in runs
        if len(run.outcome.returns)
    ]
    if not good:
        return Sample(found)
    if plan is not None:
        per_row, fixed = _cost_of_rows(good)
        cost = per_row + fixed * len(plan) / call.n
        found = replace(found, cost=cost, waiting=waiting, function=cost, handing=0.0, pandas_cost=per_row)
        return Sample(found, good[-1], fixed)
    # The first place includes imports and caches of the function. It does not count if the others have enough units.
    counted = good[1:] if 2 * sum(len(one.returns) for one in good[1:]) >= len(good[0].returns) else good
    cost = math.fsum(one.seconds for one in counted) / sum(len(one.returns) for one in counted)
    # As from one place, because the cost of sending returns is measured on many of them.
    returns = list(itertools.chain.from_iterable(one.returns for one in good))
    again = max((Chunk(one.chunk.start, one.chunk.start + len(one.returns)) for one in good), key=len)
    found = replace(found, cost=cost, waiting=waiting, function=cost, handing=0.0)
    return Sample(found, Outcome(Chunk(0, len(returns)), returns), again=again)


def _cost_of_rows(chunks: list[Outcome]) -> tuple[float, float]:
    """Return the seconds of a row in chunks of increasing size, and the fixed seconds of a chunk."""
    largest = chunks[-1]
    if len(chunks) <= 2:  # the first includes imports and caches of the function
        return largest.seconds / len(largest.chunk), 0.0
    other = chunks[-2]
    per_row = max((largest.seconds - other.seconds) / (len(largest.chunk) - len(other.chunk)), 0.0)
    return per_row, max(largest.seconds - per_row * len(largest.chunk), 0.0)


def _columns_read(call: Call, noting: NotingRows) -> tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]:
    """Return the columns that the function read, and those that it neither read nor names in its code."""
    read = noting.read
    if read is None:
        return None, None
    labels = tuple(getattr(call.data, "columns", ()))
    code = getattr(call.work.func, "__code__", None)
    used = set(labels) if code is None else read | _names(code)
    return tuple(label for label in labels if label in read), tuple(label for label in labels if label not in used)


def _names(code: CodeType) -> set[str]:
    """Return the strings and names in the code of a function and its inner functions."""
    found = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            found |= _names(const)
        else:
            found |= {part for part in (const if isinstance(const, tuple) else (const,)) if isinstance(part, str)}
    return found


#: Clock of the computing time of this process if the platform has a precise one; else of elapsed time.
_computed = time.process_time if time.get_clock_info("process_time").resolution < 1e-5 else time.perf_counter


def _switches() -> float:
    """Return how often this thread gave up its core to wait; NaN if not known."""
    which = getattr(resource, "RUSAGE_THREAD", None)
    return math.nan if which is None else resource.getrusage(which).ru_nvcsw


# Seconds in pandas


def _nothing(*args: Any, **kwargs: Any) -> float:
    return 0.0


def _with_pandas(call: Call, found: Explanation, again: Chunk) -> Explanation:
    """Add the seconds of pandas, which makes some units in another way."""
    unit_format, data = call.work.unit_format, call.data
    if unit_format.startswith("row") and unit_format != "row-broadcast" and isinstance(data, pd.DataFrame):
        frame = take(data, "row", again)
        pandas_handing = _per_unit(lambda part: part.apply(_nothing, axis=1), frame)
        handing = _per_unit(lambda part: _feed_nothing(feed_for(unit_format, _nothing), unit_format, part), frame)
        handing = min(pandas_handing if found.lazy is False else handing, found.cost)
        function = found.cost - handing
        found = replace(
            found, handing=handing, function=function,
            pandas_handing=pandas_handing, pandas_cost=function + pandas_handing,
        )  # fmt: skip
        if unit_format == "row" and found.lazy and found.cost < LONG_UNIT:
            return _called_by_pandas(call, found, frame, lambda part, func: part.apply(func, axis=1))
        return found
    if unit_format == "value" and found.cost < LONG_UNIT:
        return _called_by_pandas(call, found, take(data, "value", again), lambda part, func: part.map(func))
    return replace(found, pandas_cost=found.cost)


def _called_by_pandas(call: Call, found: Explanation, part: Any, ask: Callable[[Any, Any], Any]) -> Explanation:
    """Measure the same units in pandas' own loop, because its units may take another time to read."""
    func, budget = calling(call.work), BUDGET_SECONDS / 2
    clock = time.perf_counter if found.waiting >= LARGE_SHARE else _computed
    least = max(1, min(NOTHING_DONE[0], int(budget / found.cost), len(part)))
    calls, cost = 0, found.pandas_cost

    def took(rows: Any) -> float:
        nonlocal calls
        calls += len(rows)
        began = clock()
        ask(rows, func)
        return clock() - began

    with contextlib.suppress(Exception):  # the function may fail if it is called with the same units again
        took(part.iloc[:1])  # includes imports and caches, and does not count
        before, last, units = 0.0, took(part.iloc[:least]), [0, least]
        while LARGER * units[-1] <= len(part) and LARGER * last <= budget:
            units.append(LARGER * units[-1])
            before, last = last, took(part.iloc[: units[-1]])
        # The difference excludes the fixed cost of a call. On a busy machine it may be negative: then use the mean.
        each = (last - before) / (units[-1] - units[-2]) if last > before else last / units[-1]
        if len(units) > 2:
            cost = max(each, 0.0 if math.isnan(found.pandas_handing) else found.pandas_handing)
        elif math.isnan(cost):  # else the earlier figure is better than one from so few units
            cost = each
    return replace(found, calls=found.calls + calls, pandas_cost=found.cost if math.isnan(cost) else cost)


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


def _feed_nothing(feed: UnitIterator, unit_format: UnitFormat, part: pd.DataFrame) -> None:
    """Call a function that does nothing with each unit of a part."""
    record(Work(_nothing, (), {}, unit_format), feed, part, Chunk(0, len(part)))


# Bytes that are sent


def bytes_of(call: Call, outcome: Outcome) -> dict[str, Any]:
    """Return the bytes of a unit, of all data, and of a return, named as in an explanation."""
    unit_format, chunk, narrow = call.work.unit_format, outcome.chunk, narrowing(call)

    def of_units(number: int) -> int:
        units = cut_out(call.data, unit_format, Chunk(chunk.start, chunk.start + number))
        units = units if narrow is None else narrow(units)
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
    _feed_nothing(rows.feed, "row", frame.iloc[:1])
    return rows.fit
