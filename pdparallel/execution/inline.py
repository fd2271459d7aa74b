"""Run units in this process: a light loop for small calls, and the inline part of any other call.

Both stop when the rest may be worth workers. The runner goes on with the returns so far.
"""

from __future__ import annotations

import itertools
import math
import operator
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from pdparallel.core.call import Call, Work
from pdparallel.core.cancellation import CancelToken
from pdparallel.core.chunking import Chunk, PendingUnits
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failure, Outcome
from pdparallel.data.fastpath.row import LazyRows
from pdparallel.data.iterate import UnitIterator, feed_for
from pdparallel.engines.base import Engine
from pdparallel.errors import FunctionNotSerializableError
from pdparallel.execution import placement
from pdparallel.execution.collector import ResultCollector
from pdparallel.execution.encode import CallEncoder
from pdparallel.execution.events import Watch, nobody
from pdparallel.execution.placement import PoolDecision, Reason
from pdparallel.progress.reporter import Bar
from pdparallel.transport.data import take
from pdparallel.transport.module_state import DifferentCodeError
from pdparallel.worker.loop import calling, record
from pdparallel.worker.waiting import WaitClock

__all__ = ["BLOCK_SECONDS", "MAX_IN_BLOCK", "InlineRunner", "outcome_of", "run_inline", "run_loop"]

#: Seconds after which the bar says that workers load the function.
LOADING_SHOWN_SECONDS = 0.5

#: The note in the bar.
LOADING = "workers loading"

#: Seconds of a block of calls between two reads of the clock.
BLOCK_SECONDS = 0.001

#: Largest number of calls in a block. Later calls may be heavy.
MAX_IN_BLOCK = 512


def run_inline(
    call: Call, feed: UnitIterator, chunk: Chunk, until: float = math.inf, clock: WaitClock | None = None
) -> Outcome:
    """Call the function for a chunk of units, but start no unit after the time ``until``."""
    return record(call.work, feed, take(call.data, call.work.unit_format, chunk), chunk, until, clock=clock)


def run_loop(work: Work, units: Sequence[Any]) -> Outcome:
    """Call the function for units until the first check is due, without the cost of a runner."""
    func, returns, clock = calling(work), list[Any](), time.perf_counter
    rest, left, size = iter(units), len(units), 1
    failure: BaseException | None = None
    began = block = now = clock()
    try:
        while True:
            size = min(size, left)
            left -= size
            # Not map(): it would end at a StopIteration of the function.
            returns += [func(unit) for unit in itertools.islice(rest, size)]
            now = clock()
            if not left or now - began > placement.LOOK_SECONDS:
                break
            if now - block < BLOCK_SECONDS:
                size = min(4 * size, MAX_IN_BLOCK)
            block = now
    except BaseException as exception:
        failure = exception
    try:
        called = len(units) - operator.length_hint(rest)
        return outcome_of(max(called, 1), returns, failure, now - began)  # an interrupt may come before the first call
    finally:
        failure = None  # its traceback refers to this frame


def outcome_of(called: int, returns: list[Any], exception: BaseException | None, seconds: float) -> Outcome:
    """Make the outcome of the first units; the traceback of a failure starts at the function."""
    if exception is None:
        return Outcome(Chunk(0, called), returns, None, seconds)
    below = exception.__traceback__.tb_next if exception.__traceback__ is not None else None
    exception = exception.with_traceback(below or exception.__traceback__)
    failure = Failure(called - 1, exception, by_function=isinstance(exception, Exception))
    return Outcome(Chunk(0, called), returns, failure, seconds)


class InlineRunner:
    """Runs units of a call in this process. Its methods yield after each piece of work."""

    def __init__(
        self,
        call: Call,
        options: Options,
        collector: ResultCollector,
        bar: Bar,
        gaps: PendingUnits,
        stop: CancelToken | None = None,
        watch: Watch = nobody,
    ) -> None:
        self._call = call
        self._options = options
        self._collector = collector
        self._bar = bar
        self._feed = feed_for(call.work.unit_format, call.work.func, call.work.given, call.work.views)
        self._gaps = gaps
        self._stop = stop
        self._watch = watch
        # Check often if somebody waits for each result, watches the bar, or may cancel the call.
        awaited = collector.passes_on or stop is not None or bar.check_interval is not None
        self._worth = PoolDecision(
            options, placement.MAX_LOOK_SECONDS if awaited else placement.IDLE_LOOK_SECONDS, self._rows_stay_lazy
        )
        self._latest: Outcome | None = None
        #: Whether the function has returned coroutines.
        self.awaited = False
        self._clock = WaitClock() if watch.timed else None

    @property
    def reason(self) -> Reason:
        """Reason of the last decision."""
        return self._worth.reason

    def run_until_worth(self, is_warm: Callable[[], bool], prefix: Outcome | None = None) -> Iterator[None]:
        """Run units until workers would finish the rest sooner."""
        while self._gaps:
            if prefix is None:
                outcome = self._work()
                yield
            else:
                outcome, prefix = prefix, None
            self.awaited = outcome.awaited
            if self._collector.failure is not None or self.awaited:
                break
            left = len(self._gaps)
            if not left:
                break
            cost = self._collector.seconds / self._collector.units
            self._latest = outcome
            if self._worth.should_use_pool(cost, left, is_warm, self._so_far):
                return
        self._worth.record_inline_work()

    def _rows_stay_lazy(self) -> bool:
        """Return whether rows stay lazy. If not, pandas makes them, by code that is not thread-safe."""
        rows = getattr(self._feed, "__self__", None)
        return not isinstance(rows, LazyRows) or rows.are_lazy

    @property
    def most_in_threads(self) -> float:
        """Most seconds of a unit in a thread at which threads still gain enough."""
        return self._options.workers / placement.THREADS_GAIN * self._collector.seconds / self._collector.units

    def leave_threads(self) -> None:
        """Give up threads, because they gained too little."""
        self._worth.leave_threads()

    def _so_far(self) -> tuple[Call, Outcome]:
        assert self._latest is not None
        return self._call, self._latest

    def run_until_loaded(
        self, engine: Engine, encoder: CallEncoder, is_up: bool
    ) -> Generator[None, None, BaseException | None]:
        """Let the workers load the function, and run units until they have."""
        workers = engine.n_workers
        if not is_up:  # all of them start
            _asked(engine, b"", workers)
        answers = _asked(engine, encoder.loading(), max(1, workers - 1))
        took_long = yield from self._run_until(answers)
        if took_long and workers > 1 and self._gaps and self._collector.failure is None:
            others = _asked(engine, encoder.loading(), workers)
            yield from self._run_until(others)
            answers += others
        problem = self._failed_to_load(encoder, answers)
        while isinstance(problem, DifferentCodeError):
            # They have other code than this process. Send it; each round may need more.
            try:
                encoder.bring(problem.slots)
            except FunctionNotSerializableError as error:
                return error
            answers = _asked(engine, encoder.loading(), workers)
            yield from self._run_until(answers)
            problem = self._failed_to_load(encoder, answers)
        return problem

    def _run_until(self, answers: list[Future[bytes]]) -> Generator[None, None, bool]:
        """Run units until all answers are there; return whether that took long."""
        if not answers:
            return False
        answered, lock, left = threading.Event(), threading.Lock(), len(answers)

        def count(_: Future[bytes]) -> None:
            nonlocal left
            with lock:
                left -= 1
                if not left:
                    answered.set()

        for future in answers:
            future.add_done_callback(count)
        if answered.wait(placement.ANSWER_SECONDS):
            return False
        shown_from = time.monotonic() + LOADING_SHOWN_SECONDS
        try:
            while self._gaps and self._collector.failure is None and not answered.is_set():
                if time.monotonic() >= shown_from:
                    self._bar.note(LOADING)
                self._work()
                yield
        finally:
            self._bar.note("")
        return True

    def _failed_to_load(self, encoder: CallEncoder, answers: list[Future[bytes]]) -> BaseException | None:
        """Show the output of workers that loaded the function; return why one failed."""
        failure: BaseException | None = None
        for future in answers:
            if future.done() and not future.cancelled() and future.exception() is None and future.result():
                outcome = encoder.outcome(future.result())
                self._watch.loads(outcome)
                said = encoder.said(outcome.chunk)
                if said is not None:
                    said.show()
                if outcome.failure is not None and (failure is None or isinstance(failure, DifferentCodeError)):
                    failure = outcome.failure.exception
        return failure

    def go_on(self) -> Iterator[None]:
        """Run all remaining units."""
        while self._gaps and self._collector.failure is None:
            self._work()
            yield

    def _work(self) -> Outcome:
        """Run one planned chunk, or units until the next check, at least one."""
        if self._stop is not None:
            self._stop.raise_if_cancelled()
        call, until = self._call, math.inf
        # Cut only what may be done by then, because a cut costs time.
        done, seconds = self._collector.units, self._collector.seconds
        likely = 2 * self._worth.check_interval * done / seconds if seconds else 0
        chunk = self._gaps.first(self._options.chunk_size or max(self._gaps.few, int(likely)))
        if self._clock is None and done:  # a small call, which is one chunk, does not pay for a clock
            self._clock = WaitClock()
        if call.plan is None:
            until = time.perf_counter() + self._worth.check_interval
        self._watch.begins()
        outcome = run_inline(call, self._feed, chunk, until, self._clock)
        self._watch.did(outcome)
        self._collector.add(outcome)
        self._bar.add(outcome.done, outcome.count_failed, outcome.retried)
        self._gaps.drop(outcome.chunk.stop)
        return outcome


def _asked(engine: Engine, task: bytes, times: int) -> list[Future[bytes]]:
    """Submit a task several times; return the futures of its answers."""
    try:
        return [engine.submit(task) for _ in range(times)]
    except Exception:  # the first chunk raises it again
        return []
