"""Loop of a worker: calls the function for each unit of a chunk, and records the returns by position.

A worker builds no result. Only the parent, which has the returns of all chunks, can build the result of pandas.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import CoroutineType
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core import random_state
from pdparallel.core.awaitables import is_coroutine_function
from pdparallel.core.call import Initializer, Work
from pdparallel.core.chunking import Chunk
from pdparallel.core.outcome import Assigned, Failure, Outcome, note_initializer
from pdparallel.data.fastpath.base import FRESH, is_lazy
from pdparallel.data.iterate import UnitIterator
from pdparallel.transport.outcomes import failure_keeper, raised_by_function
from pdparallel.typing import Errors, ProgressSlots
from pdparallel.worker.event_loop import blocking, without_coroutines
from pdparallel.worker.record_coroutines import record_coroutines
from pdparallel.worker.replicate_state import InitializerFolder
from pdparallel.worker.retrying import retrying
from pdparallel.worker.waiting import WaitClock

__all__ = ["calling", "prepare", "record"]

#: Seconds that a block of units should take. The recorder checks the clock and notes its units before each block.
BLOCK_SECONDS = 0.001

#: Largest number of units in a block.
MAX_IN_BLOCK = 1 << 20

#: Frequent types of returns that are no Series and no coroutine.
_SCALARS = frozenset((bool, float, int, str, tuple, list, dict, type(None), np.float64, np.int64, np.bool_))

#: Ids of functions of C that users often call with values. Compared by identity, because the ``==`` of a user's object
#: may do anything.
_OF_C = frozenset(
    id(one)
    for one in (
        bool, bytes, complex, float, int, str, abs, ascii, bin, chr, hash, hex, id, len, oct, ord, repr, round,
        math.ceil, math.cos, math.exp, math.floor, math.isnan, math.log, math.log10, math.log1p, math.log2, math.sin,
        math.sqrt, math.tan,
        str.capitalize, str.isalpha, str.isdigit, str.lower, str.lstrip, str.rstrip, str.split, str.strip, str.title,
        str.upper,
    )
)  # fmt: skip


def _no_unit(unit: Any) -> None:
    raise AssertionError("the chunk has ended")


class _TimeIsUpError(Exception):
    """Exception that ends the iteration between two units."""


class _CoroutineError(_TimeIsUpError):
    """Exception that ends the iteration after a coroutine, which reads its unit later. The next unit may reuse it."""


class _Recorder:
    """Sink that calls the function with each unit and records the returns until the time ``until``."""

    def __init__(
        self, work: Work, until: float, first: int, notes: ProgressSlots | None, track_each_unit: bool
    ) -> None:
        self.returns: list[Any] = []
        self.wrote: int | None = None
        self.unshared = False
        self._shared: int | None = None
        self._until = until
        self._first = first
        self._notes = notes
        self._one_by_one = track_each_unit
        self._paced = notes is not None or until < math.inf
        self._size, self._began = 1, 0.0
        self._call = calling(work)
        self._by_map = _goes_by_map(self._call)
        self.call_in_block = self._taking_views() if work.views else self._taking()
        self.call_shared = self._looking() if self._paced else self.call_in_block

    def _taking(self) -> Callable[[Any], None]:
        call, keep = self._call, self.returns.append

        def call_shared(unit: Any) -> None:
            value = call(unit)
            if type(value) not in _SCALARS:
                # Units may be one Series object whose data changes. If the function returns it, a copy keeps its data,
                # as in pandas' own loop. A Series without other references is not that object.
                if isinstance(value, pd.Series) and sys.getrefcount(value) > FRESH:
                    value = value.copy(deep=False)
                elif type(value) is CoroutineType:
                    keep(value)
                    raise _CoroutineError
            keep(value)

        return call_shared

    def _taking_views(self) -> Callable[[Any], None]:
        """Return a function like that of ``_taking``, which also notes the first return that shares its row's array."""
        call, returns, keep = self._call, self.returns, self.returns.append

        def call_shared(unit: Any) -> None:
            value = call(unit)
            if type(value) not in _SCALARS:
                if isinstance(value, pd.Series):
                    if self._shared is None and _share(value, unit):
                        self._shared = len(returns)
                    if sys.getrefcount(value) > FRESH:
                        value = value.copy(deep=False)
                elif type(value) is CoroutineType:
                    keep(value)
                    raise _CoroutineError
            keep(value)

        return call_shared

    def assigned(self) -> Assigned | None:
        """Return the first assignment to a row, and whether an earlier return shares its row's data; else None."""
        first, shared = self.wrote, self._shared
        if first is None and shared is None:
            return None
        return Assigned(first, shared is not None and (first is None or shared < first), self.unshared)

    def call_owned(self, unit: Any) -> None:
        self.returns.append(self._call(unit))

    def _looking(self) -> Callable[[Any], None]:
        take, block = self.call_in_block, self._block_of

        def call_shared(unit: Any) -> None:
            block(1)
            take(unit)

        return call_shared

    def start_block(self, most: int) -> int:
        """Start a block of at most ``most`` units; return its number of units."""
        if not self._paced:
            return most
        # Light units get large blocks, so that checking the clock and noting them costs little.
        now = time.perf_counter()
        if self.returns and not self._one_by_one:
            took = now - self._began
            if took < BLOCK_SECONDS:
                self._size *= 2
            elif took > 4 * BLOCK_SECONDS:
                self._size = max(1, self._size // 4)
        self._began = now
        size = min(self._size, most)
        self._block_of(size)
        return size

    def _block_of(self, size: int) -> None:
        done = len(self.returns)
        if done and time.perf_counter() >= self._until:
            raise _TimeIsUpError
        if self._notes is not None:
            first = self._first + done
            # In this order: a read between the two sees too many units, never wrong ones.
            self._notes[2] = first + size - 1
            self._notes[1] = first

    def call_each(self, units: Iterable[Any]) -> None:
        returns, call, by_map = self.returns, self._call, self._by_map
        units, size, before = iter(units), 0, 0
        while True:
            some = units
            if self._paced:
                before, size = len(returns), self.start_block(MAX_IN_BLOCK)
                some = itertools.islice(units, size)
            if by_map:
                returns.extend(map(call, some))
            else:
                # As fast as map() for a Python function, and a StopIteration of it does not end the loop.
                for unit in some:
                    returns.append(call(unit))
                    del unit  # zip() reuses its tuple if nobody else has it
            if not self._paced or len(returns) - before < size:
                return


def _goes_by_map(call: Callable[[Any], Any]) -> bool:
    """Return True for a function of C: ``map`` calls it faster, and it raises no StopIteration itself."""
    return id(call) in _OF_C


def _share(value: pd.Series, row: Any) -> bool:
    """Return True if pandas may change both when it writes into one of them."""
    return value is row or (not is_lazy(row) and np.may_share_memory(value.to_numpy(), row.to_numpy()))


class _Thread(threading.local):
    """The initializers that this thread called, and the folders to which they changed."""

    def __init__(self) -> None:
        self.prepared: weakref.WeakKeyDictionary[Initializer, InitializerFolder] = weakref.WeakKeyDictionary()


_thread = _Thread()


def prepare(work: Work) -> None:
    """Call the initializer once in each worker: a process, or a thread if threads are the workers."""
    first = work.initializer
    if first is None:
        return
    if first in _thread.prepared:
        _thread.prepared[first].again()
    else:
        call = functools.partial(first.func, *first.args)
        _thread.prepared[first] = InitializerFolder(blocking(call) if is_coroutine_function(call) else call)


def _note_missing_global(exception: NameError, first: Initializer) -> None:
    """Explain why a global variable that the initializer should assign is missing."""
    name = exception.name
    if name in first.own:
        exception.add_note(f"pdparallel: {name!r} was not sent, because the initializer assigns it; here it did not")
    elif name in getattr(getattr(first.func, "__code__", None), "co_varnames", ()):
        exception.add_note(f"pdparallel: {name!r} is a local variable of the initializer. Add 'global {name}' to it")


def calling(work: Work) -> Callable[[Any], Any]:
    """Return a function of a unit that follows ``errors=``."""
    work, _ = retrying(without_coroutines(work) if work.is_async else work)
    call = _with_arguments(work)
    return call if work.errors == "raise" else _guarded(call, work.errors)


def _guarded(call: Callable[[Any], Any], errors: Errors) -> Callable[[Any], Any]:
    """Return a function that returns a :class:`Failed` instead of raising."""
    keep = failure_keeper(errors)

    # A ``map`` that is resumed after an exception would save this function around each call. But it cannot tell an
    # exception of the iterator from one of the function. It also ends at a StopIteration of the function.
    def guarded(unit: Any) -> Any:
        try:
            return call(unit)
        except Exception as exception:
            return keep(exception)

    return guarded


def _with_arguments(work: Work) -> Callable[[Any], Any]:
    """Return the function as a function of a unit only."""
    func, args, kwargs = work.func, work.args, work.kwargs
    if work.unit_format == "star":
        return lambda unit: func(*unit, *args, **kwargs)
    if args or kwargs:
        return lambda unit: func(unit, *args, **kwargs)
    return func


def _with_streams(work: Work, step: Callable[[], None]) -> Work:
    """Return the same work with a function that calls ``step`` to reseed before each unit."""
    func = work.func

    def reseeded(*args: Any, **kwargs: Any) -> Any:
        step()
        return func(*args, **kwargs)

    return replace(work, func=reseeded, seed=None)


def record(
    work: Work, feed: UnitIterator, piece: Any, chunk: Chunk, until: float = math.inf,
    notes: ProgressSlots | None = None, track_each_unit: bool = False, clock: WaitClock | None = None,
) -> Outcome:  # fmt: skip
    """Call the function for each unit of a piece; return a shorter chunk if the time is up, but one unit at least."""
    if work.is_async:
        return record_coroutines(
            work, piece, chunk, until, notes, track_each_unit, measures=clock is not None and work.max_concurrency == 1
        )
    # No variable of this frame refers to the outcome, because the traceback of its failure refers to this frame.
    return _awaited(
        _record(work, feed, piece, chunk, until, notes, track_each_unit, clock),
        work, piece, chunk if until == math.inf else None, notes, track_each_unit,
    )  # fmt: skip


def _awaited(
    outcome: Outcome, work: Work, piece: Any, whole: Chunk | None, notes: ProgressSlots | None, track_each_unit: bool
) -> Outcome:
    """Await the coroutines that a plain function has returned, and run the rest of a ``whole`` chunk."""
    if not outcome.awaits:
        return outcome
    returns, chunk = outcome.returns, outcome.chunk
    if whole is not None and outcome.failure is None:
        given = chunk = whole
    else:
        given = Chunk(chunk.start, chunk.start + len(returns))
    begun = dict(enumerate(returns, chunk.start))
    awaited = record_coroutines(work, piece, given, math.inf, notes, track_each_unit, begun)
    if awaited.failure is None:
        awaited = replace(awaited, chunk=chunk, failure=outcome.failure)
    return replace(awaited, awaited=True)


def _record(
    work: Work, feed: UnitIterator, piece: Any, chunk: Chunk, until: float, notes: ProgressSlots | None,
    track_each_unit: bool, clock: WaitClock | None = None,
) -> Outcome:  # fmt: skip
    try:
        prepare(work)
    except BaseException as exception:
        with contextlib.suppress(Exception):
            note_initializer(exception)
        return Outcome(chunk, [], Failure(0, exception))
    work, repeats = retrying(work)
    if repeats is not None:  # its waits are no waits of the function
        repeats.notes = notes
        # No variable refers to the outcome, because the traceback of its failure refers to this frame.
        return replace(_record(work, feed, piece, chunk, until, notes, track_each_unit), retried=repeats.retried)
    if work.seed is not None:
        with random_state.seeded(work.seed, chunk.start) as step:
            return _record(_with_streams(work, step), feed, piece, chunk, until, notes, track_each_unit, clock)
    recorder = _Recorder(work, until, chunk.start, notes, track_each_unit)
    failure = None
    if clock is not None:
        clock.start()
    began = time.perf_counter()
    try:
        feed(piece, recorder)
    except _TimeIsUpError:
        chunk = Chunk(chunk.start, chunk.start + len(recorder.returns))
    except BaseException as exception:
        failure = Failure(len(recorder.returns), exception, by_function=raised_by_function(exception))
        if isinstance(exception, NameError) and work.initializer is not None:
            _note_missing_global(exception, work.initializer)
    else:
        if len(recorder.returns) < (1 if work.unit_format == "chunk" else len(chunk)):
            # A function of C called a method, such as __len__, that raised StopIteration, and map() ended.
            failure = Failure(len(recorder.returns), StopIteration(), by_function=True)
    try:
        assigned = recorder.assigned() if work.views else None
        seconds = time.perf_counter() - began
        waited = None if clock is None else clock.waited(seconds)
        return Outcome(chunk, recorder.returns, failure, seconds, None, assigned, waited=waited)
    finally:
        # The traceback refers to this frame and to the caller's. This reference cycle would keep the piece and the
        # mapping of the shared memory until the next garbage collection. A function that refers to the recorder is a
        # cycle, too.
        failure = None
        recorder.call_shared = recorder.call_in_block = _no_unit
