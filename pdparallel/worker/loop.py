"""Recording: calls the function for each unit of a chunk, and keeps what each call returned, by position.

It never shapes anything: the parent shapes once, over all of them, which is the only way to the answer that pandas
gives.
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
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core import random_state
from pdparallel.core.call import Initializer, Work
from pdparallel.core.chunking import Chunk
from pdparallel.core.outcome import Assigned, Failed, Failure, NotKeptError, Outcome, note_initializer
from pdparallel.data.fastpath.base import FRESH, is_lazy
from pdparallel.data.iterate import UnitIterator
from pdparallel.transport.outcomes import Stacks, failed, raised_by_function
from pdparallel.typing import ProgressSlots
from pdparallel.worker.replicate_state import Whereabouts

__all__ = ["calling", "prepare", "record"]

#: Seconds of a block of units, between two looks at the clock and two notes of what runs.
BLOCK_SECONDS = 0.001

#: Units of a block at most.
MAX_IN_BLOCK = 1 << 20

#: Exceptions that ``errors="coerce"`` keeps of a chunk, for ``FailedCallsWarning.failures``. Each takes about 50 µs.
MAX_KEPT = 1_000

#: Stands for each exception of a chunk that follows.
_NOT_KEPT = Failed(NotKeptError())

#: Functions of C that are often called with values; by identity, for equality is a matter of the user's object.
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


class _TimeIsUpError(Exception):
    """Ends a feed between two units."""


class _Recorder:
    """Calls the function with each unit and keeps what it returns; see :class:`pdparallel.typing.UnitSink`."""

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
            # pandas hands out one Series object again and again with other data in it; a returned one must stay as
            # it is now, which is what pandas' own loop sees to as well.  One that nobody else has is not that one.
            if isinstance(value, pd.Series) and sys.getrefcount(value) > FRESH:
                value = value.copy(deep=False)
            keep(value)

        return call_shared

    def _taking_views(self) -> Callable[[Any], None]:
        """The same, and notes the first return that shares the array of its row."""
        call, returns, keep = self._call, self.returns, self.returns.append

        def call_shared(unit: Any) -> None:
            value = call(unit)
            if isinstance(value, pd.Series):
                if self._shared is None and _share(value, unit):
                    self._shared = len(returns)
                if sys.getrefcount(value) > FRESH:
                    value = value.copy(deep=False)
            keep(value)

        return call_shared

    def assigned(self) -> Assigned | None:
        """What the function did to rows of which pandas allows one assignment."""
        first, shared = self.wrote, self._shared
        if first is None and shared is None:
            return None
        return Assigned(first, shared is not None and (first is None or shared < first), self.unshared)

    def call_owned(self, unit: Any) -> None:
        """See :class:`pdparallel.typing.UnitSink`."""
        self.returns.append(self._call(unit))

    def _looking(self) -> Callable[[Any], None]:
        take, block = self.call_in_block, self._block_of

        def call_shared(unit: Any) -> None:
            block(1)
            take(unit)

        return call_shared

    def start_block(self, most: int) -> int:
        """Begin a block of units, of so many at most: how many may follow."""
        if not self._paced:
            return most
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
            # In this order: who reads in between sees too many units, never others.
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
                # As quick as map() for a function of Python, and takes no StopIteration of it for the end.
                for unit in some:
                    returns.append(call(unit))
                    del unit  # zip() uses a tuple again that nobody has
            if not self._paced or len(returns) - before < size:
                return


def _goes_by_map(call: Callable[[Any], Any]) -> bool:
    """Whether ``map`` may call a function: one of C, for which that is quicker, and which raises no StopIteration."""
    return id(call) in _OF_C


def _share(value: pd.Series, row: Any) -> bool:
    """Whether pandas sees what is written into one of them in the other, unless it copies before."""
    return value is row or (not is_lazy(row) and np.may_share_memory(value.to_numpy(), row.to_numpy()))


class _Thread(threading.local):
    """The initializers that have been called in a thread, and where they went."""

    def __init__(self) -> None:
        self.prepared: weakref.WeakKeyDictionary[Initializer, Whereabouts] = weakref.WeakKeyDictionary()


_thread = _Thread()


def prepare(work: Work) -> None:
    """Call the initializer, once in each worker: a process, or a thread where those are the workers."""
    first = work.initializer
    if first is None:
        return
    if first in _thread.prepared:
        _thread.prepared[first].again()
    else:
        _thread.prepared[first] = Whereabouts(functools.partial(first.func, *first.args))


def _note_missing_global(exception: NameError, first: Initializer) -> None:
    """Say how the initializer assigns a global variable that the function does not find."""
    name = exception.name
    if name in first.own:
        exception.add_note(f"pdparallel: {name!r} was not sent, because the initializer assigns it; here it did not")
    elif name in getattr(getattr(first.func, "__code__", None), "co_varnames", ()):
        exception.add_note(f"pdparallel: {name!r} is a local variable of the initializer. Add 'global {name}' to it")


def calling(work: Work) -> Callable[[Any], Any]:
    """The function as one of a unit only, which ``errors=`` may keep from raising."""
    call = _with_arguments(work)
    return call if work.errors == "raise" else _guarded(call, returns_them=work.errors == "return")


def _guarded(call: Callable[[Any], Any], returns_them: bool) -> Callable[[Any], Any]:
    """A function that returns a :class:`Failed` instead of raising."""
    kept = 0
    stacks: Stacks = {}

    # A function around each call, though a ``map`` may be resumed after an exception: it would take an exception
    # of what iterates for one of the function, and a StopIteration of the function for the end.
    def guarded(unit: Any) -> Any:
        nonlocal kept
        try:
            return call(unit)
        except Exception as exception:
            if returns_them or not kept:
                kept = 1
                return failed(exception, stacks)
            if kept == MAX_KEPT:
                return _NOT_KEPT
            kept += 1
            return Failed(exception.with_traceback(None))  # nobody reads its stack: to write it takes far longer

    return guarded


def _with_arguments(work: Work) -> Callable[[Any], Any]:
    """The function as one of a unit only."""
    func, args, kwargs = work.func, work.args, work.kwargs
    if work.unit_format == "star":
        return lambda unit: func(*unit, *args, **kwargs)
    if args or kwargs:
        return lambda unit: func(unit, *args, **kwargs)
    return func


def _with_streams(work: Work, step: Callable[[], None]) -> Work:
    """The same work, which begins another stream of random numbers before each unit by itself."""
    func = work.func

    def reseeded(*args: Any, **kwargs: Any) -> Any:
        step()
        return func(*args, **kwargs)

    return replace(work, func=reseeded, seed=None)


def record(
    work: Work, feed: UnitIterator, piece: Any, chunk: Chunk, until: float = math.inf,
    notes: ProgressSlots | None = None, track_each_unit: bool = False,
) -> Outcome:  # fmt: skip
    """Call the function for each unit of a piece and keep what it returns."""
    try:
        prepare(work)
    except BaseException as exception:
        with contextlib.suppress(Exception):
            note_initializer(exception)
        return Outcome(chunk, [], Failure(0, exception))
    if work.seed is not None:
        with random_state.seeded(work.seed, chunk.start) as step:
            return record(_with_streams(work, step), feed, piece, chunk, until, notes, track_each_unit)
    recorder = _Recorder(work, until, chunk.start, notes, track_each_unit)
    failure = None
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
            # A StopIteration of a method that a function of C has called, which map() took for its own end.
            failure = Failure(len(recorder.returns), StopIteration(), by_function=True)
    try:
        assigned = recorder.assigned() if work.views else None
        return Outcome(chunk, recorder.returns, failure, time.perf_counter() - began, None, assigned)
    finally:
        # The traceback leads to this frame and to that of who called: a circle, which would keep the piece, and with it
        # the mapping of the whole arena, until the garbage collector comes by.  So does a method of the recorder in it.
        failure = None
        recorder.call_shared = recorder.call_in_block
