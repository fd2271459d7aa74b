"""Sampling: what units of a call cost, found by calling the function with a few, in pdparallel's way and in pandas'.

What they return is thrown away, so that this is for who asks what a call would do, and never a part of one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np
import pandas as pd

from pdparallel import streams
from pdparallel.call import Call, Work
from pdparallel.lean import NotingRows
from pdparallel.outcome import Failed, Outcome
from pdparallel.packing import pack
from pdparallel.plan import Chunk
from pdparallel.rows import Feed, feed_for
from pdparallel.transport.frames import cut_out, encode_data, take
from pdparallel.transport.objects import SharedTable, dump
from pdparallel.transport.outcomes import described
from pdparallel.worker import calling, record

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["MOST_OF_A_PLACE", "Sample", "bytes_of", "fits_lean_rows", "sampled"]

#: Seconds in which units are called by our way, and about as many by pandas'; and how many times as long it may take
#: until each place has had its turn.
BUDGET_SECONDS, MOST_BUDGETS = 0.02, 5

#: Places of the data that they come from, and units of a place at most.
PLACES, MOST_OF_A_PLACE = 8, 2_048

#: Rows of the first call of a function of chunks; each further one has more.
FIRST_CHUNK, LARGER = 64, 4

#: A unit that takes so many seconds is not called once more by pandas: what pandas adds is little beside it.
LONG_UNIT = 0.001

#: Rows that nothing is done with, to see what it costs to hand them out: few, and more.
NOTHING_DONE = (16, 256)


@dataclass(slots=True, eq=False)
class Sample:
    """What was found out of some units; figures as in :class:`pdparallel.explanation.Explanation`.

    ``outcome`` is that of the most units of one place, None where nothing was returned.
    """

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
    lean: bool | None = None
    read: tuple[Any, ...] | None = None
    unread: tuple[Any, ...] | None = None


def sampled(call: Call, problems: list[str]) -> Sample | None:
    """Call the function with some units; None where it cannot be called here.

    Parameters
    ----------
    call : Call
        Whose units they are.
    problems : list of str
        Gets what went wrong.
    """
    work = call.work
    if work.initializer is not None:
        problems.append(
            "what initializer= sets is for workers, so that the function is not called here: to have it measured, set "
            "up what it needs and ask without initializer="
        )
        return None
    with streams.untouched():
        sample = _of_chunks(call, problems) if work.hand == "chunk" else _of_units(call, problems)
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
    noting = NotingRows(work.func) if work.hand == "row" else None
    feed: Feed = feed_for(work.hand, work.func) if noting is None else noting.feed
    outcomes: list[Outcome] = []
    waits = _Waits()
    began, places = time.perf_counter(), _places(call.n)
    for number, place in enumerate(places):
        now = time.perf_counter()
        until = now + max(0.0, began + BUDGET_SECONDS - now) / (len(places) - number)
        chunk = Chunk(place.start, min(place.stop, place.start + MOST_OF_A_PLACE))
        outcome = record(work, feed, take(call.data, work.hand, chunk), chunk, until)
        outcomes.append(outcome)
        if outcome.failure is not None:
            problems.append(_raised(call, outcome))
            break
        if time.perf_counter() - began >= MOST_BUDGETS * BUDGET_SECONDS:
            break
    waiting = waits.share()
    good = [outcome for outcome in outcomes if len(outcome.returns)]
    called = sum(len(one.returns) + (one.failure is not None) for one in outcomes)
    done = [Chunk(one.chunk.start, one.chunk.start + len(one.returns) + (one.failure is not None)) for one in outcomes]
    if not good:
        return Sample(done, None, called)
    # The first place waits for what the function imports and caches, and is not counted where there are others.
    counted = good[1:] if len(good) > 2 else good
    cost = math.fsum(one.seconds for one in counted) / sum(len(one.returns) for one in counted)
    most = max(good, key=lambda one: len(one.returns))
    most = Outcome(Chunk(most.chunk.start, most.chunk.start + len(most.returns)), most.returns, None, most.seconds)
    sample = Sample(done, most, called, cost, waiting, cost, 0.0)
    if noting is not None:
        sample.lean = noting.pay(called)
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
    waits = _Waits()
    began, rows = time.perf_counter(), FIRST_CHUNK
    places = _places(call.n)
    while not outcomes or time.perf_counter() - began < BUDGET_SECONDS:
        # The last part of a place may be smaller than what is wanted of it: from the end of the data then.
        length = min(rows, most)
        start = min(places[len(outcomes) % len(places)].start, call.n - length)
        chunk = Chunk(start, start + length)
        outcome = record(call.work, feed, take(call.data, "chunk", chunk), chunk)
        outcomes.append(outcome)
        if outcome.failure is not None:
            problems.append(_raised(call, outcome))
            break
        if length == most:
            break
        rows *= LARGER
    waiting = waits.share()
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


class _Waits:
    """How much of the time from its making on this process did nothing."""

    def __init__(self) -> None:
        self._began, self._busy, self._switches = time.perf_counter(), time.process_time(), _switches()

    def share(self) -> float:
        """A part of one."""
        took, busy = time.perf_counter() - self._began, time.process_time() - self._busy
        if _switches() == self._switches:  # it gave up its core of itself not once: if it waited, then for a core
            return 0.0
        return max(0.0, 1 - busy / took) if took else 0.0


def _switches() -> float:
    """Times that this thread has given up its core to wait for something; NaN, which equals nothing, if unknown."""
    which = getattr(resource, "RUSAGE_THREAD", None)
    return math.nan if which is None else resource.getrusage(which).ru_nvcsw


# What pandas takes


def _nothing(*args: Any, **kwargs: Any) -> float:
    return 0.0


def _with_pandas(call: Call, sample: Sample) -> None:
    """Find out what pandas would take, for what it hands out in another way."""
    work, outcome = call.work, sample.outcome
    assert outcome is not None
    data: Any = call.data
    if work.hand.startswith("row") and isinstance(data, pd.DataFrame) and work.hand != "row-broadcast":
        frame = take(data, "row", outcome.chunk)
        sample.pandas_handing = _per_unit(lambda part: part.apply(_nothing, axis=1), frame)
        handing = _per_unit(lambda part: _fed(call, part), frame)
        sample.handing = min(handing if sample.lean is not False else sample.pandas_handing, sample.cost)
        sample.function = sample.cost - sample.handing
        sample.pandas_cost = sample.function + sample.pandas_handing
        if work.hand == "row" and sample.lean and sample.cost < LONG_UNIT:
            _called_by_pandas(call, sample, frame, lambda part, func: part.apply(func, axis=1))
    elif work.hand == "value" and sample.cost < LONG_UNIT:
        values = take(data, "value", outcome.chunk)
        _called_by_pandas(call, sample, values, lambda part, func: part.map(func))
    elif math.isnan(sample.pandas_cost):
        sample.pandas_cost = sample.cost


def _called_by_pandas(call: Call, sample: Sample, part: Any, ask: Callable[[Any, Any], Any]) -> None:
    """The same units once more, in pandas' own loop: it may be another thing to read what pandas hands out."""
    func, budget = calling(call.work), BUDGET_SECONDS / 2
    least = max(1, min(NOTHING_DONE[0], int(budget / sample.cost), len(part)))

    def took(rows: Any) -> float:
        sample.calls += len(rows)
        began = time.perf_counter()
        ask(rows, func)
        return time.perf_counter() - began

    try:
        took(part.iloc[:1])  # which waits for what is imported and cached
        first = took(part.iloc[:least])
        more = min(len(part), int(least * budget / first))
        if more >= 2 * least:
            found = max(took(part.iloc[:more]) - first, 0.0) / (more - least)
            # On a busy machine it may come out as less than what pandas takes to call nothing.
            sample.pandas_cost = max(found, 0.0 if math.isnan(sample.pandas_handing) else sample.pandas_handing)
        elif math.isnan(sample.pandas_cost):  # else what is known says more than so few units
            sample.pandas_cost = first / least
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
            began = time.perf_counter()
            ask(part)
            best = min(best, time.perf_counter() - began)
        took.append(best)
    return max(took[1] - took[0], 0.0) / (many - few_rows)


def _fed(call: Call, part: pd.DataFrame) -> None:
    hand = call.work.hand
    record(Work(_nothing, (), {}, hand), feed_for(hand, _nothing), part, Chunk(0, len(part)))


# What travels


def bytes_of(call: Call, outcome: Outcome) -> dict[str, float]:
    """Bytes of a unit, of all, and of a return, by the names that an explanation has for them."""
    hand, chunk = call.work.hand, outcome.chunk

    def of_units(number: int) -> int:
        units = cut_out(call.data, hand, Chunk(chunk.start, chunk.start + number))
        return sum(part.nbytes for part in encode_data(units, SharedTable()))

    values = [value for value in outcome.returns if type(value) is not Failed]

    def of_returns(number: int) -> int:
        parts: list[memoryview] = []
        some = values[:number]
        head = dump(pack(some) or some, SharedTable(), buffer_callback=lambda buffer: parts.append(buffer.raw()))
        return len(head) + sum(part.nbytes for part in parts)

    found = {"bytes_unit": _each(of_units, len(chunk)), "bytes_return": _each(of_returns, len(values))}
    return {**found, "bytes_data": found["bytes_unit"] * call.n}


def _each(of: Callable[[int], int], number: int) -> float:
    """Bytes of one of so many, without those that come once; NaN where they cannot travel."""
    try:
        if number == 0:
            return math.nan
        return float(of(1)) if number == 1 else (of(number) - of(1)) / (number - 1)
    except Exception:  # whatever a user's object raises when it is pickled
        return math.nan


def fits_lean_rows(frame: pd.DataFrame) -> bool:
    """Whether rows of such a frame can be handed out without making a Series of each."""
    rows = NotingRows(_nothing)
    record(Work(_nothing, (), {}, "row"), rows.feed, frame.iloc[:1], Chunk(0, 1))
    return rows.fit
