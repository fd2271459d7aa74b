"""Entry point of every worker: takes a task as bytes and returns an answer as bytes, whatever the user's objects do."""

from __future__ import annotations

import contextlib
import contextvars
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from pdparallel.core import options, random_state
from pdparallel.core.outcome import Failure, Timing
from pdparallel.core.tasks import in_task, is_in_task
from pdparallel.transport.reducers import Variables
from pdparallel.transport.task import Task
from pdparallel.worker.capture_output import hearing
from pdparallel.worker.decode import answer, answer_to, load, open_task, task_of
from pdparallel.worker.loop import record
from pdparallel.worker.replicate_state import within
from pdparallel.worker.waiting import WaitClock

__all__ = [
    "become_a_worker",
    "idle_seconds",
    "inside_task",
    "inside_worker",
    "run_parts",
    "run_task",
    "run_task_in_thread",
]

#: True if this process is a worker of our own pool.
_inside = False

_busy = 0
_last_task = 0.0
_busy_lock = threading.Lock()


class _Thread(threading.local):
    clock: WaitClock | None = None


_thread = _Thread()


def run_task(data: bytes) -> bytes:
    """Run a task and return its outcome, both as bytes; an exception of a user's object becomes part of the outcome."""
    if not data:  # a ping
        return b""
    global _busy, _last_task
    with _busy_lock:
        _busy += 1
    try:
        return _done(task_of(data), contextlib.nullcontext())
    finally:
        with _busy_lock:
            _busy -= 1
            _last_task = time.monotonic()


def _done(task: Task, during: AbstractContextManager[None]) -> bytes:
    """Run a task in the caller's settings and capture its output; neither is needed in the process of the call."""
    elsewhere = not task.made_here
    around = task.around if elsewhere else b""
    if elsewhere:
        options.n_checked = None
    with (
        hearing(task.mailbox, task.heard and elsewhere, _inside) as heard,
        within(around, task.call_id, _inside, task.lasting) as place,
    ):
        for problem in place.problems:
            heard.note(problem)
        began = time.perf_counter()
        try:
            if task.loads_only:
                load(task)
                now = time.perf_counter()
                return answer_to(task, None, _timing(task, began, now, now), heard.end)
            opened = open_task(task)
        except Exception as exception:
            exception.add_note("pdparallel: the function or the data could not be loaded in the worker process")
            return answer_to(task, Failure(0, exception, _text(exception)), None, heard.end)
        loaded = time.perf_counter()
        heard.table = opened.table
        random_state.own(task.maker)
        with place.judging(opened.table.objects), _valued(opened.table.variables, task.lasting), during:
            outcome = record(
                opened.work,
                opened.feed,
                opened.piece,
                task.chunk,
                notes=opened.notes,
                track_each_unit=task.track_each_unit,
                clock=_clock(task),
            )
        if task.timed:
            outcome = replace(outcome, timing=_timing(task, began, opened.ready, loaded))
        try:
            return answer(opened, outcome, heard.end)
        finally:
            del outcome  # breaks the reference cycle of its traceback; see record


def _clock(task: Task) -> WaitClock:
    """Return the clock of this thread; in the process of the call, other threads may run tasks at the same time."""
    if _thread.clock is None:
        among_others = task.made_here and is_in_task()
        _thread.clock = WaitClock(time.thread_time if among_others else time.process_time)
    return _thread.clock


def _timing(task: Task, began: float, ready: float, loaded: float) -> Timing | None:
    """Return the times of a task that ends now, if the call measures them."""
    now = time.perf_counter()
    return Timing(os.getpid(), threading.get_native_id(), began, ready, loaded, now, now) if task.timed else None


@contextlib.contextmanager
def _valued(variables: Variables, lasting: bool) -> Iterator[None]:
    """Set context variables to the values of the call during a task; after an initializer, keep those that it set."""
    context = contextvars.copy_context()
    some = [(one, value) for one, value in variables if not lasting or one not in context]
    tokens = [one.set(value) for one, value in some]
    try:
        yield
    finally:
        if not lasting:
            for token in reversed(tokens):
                token.var.reset(token)


def _text(exception: BaseException) -> str:
    with contextlib.suppress(Exception):
        return "".join(traceback.format_exception(exception))
    return type(exception).__qualname__


def run_task_in_thread(data: bytes) -> bytes:
    """Run a task in a thread or process that does not wait for the answer."""
    with in_task():
        return run_task(data)


def run_parts(head: bytes, work: bytes, piece: memoryview, during: AbstractContextManager[None] | None = None) -> bytes:
    """Run a task that came in parts through the store of a cluster."""
    # ``during`` is held only while the function runs: inside it, Dask may raise an exception in this thread to cancel.
    with in_task():
        return _done(task_of(head, work, piece), during or contextlib.nullcontext())


def inside_task() -> bool:
    """Return True if this thread runs a task: a call from here that waits for other threads may deadlock."""
    # All threads of the pool may wait likewise, or may wait for this thread's lock of the random numbers.
    return is_in_task() or random_state.busy()


def inside_worker() -> bool:
    """Return True if this process or thread is a worker of any pool: a call from here runs serially."""
    if inside_task():
        return True
    if _inside or multiprocessing.current_process().daemon:
        return True
    other = getattr(sys.modules.get("multiprocess"), "current_process", None)  # of pathos' pools
    return other is not None and bool(other().daemon)


def become_a_worker() -> None:
    """Mark this process as one of our own workers."""
    global _inside
    _inside = True


def idle_seconds() -> float:
    """Return the seconds since the last task ended; 0 while one runs."""
    return 0.0 if _busy else time.monotonic() - _last_task
