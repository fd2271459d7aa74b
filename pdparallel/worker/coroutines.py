"""Coroutines of a call on an event loop: at most so many at once, each with its time limit and its retries.

The thread of the call feeds units and takes what has come. Everything else runs on the loop::

    thread of the call     feed(start, units) --> backlog                                 take() <-- finished
    loop                                            |-- a task for each call, func(unit) --|
                                                        a slot while it runs, none while it waits for a retry
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from sys import getrefcount
from types import CoroutineType, TracebackType
from typing import Any, Self

from pdparallel.core import random_state
from pdparallel.core.awaitables import is_awaitable
from pdparallel.core.call import Initializer, Work
from pdparallel.core.cancellation import callers_loop
from pdparallel.core.outcome import Failure
from pdparallel.core.retry import note_tries
from pdparallel.data.fastpath.base import FRESH, is_lazy, materialized
from pdparallel.errors import CallTimeoutError
from pdparallel.transport.outcomes import failure_keeper
from pdparallel.typing import ProgressSlots
from pdparallel.worker.event_loop import CLEANUP_SECONDS, EventLoop, acquire, release, run_on, waited
from pdparallel.worker.replicate_state import InitializerFolder
from pdparallel.worker.waiting import WaitClock

__all__ = ["CHECK_SECONDS", "NOTHING", "Coroutines"]

#: Tasks for each slot: those that run, and those that wait for a retry.
TASKS_PER_SLOT = 2

#: Seconds between two checks of the thread of a call, if nothing wakes it.
CHECK_SECONDS = 0.25

#: Stands for no value.
NOTHING: Any = object()


class _Run:
    """A unit whose call is under way."""

    __slots__ = ("began", "has_slot", "is_dropped", "is_late", "is_over", "position", "task", "timer", "tries", "unit")

    def __init__(self, position: int, unit: Any) -> None:
        self.position = position
        self.unit = unit
        self.has_slot = True
        self.is_late = self.is_dropped = self.is_over = False
        self.tries = 0
        self.began = math.inf
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None


class Coroutines:
    """Calls of a function on an event loop: that of the caller of ``background``, or that of this process.

    ``wake`` is called on the loop when the thread of the call should look. ``begun`` has what earlier calls of the
    function returned, by position: a coroutine among them is awaited.
    """

    def __init__(
        self, work: Work, wake: Callable[[], None], most: int | None = None, begun: Mapping[int, Any] | None = None,
        notes: ProgressSlots | None = None, wakes_for_each: bool = False, measures: bool = False,
    ) -> None:  # fmt: skip
        self._work = work
        self._func = _function_of_a_unit(work)
        self._wake = wake
        self._wakes_for_each = wakes_for_each
        self._most = work.max_concurrency if most is None else most
        self._begun = dict(begun or ())
        self._notes = notes
        self._own: EventLoop | None = None
        self._keep_failure = None if work.errors == "raise" else failure_keeper(work.errors)
        self._backlog: deque[tuple[int, Any]] = deque()
        self._alive: set[_Run] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._active = 0
        self._is_pumping = self._has_asked = False
        #: Set to False when no more units will be fed.
        self.wants_more = True
        self._fed = self._ended = 0
        self._last = math.inf  # no unit behind this position runs
        self._is_broken = False
        #: Position and return of each finished call; a :class:`Failure` in place of the return ends the call.
        self.finished: deque[tuple[int, Any]] = deque()
        self.retried = 0
        #: Seconds of all calls together, and those in which they waited, if that is measured.
        self.seconds = self.waited = 0.0
        self._clock: WaitClock | None = None
        self._measures = measures
        self.awaited = bool(begun)

    # The thread of the call

    def __enter__(self) -> Self:
        self._loop: Any = callers_loop()
        if self._loop is None:
            self._own = acquire()
            self._loop = self._own.loop
        self._context = contextvars.copy_context()
        return self

    def initialize(self) -> None:
        """Call the initializer, unless this loop has done it; its context variables hold for all units."""
        for variable, value in _initialized(self._work, self._loop):
            self._context.run(variable.set, value)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if not self.is_idle:
                self.cancel()
                if not self._is_broken:
                    self._wait_for_cleanup()
        finally:
            for value in self._begun.values():
                if type(value) is CoroutineType:
                    value.close()  # it was never begun
            if self._own is not None:
                release(self._own, is_broken=self._is_broken)

    def _wait_for_cleanup(self) -> None:
        ended = threading.Event()
        self._wake = ended.set
        until = time.monotonic() + CLEANUP_SECONDS + 0.5
        while not self.is_idle and (left := until - time.monotonic()) > 0 and not self._loop.is_closed():
            ended.wait(min(left, 0.05))
            ended.clear()
        self._is_broken = self._is_broken or not self.is_idle

    @property
    def is_idle(self) -> bool:
        """Whether all units that were fed have ended."""
        return self._fed == self._ended

    @property
    def is_hungry(self) -> bool:
        """Whether few units are left that have not begun."""
        return len(self._backlog) < TASKS_PER_SLOT * self._most

    def feed(self, start: int, units: Sequence[Any]) -> None:
        """Give units at consecutive positions to the loop."""
        self._fed += len(units)
        self._has_asked = False
        self._backlog.extend(enumerate(units, start))
        self._on_loop(self._pump)

    def cancel(self) -> None:
        """Cancel everything that has not ended."""
        self._on_loop(self._drop_behind, -1)

    def begin_no_more(self) -> None:
        """Forget the units whose calls have not begun."""
        self._on_loop(self._forget_backlog)

    def _on_loop(self, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call, *args)

    def stuck(self) -> int | None:
        """Return the position of a call whose time is long up: it blocks the loop, which cannot cancel it."""
        if self._loop.is_closed():
            raise RuntimeError("The event loop was closed while the call ran. Await the result of the call first.")
        if self._work.timeout is None:
            return None
        late = time.monotonic() - self._work.timeout - 2 * CLEANUP_SECONDS
        at = min((run.position for run in list(self._alive) if run.began < late), default=None)
        self._is_broken = self._is_broken or at is not None
        return at

    def stuck_error(self) -> CallTimeoutError:
        """Return the error for such a call."""
        return self._timeout_error(None, "and blocks its event loop, so that nothing can cancel it")

    # The loop

    def _pump(self) -> None:
        """Begin calls while there are slots."""
        if self._is_pumping:  # an eager task has ended before ``create_task`` returns
            return
        self._is_pumping = True
        backlog, alive = self._backlog, self._alive
        try:
            while backlog and self._active < self._most and len(alive) < TASKS_PER_SLOT * self._most:
                run = _Run(*backlog.popleft())
                if run.position > self._last:
                    self._ended += 1
                    continue
                self._active += 1
                alive.add(run)
                run.task = self._context.run(self._loop.create_task, self._call(run))  # which copies the context
        finally:
            self._is_pumping = False
        if self._fed == self._ended or (self.wants_more and not self._has_asked and self.is_hungry):
            self._has_asked = True
            self._wake()

    async def _call(self, run: _Run) -> None:
        work, began = self._work, 0.0
        while True:
            called = time.perf_counter()
            try:
                run.tries += 1
                if work.rate is not None:
                    await _slot_of(work.rate)
                if self._notes is not None and self._most == 1:
                    # In this order: a read between the two sees too many units, never wrong ones.
                    self._notes[2] = run.position
                    self._notes[1] = run.position
                if work.timeout is not None:
                    run.began = time.monotonic()
                    run.timer = self._loop.call_later(work.timeout, self._is_late, run)
                called = time.perf_counter()
                if run.tries == 1:
                    began = called
                if self._measures:
                    self._clock = self._clock or WaitClock(time.thread_time)
                    self._clock.start()
                if work.seed is not None:
                    value = await random_state.in_steps(work.seed, run.position, self._value(run))
                else:
                    value = self._begun.pop(run.position, NOTHING) if self._begun else NOTHING
                    if value is NOTHING:
                        value = self._func(run.unit)
                    if type(value) is CoroutineType or is_awaitable(value):
                        self.awaited = True
                        value = await value
                if not run.is_late:
                    self._note_time(called)
                    self._end(run, value)
                    return
                raised: BaseException = asyncio.CancelledError()
            except BaseException as exception:
                raised = exception
            self._note_time(called)
            if run.timer is not None:
                run.timer.cancel()
                run.began = math.inf
            if run.is_over or run.is_dropped:
                self._end(run, NOTHING)
                return
            if run.is_late:
                raised, run.is_late = self._timeout_error(raised), False
                while run.task is not None and run.task.cancelling():  # it goes on
                    run.task.uncancel()
            try:
                if work.retry is None or not work.retry.allows(raised, run.tries):
                    break
                seconds = work.retry.seconds(raised, run.tries)
            except Exception as error:  # of the user's function ``retry_on``
                raised = error
                break
            self.retried += 1
            self._give_slot(run)
            try:
                await asyncio.sleep(seconds)
                await self._take_slot(run)
            except BaseException as exception:
                if not run.is_dropped:  # the user's loop ends
                    raised = exception
                    break
                self._end(run, NOTHING)
                return
        if run.tries > 1:
            note_tries(raised, run.tries, time.perf_counter() - began)
        try:
            self._end(run, self._failed(raised))
        finally:
            del raised  # its traceback refers to this frame

    def _note_time(self, called: float) -> None:
        took = time.perf_counter() - called
        self.seconds += took
        if self._clock is not None:
            self.waited += self._clock.waited(took)

    async def _value(self, run: _Run) -> Any:
        """Call the function and await its return, as one coroutine."""
        value = self._begun.pop(run.position, NOTHING)
        if value is NOTHING:
            value = self._func(run.unit)
        if is_awaitable(value):
            self.awaited = True
            value = await value
        return value

    def _failed(self, raised: BaseException) -> Any:
        """Return what stands for a call that failed."""
        if self._keep_failure is not None and isinstance(raised, Exception):
            return self._keep_failure(raised)
        return Failure(0, raised, by_function=isinstance(raised, Exception))

    def _timeout_error(self, raised: BaseException | None = None, how: str = "so it was cancelled") -> CallTimeoutError:
        seconds = self._work.timeout or 0.0
        text = f"A call of the function took longer than timeout={seconds:g} seconds, {how}. Give a longer timeout="
        if self._work.errors == "raise":
            text += ", or errors='coerce' to keep the results of all others"
        error = CallTimeoutError(f"{text}.", seconds)
        error.__cause__ = None if isinstance(raised, asyncio.CancelledError) else raised
        return error

    def _end(self, run: _Run, value: Any) -> None:
        """Note the end of a call, and begin others."""
        if run.is_over:
            return
        run.is_over = True
        if run.timer is not None:
            run.timer.cancel()
        self._alive.discard(run)
        if value is not NOTHING and not run.is_dropped:
            self.finished.append((run.position, value))
            if type(value) is Failure:
                self._drop_behind(run.position)
        self._ended += 1
        unit, run.unit = run.unit, None
        if is_lazy(unit) and getrefcount(unit) > FRESH:  # the function keeps its row
            materialized(unit)
        del unit
        if run.has_slot:
            self._give_slot(run)
        if self._wakes_for_each or self._fed == self._ended:
            self._wake()

    def _give_slot(self, run: _Run) -> None:
        """Pass a slot to a call that waits for a retry, or begin another one."""
        run.has_slot = False
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._active -= 1
        self._pump()

    async def _take_slot(self, run: _Run) -> None:
        if self._active < self._most:
            self._active += 1
            run.has_slot = True
            return
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            run.has_slot = waiter.done() and not waiter.cancelled()

    def _is_late(self, run: _Run) -> None:
        if run.is_over or run.task is None:
            return
        run.is_late = True
        run.task.cancel()
        self._loop.call_later(CLEANUP_SECONDS, self._abandon, run, run.tries)

    def _drop_behind(self, position: int) -> None:
        """Cancel the calls behind a position now, and the others if they take long."""
        self._last = min(self._last, position)
        while self._backlog and self._backlog[-1][0] > position:
            self._backlog.pop()
            self._ended += 1
        for run in list(self._alive):
            if run.position > position:
                self._drop(run)
        if position >= 0:
            # The first failing call decides the error, so those before it may end.
            self._loop.call_later(CLEANUP_SECONDS, self._drop_behind, -1)
        if self._fed == self._ended:
            self._wake()

    def _forget_backlog(self) -> None:
        """Forget what has not begun; one call begins in any case."""
        if self._alive or self.finished:
            self._ended += len(self._backlog)
            self._backlog.clear()
            if self._fed == self._ended:
                self._wake()

    def _drop(self, run: _Run) -> None:
        if run.is_over or run.is_dropped or run.task is None:
            return
        run.is_dropped = True
        run.task.cancel()
        if not run.tries:  # it has not begun, and never will
            self._end(run, NOTHING)
            return
        self._loop.call_later(CLEANUP_SECONDS, self._abandon, run, run.tries)

    def _abandon(self, run: _Run, tries: int) -> None:
        """Give up a call that goes on after it was cancelled."""
        if run.is_over or not (run.is_dropped or (run.is_late and run.tries == tries)):
            return
        self._is_broken = True
        self._end(run, self._failed(self._timeout_error()) if run.is_late else NOTHING)


async def _slot_of(rate: Any) -> None:
    """Wait until the rate allows another call."""
    seconds = rate.reserve()
    if seconds > 0:
        await asyncio.sleep(seconds)
    while (seconds := rate.begin()) > 0:
        await asyncio.sleep(seconds)


def _function_of_a_unit(work: Work) -> Callable[[Any], Any]:
    func, args, kwargs = work.func, work.args, work.kwargs
    if work.unit_format == "star":
        return lambda unit: func(*unit, *args, **kwargs)
    if args or kwargs:
        return lambda unit: func(unit, *args, **kwargs)
    return func


#: For each initializer the loop on which it ran, the folder to which it changed, and the context variables that it set.
_initializers: weakref.WeakKeyDictionary[Initializer, tuple[Any, InitializerFolder, list[tuple[Any, Any]]]] = (
    weakref.WeakKeyDictionary()
)


def _initialized(work: Work, loop: asyncio.AbstractEventLoop) -> list[tuple[Any, Any]]:
    """Call the initializer on the loop, unless it ran there; return the context variables that it set."""
    first = work.initializer
    if first is None:
        return []
    known = _initializers.get(first)
    if known is not None and known[0] is loop:
        known[1].again()
        return known[2]
    before = contextvars.copy_context()
    context = before.copy()
    call = functools.partial(first.func, *first.args)
    folder = InitializerFolder(lambda: waited(run_on(loop, call, context)))
    own = [(variable, value) for variable, value in context.items() if before.get(variable, NOTHING) is not value]
    _initializers[first] = loop, folder, own
    return own
