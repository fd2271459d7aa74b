"""Sampling: what units of a call cost, found by calling the function with a few, in pdparallel's way and in pandas'.

What they return is thrown away, so that this is for who asks what a call would do, and never a part of one.
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

#: Seconds in which units are called by our way, and about as many by pandas'; and how many times as long it may take
#: until each place has had its turn.
BUDGET_SECONDS, MAX_BUDGETS = 0.02, 5

#: Places of the data that they come from, and units of a place at most.
PLACES, MAX_OF_A_PLACE = 8, 2_048

#: Units of the first place, and how many times as many each further one may have.
FIRST_UNITS, LARGER_PLACE = 16, 16

#: A function that waits does so in one call of so many at least.
CALLS_OF_A_WAIT = 10

#: Rows of the first call of a function of chunks, and how many times as many each further call has.
FIRST_CHUNK, LARGER = 64, 4

#: A unit that takes so many seconds is not called once more by pandas: what pandas adds is little beside it.
LONG_UNIT = 0.001

#: Rows that nothing is done with, to see what it costs to hand them out: few, and more.
NOTHING_DONE = (16, 256)


@dataclass(slots=True, eq=False)
class Sample:
    """What was found out of some units; figures as in :class:`pdparallel.diagnostics.explanation.Explanation`."""

    chunks: list[Chunk]
    outcome: Outcome | None
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
    again: Chunk | None = None


def sampled(call: Call, problems: list[str]) -> Sample | None:
    """Call the function with some units; None where it cannot be called here."""
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
    """Where units are taken from: parts of the same size, in an order that is spread at each moment."""
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
        # By what these took, not by the clock: on a busy machine a place is not to have so few that only what a piece
        # costs by itself is seen.
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
    # The first place waits for what the function imports and caches, and is not counted where others say enough.
    counted = good[1:] if 2 * sum(len(one.returns) for one in good[1:]) >= len(good[0].returns) else good
    cost = math.fsum(one.seconds for one in counted) / sum(len(one.returns) for one in counted)
    # As of one place: whoever looks at how returns travel wants many of them.
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
    """The columns that were asked for, and those that neither were nor stand in the function's code."""
    read = noting.read
    if read is None:
        return None, None
    labels = list(getattr(call.data, "columns", ()))
    named = _names(getattr(call.work.func, "__code__", None))
    unread = () if named is None else tuple(label for label in labels if label not in read and label not in named)
    return tuple(label for label in labels if label in read), unread


def _names(code: CodeType | None) -> set[Any] | None:
    """Texts and names in the code of a function, and in that of those within it; None where there is no code."""
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
    """A function of whole chunks, called with some of few rows and some of more."""
    assert call.plan is not None
    feed, most = feed_for("chunk", call.work.func), max(map(len, call.plan))
    outcomes: list[Outcome] = []
    took: list[_Took] = []
    began, rows = time.perf_counter(), FIRST_CHUNK
    places = _places(call.n)
    while not outcomes or time.perf_counter() - began < BUDGET_SECONDS * (MAX_BUDGETS if len(outcomes) < 4 else 1):
        # The last part of a place may be smaller than what is wanted of it: from the end of the data then.
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
    if len(good) > 2:  # the first waits for what the function imports and caches
        other = good[-2]
        rows_more = len(largest.chunk) - len(other.chunk)
        per_row = max((largest.seconds - other.seconds) / rows_more, 0.0)
        fixed = max(largest.seconds - per_row * len(largest.chunk), 0.0)
    cost = per_row + fixed * len(call.plan) / call.n
    return Sample(done, largest, len(done), cost, waiting, cost, 0.0, pandas_cost=per_row, pandas_fixed=fixed)


#: Seconds for which this process has computed, where the platform tells that precisely; else any seconds.
_computed = time.process_time if time.get_clock_info("process_time").resolution < 1e-5 else time.perf_counter


class _Took(NamedTuple):
    """How long something took, for how long of that this process computed, and how often it waited for something."""

    elapsed: float
    computed: float
    waits: float

    def seconds(self, waiting: float) -> float:
        """As it would be with a core for itself: on a busy machine what computes waits for one."""
        return self.elapsed if waiting >= LARGE_SHARE else min(self.elapsed, self.computed)


def _recorded(call: Call, feed: UnitIterator, chunk: Chunk, took: list[_Took], until: float = math.inf) -> Outcome:
    piece = take(call.data, call.work.unit_format, chunk)
    switches, busy, began = _switches(), _computed(), time.perf_counter()
    outcome = record(call.work, feed, piece, chunk, until)
    elapsed, computed = time.perf_counter() - began, _computed() - busy
    took.append(_Took(elapsed, computed, _switches() - switches))
    return outcome


def _waiting(took: list[_Took], calls: int) -> float:
    """The part of the time in which the function waited in these calls, and not for a core."""
    waits = math.fsum(one.waits for one in took)
    elapsed, computed = math.fsum(one.elapsed for one in took), math.fsum(one.computed for one in took)
    # Now and then a thread waits for another one, whatever the function does.
    return 0.0 if waits * CALLS_OF_A_WAIT < calls else max(0.0, 1 - computed / elapsed)


def _switches() -> float:
    """Times that this thread has given up its core to wait for something; NaN where that is not known."""
    which = getattr(resource, "RUSAGE_THREAD", None)
    return math.nan if which is None else resource.getrusage(which).ru_nvcsw


# What pandas takes


def _nothing(*args: Any, **kwargs: Any) -> float:
    return 0.0


def _with_pandas(call: Call, sample: Sample) -> None:
    """Find out what pandas would take, for what it hands out in another way."""
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
    """The same units once more, in pandas' own loop: it may be another thing to read what pandas hands out."""
    func, budget = calling(call.work), BUDGET_SECONDS / 2
    clock = time.perf_counter if sample.waiting >= LARGE_SHARE else _computed
    least = max(1, min(NOTHING_DONE[0], int(budget / sample.cost), len(part)))

    def took(rows: Any) -> float:
        sample.calls += len(rows)
        began = clock()
        ask(rows, func)
        return clock() - began

    try:
        took(part.iloc[:1])  # which waits for what is imported and cached
        before, last, units = 0.0, took(part.iloc[:least]), [0, least]
        while LARGER * units[-1] <= len(part) and LARGER * last <= budget:
            units.append(LARGER * units[-1])
            before, last = last, took(part.iloc[: units[-1]])
        # What a call takes by itself is in both; on a busy machine that may look like more than all it did.
        found = (last - before) / (units[-1] - units[-2]) if last > before else last / units[-1]
        if len(units) > 2:
            sample.pandas_cost = max(found, 0.0 if math.isnan(sample.pandas_handing) else sample.pandas_handing)
        elif math.isnan(sample.pandas_cost):  # else what is known says more than so few units
            sample.pandas_cost = found
    except Exception:  # the function does not like what it was called with before
        if math.isnan(sample.pandas_cost):
            sample.pandas_cost = sample.cost


def _per_unit(ask: Callable[[Any], Any], frame: pd.DataFrame) -> float:
    """Seconds of a row, without what a call takes by itself."""
    few_rows, many = NOTHING_DONE
    if len(frame) == 0:
        return math.nan
    if len(frame) < many:  # nothing is done with them: the same ones again will do
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


# What travels


def bytes_of(call: Call, outcome: Outcome) -> dict[str, float]:
    """Bytes of a unit, of all, and of a return, by the names that an explanation has for them."""
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
    """Bytes of one of so many, without those that come once; NaN where they cannot travel."""
    try:
        if number == 0:
            return math.nan
        one, all_of_them = of(1), of(number)
        # One by itself may be written in another way than many, and take more.
        return (all_of_them - one) / (number - 1) if all_of_them > one else all_of_them / number
    except Exception:  # whatever a user's object raises when it is pickled
        return math.nan


def fits_lazy_rows(frame: pd.DataFrame) -> bool:
    """Whether rows of such a frame can be handed out without making a Series of each."""
    rows = NotingRows(_nothing)
    record(Work(_nothing, (), {}, "row"), rows.feed, frame.iloc[:1], Chunk(0, 1))
    return rows.fit
