"""Scheduler of the chunks of a call on an engine, which retries chunks that are lost with their worker.

The mailbox of a lost chunk says which units ran when its worker died, so the chunk is cut around them. A unit that
ends its worker each time is then alone, and all others are done::

    [ 0 ......... 17 ........ 99 ]      the worker dies at 17
    [ 0 ... 16 ] [17] [ 18 .. 99 ]      retry; 17 ends its worker each time: WorkerDiedError for 17
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from pdparallel.core.call import Call, format_label
from pdparallel.core.cancellation import CancelToken, StoppedError
from pdparallel.core.chunking import Chunk
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failed, Failure, Outcome
from pdparallel.engines.base import Engine, is_crash, signal_name, why_it_ended
from pdparallel.errors import CallTimeoutError, WorkerDiedError, WorkerStartError
from pdparallel.execution.collector import ResultCollector
from pdparallel.execution.encode import CallEncoder
from pdparallel.execution.events import Watch, nobody
from pdparallel.progress.reporter import Bar
from pdparallel.transport.module_state import DifferentCodeError
from pdparallel.transport.shared_memory import Running
from pdparallel.transport.task import LOADING

__all__ = ["Scheduler"]

#: Seconds that running tasks of a failed or cancelled call get to end by themselves before their workers are ended.
RUN_OUT_SECONDS = 0.2

#: Seconds of a wait after which Ctrl-C is noticed, because on Windows it does not interrupt a wait.
INTERRUPT_SECONDS = 0.1 if sys.platform == "win32" else None

#: Times that a task may be lost before its worker has started it.
MAX_LOST = 10

#: Interval of the checks for late units: a fraction of ``timeout=``, and its limits in seconds.
CHECK_PART, MIN_CHECK_SECONDS, MAX_CHECK_SECONDS = 0.1, 0.01, 0.5


@dataclass(frozen=True, slots=True)
class _Try:
    """Chunk to run, with its losses so far."""

    chunk: Chunk
    deaths: int = 0  # workers that ended while they ran exactly these units
    lost: int = 0  # workers that ended before they started them


class Scheduler:
    """Scheduler of the tasks of one call on an engine."""

    def __init__(
        self, call: Call, options: Options, engine: Engine, encoder: CallEncoder, collector: ResultCollector, bar: Bar,
        stop: CancelToken | None = None, watch: Watch = nobody,
    ) -> None:  # fmt: skip
        self._call = call
        self._retries = options.retries
        # A worker cancels a coroutine itself.
        self._timeout = None if call.work.is_async else options.timeout
        self._engine = engine
        self._encoder = encoder
        self._collector = collector
        self._bar = bar
        self._stop = stop
        self._watch = watch
        self.settled = True  # no task of this call is left running
        self._in_flight: dict[Future[bytes], _Try] = {}
        self._retry_queue: deque[_Try] = deque()
        self._given_up: list[Outcome] = []
        self._clock = _Clock(self._timeout)
        # Workers note cheap units in groups, and only a retry finds the guilty one. Otherwise they must note each unit.
        # Coroutines run at the same time, so without a retry nothing tells which of them is guilty.
        self._one_by_one = self._timeout is not None or (options.retries == 0 and not call.work.is_async)

    def run(self, chunks: Iterator[Chunk]) -> Iterator[None]:
        """Run the chunks; yield each time the collector has got an outcome."""
        self.settled = False
        try:
            while True:
                self._send(chunks)
                if not self._in_flight:
                    break
                for future in sorted(self._done(), key=self._position):
                    self._take(future, self._in_flight.pop(future))
                if self._timeout is not None:
                    self._end_what_takes_too_long()
                if self._collector.failure is not None and not self._only_what_comes_before():
                    return
                yield
        except (GeneratorExit, StoppedError):
            self.settled = self._run_out(list(self._in_flight))
            raise
        for outcome in self._given_up:
            self._collector.add(outcome)
        self.settled = True

    def _position(self, future: Future[Any]) -> int:
        """Return the sort key of tasks that end together, so that their output is in order."""
        return self._in_flight[future].chunk.start

    def left(self) -> list[Future[bytes]]:
        """Return the tasks that have not ended."""
        return [future for future in self._in_flight if not future.done()]

    def _done(self) -> list[Future[bytes]]:
        """Wait for the next event, and return the tasks that are done."""
        intervals = (
            interval
            for interval in (self._clock.check_interval, self._bar.check_interval, INTERRUPT_SECONDS)
            if interval is not None
        )
        interval = min(intervals, default=None)
        awaited: list[Future[Any]] = [*self._in_flight]
        if self._stop is not None:
            awaited.append(self._stop.requested)
        done = wait(awaited, timeout=interval, return_when=FIRST_COMPLETED).done
        self._bar.under_way(self._under_way)
        if self._stop is not None:
            self._stop.raise_if_cancelled()
        return list(done)

    def _under_way(self) -> int:
        """Return the number of done units in unfinished chunks."""
        units = 0
        for one in self._in_flight.values():
            running = self._encoder.running(one.chunk)
            if running is not None and running.first != LOADING:
                units += min(running.first - one.chunk.start, len(one.chunk))
        return units

    def _has_room(self) -> bool:
        flying, engine = len(self._in_flight), self._engine
        return flying < engine.in_flight and self._encoder.accepts_more(flying, engine.n_workers)

    def _send(self, chunks: Iterator[Chunk]) -> None:
        sent = 0
        while self._has_room():
            if self._retry_queue:
                one: _Try | None = self._retry_queue.popleft()
            elif sent and self._collector.passes_on and len(self.left()) < len(self._in_flight):
                return  # reading further items may take long, so finished outcomes go out first
            elif self._collector.failure is None and self._collector.accepts_more(len(self._in_flight)):
                one = _next(chunks)
            else:  # all further chunks are behind the failure, or the collector is full
                return
            if one is None:
                return
            sent += 1
            if self._collector.fails_before(one.chunk.start):
                continue
            track_each_unit = self._one_by_one or one.deaths > 0
            self._watch.writes(one.chunk)
            task = self._encoder.task(one.chunk, track_each_unit=track_each_unit)
            self._watch.sends(one.chunk, self._encoder.out)
            future = self._engine.submit(task)
            self._in_flight[future] = one
            if future.done():  # the serial engine: check the outcome before the next chunk runs
                return

    def _take(self, future: Future[bytes], one: _Try) -> None:
        """Handle the end of a task."""
        if future.cancelled():
            return
        problem = future.exception()
        if problem is None:
            self._watch.reads(one.chunk)
            outcome = self._encoder.outcome(future.result())
            if outcome.failure is not None and isinstance(outcome.failure.exception, DifferentCodeError):
                # The worker has other code than this process, and has run nothing.
                self._clock.forget(future)
                self._encoder.bring(outcome.failure.exception.slots)
                self._retry_queue.append(one)
                return
            self._watch.takes(outcome, self._encoder.back)
            if not self._collector.fails_before(one.chunk.start):
                self._show(one.chunk)
            self._clock.forget(future)
            self._collector.add(outcome)
            self._bar.add(outcome.done, outcome.count_failed, outcome.retried)
        elif isinstance(problem, WorkerDiedError):
            self._worker_died(one, future, problem)
        else:
            raise problem

    def _show(self, chunk: Chunk, units: Chunk | None = None) -> None:
        """Show the captured output of a chunk, or of some of its units."""
        said = self._encoder.said(chunk)
        if said is not None:
            said.show(units)

    # Workers that ended

    def _worker_died(self, one: _Try, future: Future[bytes], problem: WorkerDiedError) -> None:
        """Retry the units of a dead worker, except a unit without retries left."""
        self._watch.loses(one.chunk)
        running, late_at = self._encoder.running(one.chunk), self._clock.forget(future)
        if isinstance(problem, WorkerStartError) or not self._engine.restarts:
            self._show_all_that_is_lost(one)
            raise self._lost(problem, one)
        if running is None or running.pid != (problem.pid or running.pid):
            # The worker had not started it, or the task was lost with another worker.
            self._lost_before_it_began(one, problem, MAX_LOST)
            return
        if running.first == LOADING:
            self._lost_before_it_began(one, problem, self._retries)
            return
        units, alone = self._units(one.chunk, running)
        if late_at is not None and late_at != running.first:
            self._lost_before_it_began(one, problem, MAX_LOST)  # the late unit ended just before its worker
        elif late_at is not None:
            self._show(one.chunk, units)
            self._give_up(units, _took_too_long(self._call, units, self._timeout or 0.0), self._collector.add)
            self._run_again(one.chunk, units)
        elif one.deaths >= self._retries and (alone or self._retries == 0):
            tell = self._collector.add if self._collector.passes_on else self._given_up.append
            self._show(one.chunk, units)
            self._give_up(units, self._named(problem, units, one.deaths + 1), tell)
            self._run_again(one.chunk, units)
        else:
            self._run_again(one.chunk, units)
            self._retry_queue.append(_Try(units, one.deaths + 1))

    def _units(self, chunk: Chunk, running: Running) -> tuple[Chunk, bool]:
        """Return the units that ran, and whether they are a single one to blame."""
        if self._call.work.unit_format == "chunk":
            return chunk, True
        units = Chunk(running.first, min(running.last + 1, chunk.stop))
        return units, len(units) == 1

    def _run_again(self, chunk: Chunk, but: Chunk) -> None:
        """Queue the rest of a chunk around some units."""
        for rest in (Chunk(chunk.start, but.start), Chunk(but.stop, chunk.stop)):
            if len(rest) > 0:
                self._retry_queue.append(_Try(rest))

    def _lost_before_it_began(self, one: _Try, problem: WorkerDiedError, most: int) -> None:
        if one.lost >= most:
            self._show(one.chunk)
            raise self._lost(problem, one)
        self._retry_queue.append(_Try(one.chunk, one.deaths, one.lost + 1))

    def _show_all_that_is_lost(self, one: _Try) -> None:
        """Show the output of all lost chunks, because none is retried."""
        for chunk in sorted((other.chunk for other in (one, *self._in_flight.values())), key=lambda chunk: chunk.start):
            self._show(chunk)

    def _give_up(self, units: Chunk, error: Exception, tell: Callable[[Outcome], None]) -> None:
        self._watch.gives_up(units)
        work = self._call.work
        if work.errors == "raise":
            tell(Outcome(units, [], Failure(0, error)))
        else:
            tell(Outcome(units, [Failed(error)] * (1 if work.unit_format == "chunk" else len(units))))
        self._bar.add(len(units), lambda: 0 if work.errors == "raise" else len(units))

    def _named(self, problem: WorkerDiedError, units: Chunk, times: int) -> WorkerDiedError:
        code = problem.exitcode
        how = "" if code is None else f" ({signal_name(code)})" if code < 0 else f" (exit code {code})"
        did = "crashed" if is_crash(code) else "ended"
        attempts = {1: "", 2: " in both attempts"}.get(times, f" in all {times} attempts")
        error = WorkerDiedError(
            f"{self._call.subject(units)} {did} its worker{how}{attempts}. {why_it_ended(code)}"
            + _or_coerce(self._call, " errors='coerce' keeps the results of all other {}s."),
            problem.pid,
            code,
        )
        error._names_unit = True
        return error

    def _lost(self, problem: WorkerDiedError, one: _Try) -> WorkerDiedError:
        """Return the error with a note of the unfinished units."""
        call, chunk = self._call, one.chunk
        place = call.where(chunk, 0)
        if len(chunk) > 1:
            place = (
                f"in the chunk of {call.unit}s {format_label(call.label(chunk.start))} to "
                f"{format_label(call.label(chunk.stop - 1))} (positions {chunk.start} to {chunk.stop - 1})"
            )
        spans = sorted((other.chunk.start, other.chunk.stop - 1) for other in (one, *self._in_flight.values()))
        unfinished = [str(first) if first == last else f"{first} to {last}" for first, last in spans]
        problem.add_note(
            f"pdparallel: {call.verb}, {place}. Not finished: {call.unit}s at positions {', '.join(unfinished[:4])}"
            + (", ..." if len(unfinished) > 4 else "")
        )
        return problem

    # Calls that take too long

    def _end_what_takes_too_long(self) -> None:
        for future, one in self._in_flight.items():
            running = self._encoder.running(one.chunk)
            if (
                running is not None
                and running.first != LOADING
                and self._clock.is_late(future, running.first, running.turn)
            ):
                self._engine.kill(running.pid)

    # Failures of the function

    def _only_what_comes_before(self) -> bool:
        """Cancel the tasks behind a failure; return False if no others are left and some of them still run."""
        behind = [future for future, one in self._in_flight.items() if self._collector.fails_before(one.chunk.start)]
        if len(behind) < len(self._in_flight):
            for future in behind:
                future.cancel()
            return True
        return self._run_out(behind)

    def _run_out(self, futures: list[Future[bytes]]) -> bool:
        """Cancel waiting tasks, wait a little for running ones, and return whether none runs any more."""
        for future in futures:
            future.cancel()
        _, running = wait(futures, timeout=RUN_OUT_SECONDS)
        if not running:
            self._in_flight.clear()
        return not running


class _Clock:
    """Clock of the time for which each task has been at the same unit."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self.check_interval = (
            None if seconds is None else min(max(seconds * CHECK_PART, MIN_CHECK_SECONDS), MAX_CHECK_SECONDS)
        )
        self._seen: dict[Future[bytes], tuple[tuple[int, int], float]] = {}
        self._late: dict[Future[bytes], int] = {}

    def is_late(self, future: Future[bytes], position: int, turn: int = 0) -> bool:
        """Return whether a task has been at a call for too long; True only once per task."""
        now, call = time.monotonic(), (position, turn)
        at, since = self._seen.setdefault(future, (call, now))
        if at != call or turn % 2:  # another call, or the wait before one
            self._seen[future] = (call, now)
            return False
        if self._seconds is None or now - since <= self._seconds or future in self._late:
            return False
        self._late[future] = position
        return True

    def forget(self, future: Future[bytes]) -> int | None:
        """Forget a task; return the position at which it was late, or None."""
        self._seen.pop(future, None)
        return self._late.pop(future, None)


def _took_too_long(call: Call, units: Chunk, seconds: float) -> CallTimeoutError:
    error = CallTimeoutError(
        f"{call.subject(units)} took longer than timeout={seconds:g} seconds, so its worker was ended. Give a longer "
        "timeout=" + (_or_coerce(call, ", or errors='coerce' to keep the results of all other {}s.") or "."),
        seconds,
    )
    error._names_unit = True
    return error


def _or_coerce(call: Call, advice: str) -> str:
    """Return the advice to give errors='coerce', or nothing if the call already keeps the other results."""
    return advice.format(call.unit) if call.work.errors == "raise" else ""


def _next(chunks: Iterator[Chunk]) -> _Try | None:
    chunk = next(chunks, None)
    return None if chunk is None else _Try(chunk)
