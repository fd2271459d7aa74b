"""Run a call on an event loop of this process: ``engine="asyncio"``.

This thread cuts the data and feeds the units, which begin as soon as others end. It takes what has come, out of order,
and passes it on in runs of consecutive positions.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pdparallel.core.call import Call
from pdparallel.core.cancellation import CancelToken
from pdparallel.core.chunking import Chunk, PendingUnits
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failure, Outcome, note_initializer
from pdparallel.data.iterate import own_units
from pdparallel.execution.collector import ResultCollector
from pdparallel.execution.events import Watch
from pdparallel.progress.reporter import Bar
from pdparallel.transport.data import take
from pdparallel.worker.coroutines import CHECK_SECONDS, Coroutines

__all__ = ["CoroutineRunner"]

#: Largest number of units that are cut at a time: a cut costs some 30 µs.
MAX_CUT = 512

#: Seconds for which cutting units may keep results waiting. The next cut is smaller or larger.
CUT_SECONDS = 0.002

#: Largest number of results for each slot that wait for an earlier one, if a caller takes them in order.
READ_AHEAD = 4

#: Seconds after which finished units are passed on even if others before them are not finished.
SCATTERED_SECONDS = 1.0


class CoroutineRunner:
    """Runs the pending units of a call on an event loop."""

    def __init__(
        self, call: Call, options: Options, collector: ResultCollector, bar: Bar, gaps: PendingUnits,
        stop: CancelToken | None, watch: Watch, begun: Mapping[int, Any] | None = None,
    ) -> None:  # fmt: skip
        self._call = call
        self._collector = collector
        self._bar = bar
        self._gaps = gaps
        self._stop = stop
        self._watch = watch
        work = call.work
        self._units_of = own_units(work.unit_format, work.func, work.given)
        self._keeps = options.checkpoint is not None
        self._came = threading.Event()
        self._running = Coroutines(work, self._came.set, begun=begun, wakes_for_each=collector.passes_on)
        self._size = 1 if collector.passes_on else MAX_CUT
        self._fed: deque[Chunk] = deque()  # what is not passed on yet; without scattered runs
        self._ready: dict[int, Any] = {}
        self._ahead: dict[int, int] = {}  # scattered runs that are passed on: the stop of each, by its start
        self._failing: int | None = None
        self._has_fed_all = False
        self._retried = 0
        self._seconds = 0.0
        self._scattered = time.perf_counter()

    @property
    def awaited(self) -> bool:
        """Whether the function returned something to await."""
        return self._running.awaited

    def run(self) -> Generator[None, None, None]:
        """Run all pending units; yield each time the collector has got an outcome."""
        running = self._running
        if self._stop is not None:
            # Without this runner: a client that the function keeps may refer to the token through its context.
            came = self._came
            self._stop.requested.add_done_callback(lambda _: came.set())
        wait = CHECK_SECONDS if self._bar.check_interval is None else min(CHECK_SECONDS, self._bar.check_interval)
        with running, self._kept():
            try:
                running.initialize()
            except BaseException as exception:
                with contextlib.suppress(Exception):
                    note_initializer(exception)
                self._pass_on(Outcome(self._gaps.first(1), [], Failure(0, exception)))
                return
            self._scattered = time.perf_counter()
            self._watch.begins()
            while True:
                is_idle = running.is_idle
                if self._stop is not None:
                    self._stop.raise_if_cancelled()
                if self._take(everything=is_idle and (self._has_fed_all or self._failing is not None)):
                    yield
                elif self._needs_more():
                    self._feed()
                elif is_idle:
                    return
                else:
                    self._came.wait(wait)
                    self._came.clear()
                    self._look_for_stuck()

    def _look_for_stuck(self) -> None:
        at = self._running.stuck()
        if at is not None:
            self._running.finished.append((at, Failure(0, self._running.stuck_error())))
            self._take(everything=True)
            self._collector.raise_failure()

    def _needs_more(self) -> bool:
        """Return whether units can be fed now."""
        if self._has_fed_all or self._failing is not None or not self._running.is_hungry:
            return False
        collector = self._collector
        if not collector.passes_on:
            return True
        return collector.accepts_more(0) and len(self._ready) < READ_AHEAD * self._call.work.max_concurrency

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Pass on what has come, also after an interrupt, so that a checkpoint keeps it."""
        try:
            yield
        except BaseException:
            self._take(everything=True)
            raise

    # Units

    def _feed(self) -> None:
        """Cut some units, and give them to the loop."""
        running, call, began = self._running, self._call, time.perf_counter()
        if not self._gaps:  # a lazy iterable reads an item
            self._has_fed_all, running.wants_more = True, False
            return
        chunk = self._gaps.first(self._size)
        units = self._units_of(take(call.data, call.work.unit_format, chunk))
        took = time.perf_counter() - began
        if took > 2 * CUT_SECONDS:
            self._size = max(1, self._size // 4)
        elif took < CUT_SECONDS / 2:
            self._size = min(2 * self._size, MAX_CUT)
        self._gaps.drop(chunk.stop)
        self._fed.append(chunk)
        running.feed(chunk.start, units)

    # Returns

    def _take(self, everything: bool) -> bool:
        """Pass on what has come: runs from the first unit on, or also those behind a gap; return whether there are."""
        finished, ready = self._running.finished, self._ready
        while finished:
            at, value = finished.popleft()
            ready[at] = value
            if type(value) is Failure and (self._failing is None or at < self._failing):
                self._failing = at
        collector, now = self._collector, time.perf_counter()
        scattered = everything or (collector.passes_on and not collector.is_ordered)
        if self._keeps and now - self._scattered > SCATTERED_SECONDS:
            scattered = True
        found = list(self._first_runs())
        if scattered:
            self._scattered = now
            found += self._other_runs()
        if not found:
            self._bar.under_way(lambda: len(ready))
            return False
        running, retried = self._running, self._running.retried
        for outcome in found:
            part = len(outcome.chunk) / sum(len(each.chunk) for each in found)
            seconds = part * (running.seconds - self._seconds)
            self._pass_on(replace(outcome, seconds=seconds, retried=retried - self._retried))
            self._retried = retried
        self._seconds = running.seconds
        self._watch.begins()
        return True

    def _first_runs(self) -> Iterator[Outcome]:
        """Yield the runs of finished units that begin with the first one."""
        fed, ready = self._fed, self._ready
        while fed:
            chunk = fed[0]
            if chunk.start in self._ahead:
                stop = self._ahead.pop(chunk.start)
            elif self._call.work.unit_format == "chunk":
                if chunk.start not in ready:
                    return
                stop = chunk.stop
                yield self._outcome(chunk)
            else:
                stop = chunk.start
                while stop < chunk.stop and stop in ready:
                    stop += 1
                if stop == chunk.start:
                    return
                yield self._outcome(Chunk(chunk.start, stop))
            if stop < chunk.stop:
                fed[0] = Chunk(stop, chunk.stop)
            else:
                fed.popleft()

    def _other_runs(self) -> Iterator[Outcome]:
        """Yield all other runs of finished units."""
        known, by_chunk = self._ready, self._call.work.unit_format == "chunk"
        for chunk in list(self._fed):
            if by_chunk:
                if chunk.start in known:
                    self._ahead[chunk.start] = chunk.stop
                    yield self._outcome(chunk)
                continue
            start = chunk.start
            while start < chunk.stop:
                stop = start
                while stop < chunk.stop and stop in known:
                    stop += 1
                if stop > start:
                    self._ahead[start] = stop
                    yield self._outcome(Chunk(start, stop))
                start = max(stop, start + 1)

    def _outcome(self, chunk: Chunk) -> Outcome:
        """Take the returns of a chunk; it ends at a failure."""
        if self._call.work.unit_format == "chunk":
            positions = range(chunk.start, chunk.start + 1)
        else:
            positions = range(chunk.start, chunk.stop)
        returns = list(map(self._ready.pop, positions))
        if self._failing is not None:
            for offset, value in enumerate(returns):
                if type(value) is Failure:
                    return Outcome(chunk, returns[:offset], replace(value, offset=offset))
        return Outcome(chunk, returns)

    def _pass_on(self, outcome: Outcome) -> None:
        self._watch.did(outcome)
        self._collector.add(outcome)
        self._bar.add(outcome.done, outcome.count_failed, outcome.retried)
