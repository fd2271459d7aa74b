"""Auto: what ``engine="auto"`` does in the parent: begin, find out whether the rest is worth workers, work on until
they are up.

The parent keeps what its calls returned, so every unit is computed once, a small call never sees a process, and the
second that a new pool takes to import pandas is never waited for.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any

from pdparallel.core.call import Call
from pdparallel.core.cancellation import CancelToken
from pdparallel.core.chunking import Chunk, PendingUnits
from pdparallel.core.cpu_count import gil_is_off
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failed, Outcome
from pdparallel.core.returns import Texts, pack
from pdparallel.data.fastpath.row import LazyRows
from pdparallel.data.iterate import feed_for
from pdparallel.engines.base import Engine
from pdparallel.errors import FunctionNotSerializableError
from pdparallel.execution.collector import ResultCollector
from pdparallel.execution.encode import CallEncoder
from pdparallel.execution.events import Watch, nobody
from pdparallel.progress.reporter import Bar
from pdparallel.transport.data import cut_out, take
from pdparallel.transport.modules import DifferentCodeError
from pdparallel.transport.shared_classes import SharedTable, dump, load
from pdparallel.worker.loop import record
from pdparallel.worker.run_task import inside_worker

__all__ = ["InlineRunner", "PoolDecision", "Reason", "missed", "transfer_cost", "transfer_seconds"]

#: Seconds after which the parent looks whether the rest is worth a pool; it costs nothing on smaller calls.
LOOK_SECONDS = 0.01

#: The next look comes after twice the time, up to so many seconds: each costs some tenths of a millisecond.
MAX_LOOK_SECONDS = 0.1

#: The same where there is nothing to decide, as with one worker.
IDLE_LOOK_SECONDS = 0.5

#: Seconds of work, in one process, from which it is worth starting a pool: twice what one takes to start, during which
#: the parent works on, a little slower (benchmarks/handover.py).  What earlier calls of this process would have given
#: to a pool counts, too: who calls again and again soon has one, and a single short call is never slowed by one.
COLD_WORTH_SECONDS = 1.5

#: The same for a pool that is up: what a call of it costs before the first row is done (benchmarks/handover.py).
WARM_WORTH_SECONDS = 0.05

#: How many times as fast threads must be as this process alone; they are slower where they share what they count.
THREADS_GAIN = 1.2

#: Seconds that a chunk may take in a thread, which nobody can end: a call that fails or is given up waits for it.
MAX_THREAD_SECONDS = 0.2

#: Seconds in which a pool that is up has answered.
ANSWER_SECONDS = 0.005

#: Seconds after which a bar says what the rest of the call waits for.
LOADING_SHOWN_SECONDS = 0.5

#: What it says.
LOADING = "workers loading"

#: Seconds of travelling that are enough to tell what more of it costs.
ENOUGH_SECONDS = 0.0002

#: Seconds of work that calls of this process would have given to a pool, had one been up, since there last was one.
_unpooled_seconds = 0.0


class Reason(enum.Enum):
    """Why a call stays in this process, or goes to workers, in words."""

    NOT_ASKED = "the call ended before there was a reason to use workers"
    ONE_WORKER = "n_workers is 1, and this process is as fast"
    INSIDE = "this process is a worker itself"
    SHORT = f"the rest takes less than {1000 * WARM_WORTH_SECONDS:.0f} ms"
    COLD = f"no worker runs yet, and the rest takes less than {COLD_WORTH_SECONDS:g} s"
    TRAVEL = "sending the data takes about as long as workers would save"
    WORTH = "workers save more time than they cost"
    THREADS = "Python runs without the GIL, and threads can share the rest"
    CANNOT = "the function cannot be sent to workers"


class PoolDecision:
    """Whether what is left of a call is worth workers, asked now and then."""

    def __init__(
        self, options: Options, idle_look: float | None = None, in_threads: Callable[[], bool] | None = None
    ) -> None:
        self._options = options
        self._in_threads = in_threads if gil_is_off() else None
        self.look = LOOK_SECONDS
        self.reason = Reason.NOT_ASKED
        self._idle_look = IDLE_LOOK_SECONDS if idle_look is None else idle_look
        self._warm: bool | None = None
        self._unpooled_seconds = 0.0
        self._travel = (0.0, 0.0)
        self._travel_known_at = 0.0

    def should_use_pool(
        self, cost: float, left: int, is_warm: Callable[[], bool], so_far: Callable[[], tuple[Call, Outcome]]
    ) -> bool:
        """Say so."""
        global _unpooled_seconds
        self.reason = self.evaluate(cost, left, is_warm, so_far)
        if self.reason is Reason.WORTH:
            _unpooled_seconds = 0.0
        return self.reason in (Reason.WORTH, Reason.THREADS)

    def evaluate(
        self, cost: float, left: int, is_warm: Callable[[], bool], so_far: Callable[[], tuple[Call, Outcome]]
    ) -> Reason:
        """The same, and why; nothing comes of it for other calls."""
        if self._warm is None:
            if self._options.workers == 1 or inside_worker():
                self.look = self._idle_look
                return Reason.ONE_WORKER if self._options.workers == 1 else Reason.INSIDE
            self._warm = is_warm()
        self.look = min(2 * self.look, MAX_LOOK_SECONDS)
        rest = cost * left
        if rest <= WARM_WORTH_SECONDS:
            return Reason.SHORT
        if self._in_threads is not None:
            from pdparallel.execution.thread_safety import is_thread_safe  # most Pythons have no use for it

            is_short = cost * (self._options.chunk_size or 1) <= MAX_THREAD_SECONDS
            if is_short and self._in_threads() and is_thread_safe(so_far()[0]):
                return Reason.THREADS
            self._in_threads = None
        self._unpooled_seconds = max(self._unpooled_seconds, rest)
        if not self._warm and rest + _unpooled_seconds <= COLD_WORTH_SECONDS:
            return Reason.COLD
        if self._saved_by_workers(cost, *so_far()) * left <= WARM_WORTH_SECONDS:
            return Reason.TRAVEL
        return Reason.WORTH

    def set_transfer_cost(self, transfer_cost: tuple[float, float]) -> None:
        """Take what the travels of a unit cost, as :func:`travel` says it, instead of finding out."""
        self._travel, self._travel_known_at = transfer_cost, math.inf

    def leave_threads(self) -> None:
        """Let threads be out of the question."""
        self._in_threads = None

    def record_inline_work(self) -> None:
        """All was done in this process: what a pool would have got is remembered."""
        global _unpooled_seconds
        _unpooled_seconds += self._unpooled_seconds

    def _saved_by_workers(self, cost: float, call: Call, outcome: Outcome) -> float:
        """Seconds that a unit takes less when workers do it: they share its work, but it travels, and what it
        returns."""
        done = outcome.chunk.stop
        if done >= 16 * self._travel_known_at:  # it costs some milliseconds to find out
            self._travel, self._travel_known_at = transfer_cost(call, outcome), done
        shared, here = self._travel
        return cost - (cost + shared) / self._options.workers - here


def missed() -> float:
    """Seconds of work that calls of this process would have given to a pool, had one been up."""
    return _unpooled_seconds


def transfer_cost(call: Call, outcome: Outcome) -> tuple[float, float]:
    """Seconds that the travels of a unit take the workers, who share them, and this process."""
    chunk = outcome.chunk

    def units(size: int) -> Any:
        return cut_out(call.data, call.work.unit_format, Chunk(chunk.start, chunk.start + size))

    values = [value for value in outcome.returns if type(value) is not Failed]
    # An exception travels by itself; where there is nothing else, its text shows about what it costs.
    values = values or [getattr(value, "traceback_text", "") for value in outcome.returns]

    def returns(size: int) -> Any:
        return pack(values[:size]) or values[:size]

    written_here, read_there = transfer_seconds(units, len(chunk))
    written_there, read_here = transfer_seconds(returns, len(values))
    share = len(outcome.returns) / len(chunk)
    return read_there + share * written_there, written_here + share * read_here


class InlineRunner:
    """The parent's own part of a call; it comes back after each piece of work, to whoever takes what came of it."""

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
        self._ledger = collector
        self._bar = bar
        self._feed = feed_for(call.work.unit_format, call.work.func, call.work.given, call.work.views)
        self._gaps = gaps
        self._stop = stop
        self._watch = watch
        # Where somebody waits for each result, looks on, or may want the call to end, the next look is to be soon.
        awaited = collector.passes_on or stop is not None or bar.look is not None
        self._worth = PoolDecision(options, MAX_LOOK_SECONDS if awaited else IDLE_LOOK_SECONDS, self._rows_stay_lazy)
        self._latest: Outcome | None = None

    @property
    def reason(self) -> Reason:
        """Why it goes on, or does not."""
        return self._worth.reason

    def begin(self, is_warm: Callable[[], bool], prefix: Outcome | None = None) -> Iterator[None]:
        """Work for as long as that is the quicker way."""
        while self._gaps:
            if prefix is None:
                outcome = self._work()
                yield
            else:
                outcome, prefix = prefix, None
            if self._ledger.failure is not None:
                break
            left = len(self._gaps)
            if not left:
                break
            cost = self._ledger.seconds / self._ledger.units
            self._latest = outcome
            if self._worth.should_use_pool(cost, left, is_warm, self._so_far):
                return
        self._worth.record_inline_work()

    def _rows_stay_lazy(self) -> bool:
        """Else pandas makes each row, by code that threads must not run side by side."""
        rows = getattr(self._feed, "__self__", None)
        return not isinstance(rows, LazyRows) or rows.are_lazy

    @property
    def most_in_threads(self) -> float:
        """Seconds of a unit in one of the threads, above which they gain too little."""
        return self._options.workers / THREADS_GAIN * self._ledger.seconds / self._ledger.units

    def leave_threads(self) -> None:
        """They gained too little: what is left is for this process or others."""
        self._worth.leave_threads()

    def _so_far(self) -> tuple[Call, Outcome]:
        assert self._latest is not None
        return self._call, self._latest

    def go_on_until_loaded(
        self, engine: Engine, encoder: CallEncoder, is_up: bool
    ) -> Generator[None, None, BaseException | None]:
        """Have the workers load the function, and work on until they have."""
        workers = engine.n_workers
        if not is_up:  # have all of them start
            _asked(engine, b"", workers)
        answers = _asked(engine, encoder.loading(), max(1, workers - 1))
        took_long = yield from self._go_on_until(answers)
        if took_long and workers > 1 and self._gaps and self._ledger.failure is None:
            others = _asked(engine, encoder.loading(), workers)
            yield from self._go_on_until(others)
            answers += others
        problem = self._failed_to_load(encoder, answers)
        while isinstance(problem, DifferentCodeError):
            # They have other code than this process, which goes there now; each round brings more of it.
            try:
                encoder.bring(problem.slots)
            except FunctionNotSerializableError as error:
                return error
            answers = _asked(engine, encoder.loading(), workers)
            yield from self._go_on_until(answers)
            problem = self._failed_to_load(encoder, answers)
        return problem

    def _go_on_until(self, answers: list[Future[bytes]]) -> Generator[None, None, bool]:
        """Work on until all is answered; returns whether that took long."""
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
        if answered.wait(ANSWER_SECONDS):
            return False
        shown_from = time.monotonic() + LOADING_SHOWN_SECONDS
        try:
            while self._gaps and self._ledger.failure is None and not answered.is_set():
                if time.monotonic() >= shown_from:
                    self._bar.note(LOADING)
                self._work()
                yield
        finally:
            self._bar.note("")
        return True

    def _failed_to_load(self, encoder: CallEncoder, answers: list[Future[bytes]]) -> BaseException | None:
        """Take what the workers said while they loaded; returns why one could not."""
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
        """Do all that is left."""
        while self._gaps and self._ledger.failure is None:
            self._work()
            yield

    def _work(self) -> Outcome:
        """Do a chunk of the plan if there is one, else as much as takes until the next look, and a unit at least."""
        if self._stop is not None:
            self._stop.look()
        call, until = self._call, math.inf
        # Not all that is left, but what may be done by then: a piece costs something by itself.
        done, seconds = self._ledger.units, self._ledger.seconds
        likely = 2 * self._worth.look * done / seconds if seconds else 0
        chunk = self._gaps.first(self._options.chunk_size or max(self._gaps.few, int(likely)))
        if call.plan is None:
            until = time.perf_counter() + self._worth.look
        self._watch.begins()
        outcome = record(call.work, self._feed, take(call.data, call.work.unit_format, chunk), chunk, until)
        self._watch.did(outcome)
        self._ledger.add(outcome)
        self._bar.add(outcome.done, outcome.count_failed)
        self._gaps.drop(outcome.chunk.stop)
        return outcome


def _asked(engine: Engine, task: bytes, times: int) -> list[Future[bytes]]:
    """Submit a task so many times; returns the futures of its answers."""
    try:
        return [engine.submit(task) for _ in range(times)]
    except Exception:  # what is wrong with the workers is raised by the first chunk
        return []


def transfer_seconds(some: Callable[[int], Any], n: int) -> tuple[float, float]:
    """Seconds that it takes to write and to read one of many, without what a message costs by itself."""
    first = min(_there_and_back(some, 1), _there_and_back(some, 1))  # once it may wait for an import
    write, read, size = *first, 1
    while size < n and write + read < sum(first) + ENOUGH_SECONDS:
        size = min(16 * size, n)
        write, read = _there_and_back(some, size)
    if size == 1:
        return first
    return max(0.0, write - first[0]) / (size - 1), max(0.0, read - first[1]) / (size - 1)


def _there_and_back(some: Callable[[int], Any], size: int) -> tuple[float, float]:
    table = SharedTable()
    began = time.perf_counter()
    try:
        data = dump(some(size), table, grow=True)
        written = time.perf_counter()
        back = load(data, table)
    except Exception:  # what cannot travel stays here: pandas' answer needs no travelling
        return math.inf, math.inf
    if isinstance(back, Texts):
        _ = back.inferred  # which pandas 2 wants as they were
    return written - began, time.perf_counter() - written
