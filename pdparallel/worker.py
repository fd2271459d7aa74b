"""Worker: the only code that runs in a worker: take a task, call func for each unit, record, answer.

``record`` never shapes anything: it keeps what each call returned, by position, and the parent shapes once
over all of them, which is the only way to the answer that pandas gives.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import pandas as pd

from pdparallel import streams
from pdparallel.call import Initializer, Work
from pdparallel.lean import FRESH
from pdparallel.outcome import Failed, Failure, Outcome, Timing
from pdparallel.output.hooks import hearing
from pdparallel.plan import Chunk
from pdparallel.rows import Feed
from pdparallel.settings import THREAD_VARIABLES
from pdparallel.surroundings import Whereabouts, within
from pdparallel.transport.opening import answer, answer_to, forget, open_task, task_of
from pdparallel.transport.outcomes import Stacks, failed
from pdparallel.transport.task import Task
from pdparallel.typing import Notes

__all__ = [
    "Setup",
    "calling",
    "inside_task",
    "inside_worker",
    "prepare",
    "record",
    "run_apart",
    "run_task",
    "serve",
    "start",
]

#: Seconds of a block of units, between two looks at the clock and two notes of what runs.
BLOCK_SECONDS = 0.001

#: Units of a block at most.
MOST_IN_BLOCK = 1 << 20

#: Seconds after the last task until a worker lets go the data of the call.
KEEP_SECONDS = 1.0

_inside = False
_busy = 0
_last_task = 0.0
_busy_lock = threading.Lock()


class _TimeIsUpError(Exception):
    """Ends a feed between two units."""


class _Recorder:
    """Calls the function with each unit and keeps what it returns; see :class:`pdparallel.typing.Taker`.

    Parameters
    ----------
    work : Work
        The function, its arguments, and how it is handed a unit.
    until : float
        When, by ``time.perf_counter``, to take no further unit.
    first : int
        Position of the first unit.
    notes : Notes, optional
        Where to note which units run; see :func:`pdparallel.transport.arena.notes`.
    one_by_one : bool
        Whether each unit is noted by itself, also a light one.
    """

    def __init__(self, work: Work, until: float, first: int, notes: Notes | None, one_by_one: bool) -> None:
        self.returns: list[Any] = []
        self._until = until
        self._first = first
        self._notes = notes
        self._one_by_one = one_by_one
        self._paced = notes is not None or until < math.inf
        self._size, self._began = 1, 0.0
        self._call = calling(work)
        self.in_block = self._taking()
        self.one = self._looking() if self._paced else self.in_block

    def _taking(self) -> Callable[[Any], None]:
        call, keep = self._call, self.returns.append

        def one(unit: Any) -> None:
            value = call(unit)
            # pandas hands out one Series object again and again with other data in it; a returned one must stay as
            # it is now, which is what pandas' own loop sees to as well.  One that nobody else has is not that one.
            if isinstance(value, pd.Series) and sys.getrefcount(value) > FRESH:
                value = value.copy(deep=False)
            keep(value)

        return one

    def _looking(self) -> Callable[[Any], None]:
        take, block = self.in_block, self._block_of

        def one(unit: Any) -> None:
            block(1)
            take(unit)

        return one

    def block(self, most: int) -> int:
        """Begin a block of units, of so many at most: how many may follow.

        It is noted, and ends the work where the time is up; light units are more in a block, so that this costs little.
        """
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

    def all(self, units: Iterable[Any]) -> None:
        returns, call = self.returns, self._call
        if not self._paced:
            returns.extend(map(call, units))
            return
        units = iter(units)
        while True:
            before, size = len(returns), self.block(MOST_IN_BLOCK)
            returns.extend(map(call, itertools.islice(units, size)))
            if len(returns) - before < size:
                return


def prepare(work: Work) -> None:
    """Call the initializer, once in each worker: a process, or a thread where those are the workers."""
    first = work.initializer
    if first is None:
        return
    if first in _thread.prepared:
        _thread.prepared[first].again()
    else:
        _thread.prepared[first] = Whereabouts(functools.partial(first.func, *first.args))


def calling(work: Work) -> Callable[[Any], Any]:
    """The function as one of a unit only, which ``errors=`` may keep from raising."""
    call = _with_arguments(work)
    return call if work.errors == "raise" else _guarded(call, each=work.errors == "return")


def _guarded(call: Callable[[Any], Any], each: bool) -> Callable[[Any], Any]:
    """A function that returns a :class:`Failed` instead of raising.

    Parameters
    ----------
    call : callable
        Takes a unit.
    each : bool
        Whether each exception will be looked at; else the first stands for those that follow, for nobody will see them.
    """
    first: Failed | None = None
    stacks: Stacks = {}

    # A function around each call, though a ``map`` may be resumed after an exception: it would take an exception
    # of what iterates for one of the function, and a StopIteration of the function for the end.
    def guarded(unit: Any) -> Any:
        nonlocal first
        try:
            return call(unit)
        except Exception as exception:
            if each:
                return failed(exception, stacks)
            if first is None:
                first = failed(exception, stacks)
            return first

    return guarded


def _with_arguments(work: Work) -> Callable[[Any], Any]:
    """The function as one of a unit only."""
    func, args, kwargs = work.func, work.args, work.kwargs
    if work.hand == "star":
        return lambda unit: func(*unit, *args, **kwargs)
    if args or kwargs:
        return lambda unit: func(unit, *args, **kwargs)
    return func


def _with_streams(work: Work, step: Callable[[], None]) -> Work:
    """The same work, which begins another stream of random numbers before each unit by itself."""
    func = work.func

    def one(*args: Any, **kwargs: Any) -> Any:
        step()
        return func(*args, **kwargs)

    return replace(work, func=one, seed=None)


def record(
    work: Work, feed: Feed, piece: Any, chunk: Chunk, until: float = math.inf,
    notes: Notes | None = None, one_by_one: bool = False,
) -> Outcome:  # fmt: skip
    """Call the function for each unit of a piece and keep what it returns.

    Parameters
    ----------
    work : Work
        The function, its arguments, and how it is handed a unit.
    feed : Feed
        Hands out the units, for this call.
    piece : DataFrame, Series, ndarray or list
        The data of the chunk.
    chunk : Chunk
        Its positions, for the outcome.
    until : float, optional
        When, by ``time.perf_counter``, to stop: the outcome is then one of a shorter chunk, of one unit at least.
    notes : Notes, optional
        Where to note which units run, so that the parent knows when this process is killed.
    one_by_one : bool, default False
        Whether to note each unit by itself, instead of a millisecond's work at a time.

    Returns
    -------
    Outcome
        With a failure if the function raised, whatever it raised.
    """
    try:
        prepare(work)
    except BaseException as exception:
        with contextlib.suppress(Exception):
            exception.add_note("pdparallel: the initializer raised, before the first call of the function in a worker")
        return Outcome(chunk, [], Failure(0, exception))
    if work.seed is not None:
        with streams.seeded(work.seed, chunk.start) as step:
            return record(_with_streams(work, step), feed, piece, chunk, until, notes, one_by_one)
    recorder = _Recorder(work, until, chunk.start, notes, one_by_one)
    failure = None
    began = time.perf_counter()
    try:
        feed(piece, recorder)
    except _TimeIsUpError:
        chunk = Chunk(chunk.start, chunk.start + len(recorder.returns))
    except BaseException as exception:
        failure = Failure(len(recorder.returns), exception)
    else:
        if len(recorder.returns) < (1 if work.hand == "chunk" else len(chunk)):
            # map() takes a StopIteration of the function, as of next() with nothing left, for its own end.
            failure = Failure(len(recorder.returns), StopIteration())
    try:
        return Outcome(chunk, recorder.returns, failure, time.perf_counter() - began)
    finally:
        # The traceback leads to this frame and to that of who called: a circle, which would keep the piece, and with it
        # the mapping of the whole arena, until the garbage collector comes by.  So does a method of the recorder in it.
        failure = None
        recorder.one = recorder.in_block


def run_task(data: bytes) -> bytes:
    """Task in, outcome out, both as bytes; never raises for what a user's object does.

    Parameters
    ----------
    data : bytes
        A task; no bytes are a knock, which is answered by no bytes as soon as a worker is up.
    """
    if not data:
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
    """Do a task amid what is around its call, and hear what it says: where the call was made it is so already."""
    elsewhere = not task.made_here
    around = task.around if elsewhere else b""
    with (
        hearing(task.mailbox, task.heard and elsewhere, _inside) as heard,
        within(around, task.call_id, _inside, task.lasting) as place,
    ):
        for problem in place.problems:
            heard.note(problem)
        began = time.perf_counter()
        try:
            opened = open_task(task)
        except Exception as exception:
            exception.add_note("pdparallel: the function or the data could not be loaded in the worker process")
            return answer_to(task, Failure(0, exception, _text(exception)), heard.end)
        loaded = time.perf_counter()
        heard.table = opened.table
        streams.own(task.maker)
        with place.judging(opened.table.objects), during:
            outcome = record(
                opened.work, opened.feed, opened.piece, task.chunk, notes=opened.notes, one_by_one=task.one_by_one
            )
        if task.timed:
            now = time.perf_counter()
            outcome = replace(outcome, timing=Timing(os.getpid(), threading.get_native_id(), began, loaded, now, now))
        try:
            return answer(opened, outcome, heard.end)
        finally:
            del outcome  # as at the end of record


def _text(exception: BaseException) -> str:
    with contextlib.suppress(Exception):
        return "".join(traceback.format_exception(exception))
    return type(exception).__qualname__


# The life of a worker process


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker process of ours is told when it starts.

    Attributes
    ----------
    threads : int
        Of numeric libraries.
    parent : int
        Id of the process with which it ends.
    socket : str
        A file that this process has for its workers, and cannot remove where it is killed.
    """

    threads: int
    parent: int
    socket: str = ""


class _Thread(threading.local):
    in_task = False

    def __init__(self) -> None:
        self.prepared: weakref.WeakKeyDictionary[Initializer, Whereabouts] = weakref.WeakKeyDictionary()


_thread = _Thread()


def run_apart(data: bytes) -> bytes:
    """:func:`run_task` in another thread or process than the one that waits for the answer."""
    with _in_task():
        return run_task(data)


def run_parts(head: bytes, work: bytes, piece: memoryview, during: AbstractContextManager[None] | None = None) -> bytes:
    """:func:`run_apart` of a task that came in parts, by the store of a cluster.

    Parameters
    ----------
    head, work, piece : bytes-like
        See :class:`pdparallel.transport.task.Parts`.
    during : context manager, optional
        Held while the function is called, and nothing else: an exception may be raised in this thread meanwhile.
    """
    with _in_task():
        return _done(task_of(head, work, piece), during or contextlib.nullcontext())


@contextlib.contextmanager
def _in_task() -> Iterator[None]:
    before, _thread.in_task = _thread.in_task, True
    try:
        yield
    finally:
        _thread.in_task = before


def inside_task() -> bool:
    """Whether this thread is at work on a task: a call from here that waits for other threads may wait for ever.

    The others may be as many as a pool has, and wait likewise; or want the random numbers that this one has.
    """
    return _thread.in_task or streams.busy()


def inside_worker() -> bool:
    """Whether this process or thread is a worker, of ours or of some other pool: a call from here runs serially."""
    if inside_task():
        return True
    modules = [multiprocessing, sys.modules.get("multiprocess")]  # pathos' pools are of the latter
    return _inside or any(module.current_process().daemon for module in modules if module is not None)


def serve(pipe: Connection, setup: Setup, said: str) -> None:
    """The life of a worker of a :class:`pdparallel.engines.pool.Pool`: tasks in, answers out, until the pipe closes.

    Parameters
    ----------
    pipe : Connection
        The first answer says that the worker is up.
    setup : Setup
        What it is told.
    said : str
        Path of the file that takes its standard error until it is up.
    """
    with _standard_error_to(said):
        start(setup)
    with contextlib.suppress(EOFError, OSError):  # the parent has closed its end, or is gone
        pid = os.getpid()
        pipe.send_bytes(b"")
        while True:
            answer = run_task(pipe.recv_bytes())
            if os.getpid() != pid:  # the function forked, and this is the child, which is nobody's worker
                os._exit(0)
            pipe.send_bytes(answer)


@contextlib.contextmanager
def _standard_error_to(path: str) -> Iterator[None]:
    """What this process writes on its standard error goes into a file, also when it crashes."""
    error, kept = 2, os.dup(2)
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:  # it is the parent's, who has gone with it while this process came up
        os._exit(1)
    os.dup2(file, error)
    os.close(file)
    try:
        yield
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(kept, error)
        os.close(kept)


def start(setup: Setup) -> None:
    """Prepare a worker process: signals, threads of numeric libraries, and an end with the parent."""
    global _inside
    _inside = True
    # Ctrl-C reaches every process of the terminal; the parent decides what it means and ends the workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while this process was made
    _limit_threads(setup.threads)
    streams.begin()
    # What is imported stays: that the garbage collector looks through all of pandas again and again, while results are
    # kept, takes as long as to make 100,000 dicts of a list and a tuple.
    gc.freeze()
    threading.Thread(target=_watch, args=(setup,), name="pdparallel-watch", daemon=True).start()


def _limit_threads(threads: int) -> None:
    """Let BLAS, OpenMP, Arrow and numexpr use so many threads: workers with all cores each only wait for each other."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=threads)
    with contextlib.suppress(ImportError):
        import pyarrow

        pyarrow.set_cpu_count(threads)
    numexpr = sys.modules.get("numexpr")  # which pandas has loaded, where it is installed
    if numexpr is not None:
        with contextlib.suppress(ValueError):  # more than it was loaded for
            numexpr.set_num_threads(threads)


def _watch(setup: Setup) -> None:
    """End with the parent, however it ended, and let go the data of a call soon after its last task."""
    process = multiprocessing.parent_process()
    sentinel = None if process is None else process.sentinel
    while True:
        if sentinel is None:
            time.sleep(KEEP_SECONDS)
            gone = os.getppid() != setup.parent
        else:
            gone = bool(wait([sentinel], timeout=KEEP_SECONDS))
        if gone:
            _sweep(setup.socket)
            os._exit(1)
        if _busy == 0 and time.monotonic() - _last_task > KEEP_SECONDS:
            forget()


def _sweep(socket: str) -> None:
    """Remove the socket that a killed parent left, and its folder, unless there is more in it."""
    if socket:
        with contextlib.suppress(OSError):  # another worker was first
            os.unlink(socket)
            os.rmdir(os.path.dirname(socket))
