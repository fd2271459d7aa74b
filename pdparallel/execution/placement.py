"""Decide where a call runs: inside pandas, in this process, or in workers.

Only this module decides that, and it owns every threshold of the decision. :func:`place` decides where a call starts.
:class:`PoolDecision` checks now and then whether the rest is worth workers. The returns so far are kept, so every unit
runs once, and nobody waits for a pool that starts.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pdparallel.core.awaitables import is_coroutine_function
from pdparallel.core.call import Call
from pdparallel.core.cancellation import current
from pdparallel.core.chunking import Chunk
from pdparallel.core.columnar import Texts
from pdparallel.core.cpu_count import gil_is_off
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failed, Outcome
from pdparallel.core.retry import has_retries
from pdparallel.core.returns import pack
from pdparallel.execution.events import observed
from pdparallel.transport.data import cut_out
from pdparallel.transport.narrow import narrowing
from pdparallel.transport.shared_classes import SharedTable, dump, load
from pdparallel.worker.run_task import inside_worker

__all__ = [
    "COROUTINES",
    "Placement",
    "PoolDecision",
    "Reason",
    "is_plain_call",
    "lazy_groups_pay",
    "options_for",
    "place",
    "restart_pays",
    "transfer_cost",
    "transfer_seconds",
    "unpooled_seconds",
]

# Thresholds. Each names the benchmark that chose it.

#: Largest number of rows that pandas starts. Its loop over so few takes less than lazy rows need to set up
#: (``benchmarks/small.py``).
PANDAS_MAX_ROWS = 25

#: Largest number of values in windows that pandas starts, also if arithmetic could find the windows: that takes 0.1 ms
#: (``benchmarks/small.py``).
PANDAS_MAX_VALUES = 500

#: Largest number of values that a plain loop starts, without a runner (``benchmarks/small.py``).
LOOP_MAX_UNITS = 10_000

#: Seconds after which this process first checks whether the rest is worth a pool. Shorter calls never pay for it.
LOOK_SECONDS = 0.01

#: Longest interval in seconds between two checks. The interval doubles each time; a check costs about 0.3 ms.
MAX_LOOK_SECONDS = 0.1

#: The same if there is nothing to decide, as with one worker.
IDLE_LOOK_SECONDS = 0.5

#: Seconds of work from which a new pool pays: twice what its start takes (``benchmarks/handover.py``). Work of earlier
#: calls counts, too, so a program that calls again and again soon has a pool.
COLD_WORTH_SECONDS = 1.5

#: The same for a pool that already runs: what its first chunk costs (``benchmarks/handover.py``).
WARM_WORTH_SECONDS = 0.05

#: Seconds within which a pool that already runs answers.
ANSWER_SECONDS = 0.005

#: Smallest speed-up for which threads are kept. Threads that share reference counts are slower than one.
THREADS_GAIN = 1.2

#: Longest chunk of a thread in seconds. Nothing can end a thread, so a call that fails waits for it.
MAX_THREAD_SECONDS = 0.2

#: Seconds of remaining work from which a trial of lazy groups pays; it takes 0.5 ms (``benchmarks/constants.py``).
TRIAL_WORTH_SECONDS = 0.02

#: Seconds that lazy groups must save, besides the time to sort the rows by group.
LAZY_WORTH_SECONDS = 0.005

#: Seconds that a lazy group costs besides the function, at most (``benchmarks/constants.py``).
LAZY_SECONDS = 2e-6

#: Seconds of serializing that suffice to measure what a unit costs.
ENOUGH_SECONDS = 0.0002

#: The reason for an event loop, in words.
COROUTINES = "the function is a coroutine function"

#: Seconds of work that a pool could have done since the last pool ended.
_unpooled_seconds = 0.0


class Placement(enum.Enum):
    """Where a call starts."""

    PASS_TO_PANDAS = "pandas starts the call, and may be stopped by the clock"
    LOOP = "a plain loop starts the call, and may be stopped by the clock"
    INLINE = "this process starts the call, and may go on in workers"
    ENGINE = "an engine runs the call"


def place(options: Options, units: float = 0, max_in_pandas: float = -1, max_in_loop: float = -1) -> Placement:
    """Decide where a call of so many units starts; the limits say how many pandas or a plain loop may start."""
    if _needs_engine(options):
        return Placement.ENGINE
    if not 0 < units <= max(max_in_pandas, max_in_loop) or options.chunk_size is not None or current() is not None:
        return Placement.INLINE
    if not is_plain_call(options):
        return Placement.INLINE
    return Placement.PASS_TO_PANDAS if units <= max_in_pandas else Placement.LOOP


def options_for(func: Any, options: Options) -> Options:
    """Return the options for a function: ``engine="auto"`` runs coroutine functions on an event loop."""
    if options.engine == "auto" and is_coroutine_function(func):
        return replace(options, engine="asyncio")
    return options


def _needs_engine(options: Options) -> bool:
    """Return whether this process must not start the call: it cannot end a row, nor be changed by an initializer."""
    return options.engine != "auto" or options.timeout is not None or options.initializer is not None


def is_plain_call(options: Options) -> bool:
    """Return whether each call of the function would be the same inside of pandas."""
    return (
        not observed() and options.errors == "raise" and options.progress is False
        and options.seed is None and options.checkpoint is None and options.rate_limit is None
        and not has_retries(options) and not _needs_engine(options)
    )  # fmt: skip


def restart_pays(rest: float, before: float, options: Options) -> bool:
    """Return whether workers give back the time to start once more; ``rest`` and ``before`` are seconds of pandas."""
    gain = 0.0 if inside_worker() else 1 - 1 / options.workers
    return rest * gain > WARM_WORTH_SECONDS + 2 * before


def lazy_groups_pay(cost: float, lazy_cost: float, left: int, before: float) -> bool:
    """Return whether lazy groups save enough; ``before`` is the time that pandas took to find the groups."""
    saved = cost - lazy_cost - LAZY_SECONDS
    return saved > cost / 10 and saved * left > LAZY_WORTH_SECONDS + 2 * before


class Reason(enum.Enum):
    """Reason why a call stays in this process or goes to workers, in words."""

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
    """Check, repeated during a call, whether workers would finish the rest sooner."""

    def __init__(
        self, options: Options, idle_look: float | None = None, in_threads: Callable[[], bool] | None = None
    ) -> None:
        self._options = options
        self._in_threads = in_threads if gil_is_off() else None
        self.check_interval = LOOK_SECONDS
        self.reason = Reason.NOT_ASKED
        self._idle_look = IDLE_LOOK_SECONDS if idle_look is None else idle_look
        self._warm: bool | None = None
        self._unpooled_seconds = 0.0
        self._travel = (0.0, 0.0)
        self._travel_known_at = 0.0

    def should_use_pool(
        self, cost: float, left: int, is_warm: Callable[[], bool], so_far: Callable[[], tuple[Call, Outcome]]
    ) -> bool:
        """Return whether workers or threads should do the rest."""
        global _unpooled_seconds
        self.reason = self.evaluate(cost, left, is_warm, so_far)
        if self.reason is Reason.WORTH:
            _unpooled_seconds = 0.0
        return self.reason in (Reason.WORTH, Reason.THREADS)

    def evaluate(
        self, cost: float, left: int, is_warm: Callable[[], bool], so_far: Callable[[], tuple[Call, Outcome]]
    ) -> Reason:
        """Return the reason for or against workers, without effect on other calls."""
        if self._warm is None:
            if self._options.workers == 1 or inside_worker():
                self.check_interval = self._idle_look
                return Reason.ONE_WORKER if self._options.workers == 1 else Reason.INSIDE
            self._warm = is_warm()
        self.check_interval = min(2 * self.check_interval, MAX_LOOK_SECONDS)
        rest = cost * left
        if rest <= WARM_WORTH_SECONDS:
            return Reason.SHORT
        if self._in_threads is not None:
            from pdparallel.execution.thread_safety import is_thread_safe  # only needed without the GIL

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
        """Set the transfer cost that :func:`transfer_cost` would measure."""
        self._travel, self._travel_known_at = transfer_cost, math.inf

    def leave_threads(self) -> None:
        """Do not choose threads again."""
        self._in_threads = None

    def record_inline_work(self) -> None:
        """Remember the work that a pool could have done; all of it ran in this process."""
        global _unpooled_seconds
        _unpooled_seconds += self._unpooled_seconds

    def _saved_by_workers(self, cost: float, call: Call, outcome: Outcome) -> float:
        """Return the seconds that workers save for each unit, after the transfer of the unit and its return."""
        done = outcome.chunk.stop
        if done >= 16 * self._travel_known_at:  # a measurement takes some milliseconds
            self._travel, self._travel_known_at = transfer_cost(call, outcome), done
        shared, here = self._travel
        return cost - (cost + shared) / self._options.workers - here


def unpooled_seconds() -> float:
    """Return the seconds of work that a pool could have done since the last pool ended."""
    return _unpooled_seconds


def transfer_cost(call: Call, outcome: Outcome) -> tuple[float, float]:
    """Return the seconds of transfer of a unit: of the workers, who share them, and of this process."""
    chunk, narrow = outcome.chunk, narrowing(call)

    def units(size: int) -> Any:
        piece = cut_out(call.data, call.work.unit_format, Chunk(chunk.start, chunk.start + size))
        return piece if narrow is None else narrow(piece)

    values = [value for value in outcome.returns if type(value) is not Failed]
    # Each exception is serialized alone. Its text costs about the same, if there is no other return.
    values = values or [getattr(value, "traceback_text", "") for value in outcome.returns]

    def returns(size: int) -> Any:
        return pack(values[:size]) or values[:size]

    written_here, read_there = transfer_seconds(units, len(chunk))
    written_there, read_here = transfer_seconds(returns, len(values))
    share = len(outcome.returns) / len(chunk)
    return read_there + share * written_there, written_here + share * read_here


def transfer_seconds(some: Callable[[int], Any], n: int) -> tuple[float, float]:
    """Return the seconds to serialize and to load one of many objects, without the fixed cost of a message."""
    first = min(_there_and_back(some, 1), _there_and_back(some, 1))  # the first one may import something
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
    except Exception:  # what cannot be serialized stays in this process
        return math.inf, math.inf
    if isinstance(back, Texts):
        _ = back.inferred  # pandas 2 needs it
    return written - began, time.perf_counter() - written
