"""Events of a call for its observers: a profile, the log, or an explanation.

A call checks once, at its start, whether anybody observes it. Usually nobody does. It then uses a :class:`Watch` that
does nothing, and no worker measures anything. Otherwise a :class:`CallRecorder` records what happens where and when::

    runner         decided, packs, packed      ---+
    inline         begins, did                    +--> CallRecorder --> Record, ChunkRecord --> each Observer
    scheduler      writes, sends, reads, takes ---+          ^
    build_result   shaping                                   +-- Timing, which a worker adds to its outcome
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from pdparallel.core.call import Call
from pdparallel.core.chunking import Chunk, PendingRanges, PendingUnits
from pdparallel.core.options import Options
from pdparallel.core.outcome import Outcome, Timing
from pdparallel.execution.records import LOG, ChunkRecord, Lines, Observer, Record

__all__ = ["CallRecorder", "Watch", "nobody", "observed", "observing", "shaping", "told_to_pandas", "watch"]

P = ParamSpec("P")
R = TypeVar("R")


class Watch:
    """Receiver of the events of a call that ignores them; :class:`CallRecorder` records them."""

    #: True if workers must measure times.
    timed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def decided(self, why: str, engine: str = "here", workers: int = 1) -> None:
        """Note the engine that runs the call, and why."""

    def packs(self) -> None:
        """Note that the encoding of the data sent once starts."""

    def packed(self) -> None:
        """Note that this encoding ends."""

    def loads(self, outcome: Outcome) -> None:
        """Note that a worker has loaded the function, or failed to."""

    def begins(self) -> None:
        """Note that this process starts a chunk itself."""

    def did(self, outcome: Outcome) -> None:
        """Note that this process has done the chunk."""

    def writes(self, chunk: Chunk) -> None:
        """Note that the encoding of a task starts."""

    def sends(self, chunk: Chunk, size: int) -> None:
        """Note that a task is encoded and goes to the engine."""

    def reads(self, chunk: Chunk) -> None:
        """Note that an answer has arrived and its decoding starts."""

    def takes(self, outcome: Outcome, size: int) -> None:
        """Note that an answer is decoded."""

    def loses(self, chunk: Chunk) -> None:
        """Note that the worker of a chunk has ended."""

    def gives_up(self, chunk: Chunk) -> None:
        """Note that some units are not tried again."""

    def travelled_once(self, size: int) -> None:
        """Note the number of bytes sent once for the whole call."""


#: Watch of all calls that nobody observes.
nobody = Watch()


class CallRecorder(Watch):
    """Watch that records the events of a call and calls its observers."""

    timed = True

    def __init__(
        self, call: Call, options: Options, left: PendingUnits, prefix: Outcome | None, observers: tuple[Observer, ...]
    ) -> None:
        now = time.perf_counter()
        asked = options.engine if isinstance(options.engine, str) else type(options.engine).__name__
        before = 0.0 if prefix is None else prefix.seconds
        self._record = Record(call.verb, call.unit, call.n, asked, now - before, pid=os.getpid())
        self._observers = observers
        self._prefix = prefix
        if isinstance(left, PendingRanges):
            self._record.kept = call.n - len(left) - (0 if prefix is None else len(prefix.chunk))
        self._pieces: dict[int, ChunkRecord] = {}
        self._since = now
        self._call, self._options = call, options

    def __enter__(self) -> Self:
        self._while_shaping = _stop_shaping(self._since)
        for observer in self._observers:
            observer.begins(self._record, self._call, self._options)
        del self._call, self._options  # a reference would keep the user's data alive
        _latest.record, _latest.observers = self._record, self._observers
        if self._prefix is not None:
            self._since = self._record.began
            self.did(self._prefix)
            self._prefix = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record = self._record
        record.ended = time.perf_counter()
        if kind is not None and not record.error:
            record.error = "given up" if kind is GeneratorExit else kind.__name__
        for observer in self._observers:
            observer.ends(record)
        if self._while_shaping:
            _latest.record, _latest.observers, _latest.since = record, self._observers, record.ended

    def decided(self, why: str, engine: str = "here", workers: int = 1) -> None:
        record = self._record
        record.why, record.engine, record.workers = why, engine, workers
        for observer in self._observers:
            observer.decided(record)

    def packs(self) -> None:
        self._since = time.perf_counter()

    def packed(self) -> None:
        self._record.packed.append((self._since, time.perf_counter()))

    def travelled_once(self, size: int) -> None:
        self._record.once = size

    def loads(self, outcome: Outcome) -> None:
        timing = outcome.timing
        if timing is not None:
            self._record.loads.append((timing.pid, timing.thread, timing.began, timing.written))

    def begins(self) -> None:
        self._since = time.perf_counter()

    def did(self, outcome: Outcome) -> None:
        now, began, chunk = time.perf_counter(), self._since, outcome.chunk
        piece = ChunkRecord(
            chunk.start, chunk.stop, os.getpid(), threading.get_native_id(), True,
            began, began, began, began, began, now, now, now, now,
        )  # fmt: skip
        self._add(piece, outcome)

    def writes(self, chunk: Chunk) -> None:
        # A retry replaces the record of its chunk.
        self._pieces[chunk.start] = ChunkRecord(chunk.start, chunk.stop, writing=time.perf_counter())

    def sends(self, chunk: Chunk, size: int) -> None:
        piece = self._pieces[chunk.start]
        piece.out, piece.sent = size, time.perf_counter()

    def reads(self, chunk: Chunk) -> None:
        self._pieces[chunk.start].received = time.perf_counter()

    def takes(self, outcome: Outcome, size: int) -> None:
        piece = self._pieces.pop(outcome.chunk.start)
        piece.back, piece.taken = size, time.perf_counter()
        timing = outcome.timing
        if timing is None:  # the worker could not decode the task
            timing = Timing(0, 0, piece.sent, piece.sent, piece.received, piece.received, piece.received)
        timing = _between(piece.sent, timing, piece.received)
        piece.pid, piece.thread, piece.began, piece.ready, piece.loaded, piece.called, piece.written = timing
        self._add(piece, outcome)

    def _add(self, piece: ChunkRecord, outcome: Outcome) -> None:
        piece.seconds, piece.failed = outcome.seconds, outcome.failure is not None
        piece.retried = outcome.retried
        piece.waited = math.nan if outcome.waited is None else outcome.waited
        if outcome.failure is not None:
            self._record.error = type(outcome.failure.exception).__name__
        self._record.pieces.append(piece)
        for observer in self._observers:
            observer.came(self._record, piece)

    def loses(self, chunk: Chunk) -> None:
        self._record.lost += 1
        self._pieces.pop(chunk.start, None)

    def gives_up(self, chunk: Chunk) -> None:
        now = time.perf_counter()
        piece = ChunkRecord(
            chunk.start, chunk.stop, 0, 0, False, now, now, now, now, now, now, now, now, now, failed=True
        )
        self._record.pieces.append(piece)
        for observer in self._observers:
            observer.came(self._record, piece)


def _between(sent: float, timing: Timing, received: float) -> Timing:
    """Return the times of a worker, moved between ``sent`` and ``received`` if its clock is another one."""
    pid, thread, *times = timing
    if not (sent <= times[0] and times[-1] <= received):
        by = received - times[-1]
        times = [min(max(at + by, sent), received) for at in times]
    return Timing(pid, thread, *times)


_observers: ContextVar[tuple[Observer, ...]] = ContextVar("pdparallel_observers", default=())


class _Latest(threading.local):
    """Latest call of a thread until its result is built, and the time at which that started."""

    record: Record | None = None
    observers: tuple[Observer, ...] = ()
    since: float | None = None


_latest = _Latest()


_lines = Lines()


def observed() -> bool:
    """Return whether anybody observes calls that are made here."""
    return bool(_observers.get()) or LOG.isEnabledFor(logging.DEBUG)


def _here() -> tuple[Observer, ...]:
    observers = _observers.get()
    return (*observers, _lines) if LOG.isEnabledFor(logging.DEBUG) else observers


def watch(call: Call, options: Options, left: PendingUnits, prefix: Outcome | None = None) -> Watch:
    """Return the receiver of the events of a call."""
    observers = _here()
    return CallRecorder(call, options, left, prefix, observers) if observers else nobody


@contextlib.contextmanager
def observing(observer: Observer, alone: bool = False) -> Iterator[None]:
    """Observe the calls inside a ``with`` block; observers of outer blocks do so, too, unless ``alone``."""
    token = _observers.set((observer,) if alone else (*_observers.get(), observer))
    try:
        yield
    finally:
        _observers.reset(token)
        _latest.record = None  # of a call without a result, for example a failed one


def told_to_pandas() -> None:
    """Notify observers that pandas is about to call the function by itself."""
    for observer in _observers.get():
        observer.to_pandas()


def shaping(func: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that builds the result of this thread's latest call, to record its duration."""
    # A nested function counts for the outer one. If it makes another call, as pandas may with groups, the time
    # after that counts for that call.

    @functools.wraps(func)
    def shaped(*args: P.args, **kwargs: P.kwargs) -> R:
        if _latest.record is None or _latest.since is not None:
            return func(*args, **kwargs)
        _latest.since = time.perf_counter()
        try:
            return func(*args, **kwargs)
        finally:
            _stop_shaping(time.perf_counter())

    return shaped


def _stop_shaping(at: float) -> bool:
    """Record the duration of a build that is in progress; return whether there was one."""
    record, since, observers = _latest.record, _latest.since, _latest.observers
    _latest.since = None
    if since is None:
        return False
    _latest.record = None
    if record is not None:
        record.shaped.append((since, at))
        for observer in observers:
            observer.shaped(record)
    return True
