"""Pool: worker processes, each at the end of a pipe of its own, so that one that dies takes only its own task with it.

The pools of the standard library share one queue among their workers: a dead worker breaks the pool
(:mod:`concurrent.futures`), or its task is lost for ever (:mod:`multiprocessing`).  Here the pool knows who has which
task::

    submit(task) --> waiting --+--> pipe --> worker 1   runs one task, has the next in its pipe
                               +--> pipe --> worker 2
    future       <-- a thread <--- answer, or the end of the process: then only its running task is lost, and another
                                   worker takes its place
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from typing import Any

from pdparallel.engines.base import died, how_it_ended
from pdparallel.engines.process_start import BROKEN_EXITCODE, BROKEN_START, BROKEN_STARTS, Context
from pdparallel.errors import WorkerDiedError, WorkerStartError
from pdparallel.transport.shared_memory import Mailbox
from pdparallel.typing import StartMethod
from pdparallel.worker.process import Setup, serve

__all__ = ["Pool"]

#: Tasks that a worker has at most: the one that it runs, and one that it finds in its pipe when it is done.
TASKS_OF_A_WORKER = 2

#: Workers that may end in a row before they are up; the cause is then no accident.
FAILED_STARTS = 2

#: The same for workers that somebody else killed, or whose forkserver was.
KILLED_STARTS = 8

#: Bytes of a worker's tasks that can be written without waiting for it, whatever it does: they fit into the buffer of a
#: pipe, which has 208 KB on Linux and 8 KB on macOS.  What is longer is written by a thread of its own.
BYTES_AT_ONCE = 1 << 16 if sys.platform == "linux" else 7 << 10

#: Seconds until a worker with tasks is looked after anew: while a child of its own holds its pipe open, it ends unseen.
LOOK_SECONDS = 1.0

#: Whether the end of a pipe says that its process has ended.  On Windows no process has the handle of another's, and
#: who waits there can wait for 63 handles: a pipe each, of the 61 workers at most.
PIPES_TELL_ALL = os.name == "nt"

#: Seconds that workers get to leave by themselves before they are killed.
LEAVE_SECONDS = 2.0


class _Sent:
    """A task and its future; it may be sent more than once."""

    def __init__(self, task: bytes) -> None:
        self.task = task
        self.future: Future[bytes] = Future()
        self.abandoned = False
        self._runs = False

    def runs(self) -> bool:
        """Begin, unless it was cancelled."""
        self._runs = self._runs or self.future.set_running_or_notify_cancel()
        return self._runs


class _Worker:
    """A process, the pool's end of its pipe, and its tasks that have no answer yet, the oldest first."""

    def __init__(self, process: Any, pipe: Connection, said: Mailbox) -> None:
        self.process = process
        self.pipe = pipe
        self.said = said
        self.sent: deque[_Sent] = deque()
        self.unwritten: deque[_Sent] = deque()  # the latest of these
        self.writing = threading.Lock()
        self.up = False
        self.gone = False

    def write(self, may_wait: bool = False) -> None:
        """Write what is not written yet. A thread does it if the pipe is full until the worker reads."""
        too_much = False
        while self.unwritten and not too_much and self.writing.acquire(blocking=False):
            try:
                while self.unwritten and not too_much:
                    too_much = not may_wait and sum(len(sent.task) for sent in list(self.sent)) > BYTES_AT_ONCE
                    if not too_much:
                        self.pipe.send_bytes(self.unwritten[0].task)
                        self.unwritten.popleft()
            except (OSError, IndexError):  # it has ended, which the thread of the pool notices
                self.gone = True
                return
            finally:
                self.writing.release()
        if too_much:
            threading.Thread(target=self.write, args=(True,), name="pdparallel-write", daemon=True).start()

    def hang_up(self) -> None:
        """Close the pipe, also if a thread is writing to it: a child of the worker may hold the other end."""
        self.gone = True
        if not self.writing.acquire(blocking=False):
            if hasattr(socket, "AF_UNIX"):
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.pipe.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)
            self.writing.acquire()
        try:
            self.unwritten.clear()
            self.pipe.close()
        finally:
            self.writing.release()


class Pool:
    """Worker processes for one kind of setup."""

    def __init__(self, n_workers: int, method: StartMethod, setup: Setup) -> None:
        self.n_workers = n_workers
        self.context = Context(method)
        self._setup = setup
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._waiting: deque[_Sent] = deque()
        self._thread: threading.Thread | None = None
        self._wakeup, self._ring = self.context.Pipe(duplex=False)
        self._rung = False
        self._ended = False
        self._failed_starts = 0
        self._makes_do = False
        # Before multiprocessing waits for its processes at the end of this one.
        self._at_exit = util.Finalize(None, self.end, kwargs={"kill": False}, exitpriority=10)

    # What the engine asks

    @property
    def usable(self) -> bool:
        """Whether the pool takes tasks, with all the workers that were asked for."""
        return not self._ended and not self._makes_do

    @property
    def up(self) -> bool:
        """Whether a worker has answered."""
        return any(worker.up for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        """The processes of the workers."""
        return [worker.process.pid for worker in self._workers]

    def submit(self, task: bytes) -> Future[bytes]:
        """Have the task run; the future ends in any case, with a :class:`WorkerDiedError` if its worker does."""
        sent = _Sent(task)
        with self._lock:
            if self._ended:
                raise RuntimeError("the pool is closed")
            self._waiting.append(sent)
            dealt = self._dispatch()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="pdparallel-pool", daemon=True)
                self._thread.start()
            elif self._waiting and len(self._workers) < self.n_workers:
                self._wake()
        _write(dealt)
        return sent.future

    def kill(self, pid: int) -> None:
        """End a worker at once; its running task fails, the others go on."""
        with self._lock:
            for worker in self._workers:
                if worker.process.pid == pid:
                    worker.process.kill()

    def abandon(self, futures: Collection[Future[bytes]]) -> None:
        """Have done with some tasks, and with no others: what waits never begins, what runs ends with its worker."""
        with self._lock:
            for sent in (*self._waiting, *(sent for worker in self._workers for sent in worker.sent)):
                sent.abandoned = sent.abandoned or sent.future in futures
            for worker in self._workers:
                self._end_if_abandoned(worker)

    def _end_if_abandoned(self, worker: _Worker) -> None:
        """End a worker whose task nobody waits for, under the lock."""
        if worker.up and worker.sent and worker.sent[0].abandoned and not _has_word(worker.pipe):
            worker.process.kill()

    def end(self, *, kill: bool) -> None:
        """End all workers, with ``kill`` at once; tasks without an answer fail."""
        self._at_exit.cancel()
        with self._lock:
            first, self._ended = not self._ended, True
            thread = self._thread
            if kill:
                for worker in self._workers:
                    worker.process.kill()
            if first and thread is not None:
                self._wake()
        if thread is not None:
            thread.join(3 * LEAVE_SECONDS)
        elif first:
            self._stop_workers()

    # The tasks on their way

    def _dispatch(self) -> list[_Worker]:
        """Give what waits to the workers with the fewest tasks, under the lock; returns those who get some."""
        dealt: list[_Worker] = []
        while self._waiting:
            there = [worker for worker in self._workers if not worker.gone]
            free = min(there, key=lambda worker: len(worker.sent), default=None)
            # A second task goes to a worker only where no further worker can take it.
            most = TASKS_OF_A_WORKER if len(self._workers) == self.n_workers else 1
            if free is None or len(free.sent) >= most:
                break
            sent = self._waiting.popleft()
            if not sent.runs():
                continue
            if sent.abandoned:
                sent.future.set_exception(WorkerDiedError("the call was given up before the task began"))
                continue
            free.sent.append(sent)
            free.unwritten.append(sent)
            dealt.append(free)
        return dealt

    def _wake(self) -> None:
        """Have the thread look again, under the lock."""
        if not self._rung:
            self._rung = True
            self._ring.send_bytes(b"")

    # The thread

    def _serve(self) -> None:
        try:
            while self._look():
                pass
            self._stop_workers()
        except BaseException:
            with self._lock:
                self._ended = True
            self._stop_workers()
            raise

    def _look(self) -> bool:
        """Wait for what comes next, and deal with it; returns whether the pool goes on."""
        with self._lock:
            if self._ended:
                return False
            # Each has a process of its own; a cancelled task needs none.
            wanted = min(self.n_workers - len(self._workers), len(self._waiting))
            workers = list(self._workers)
        if wanted > 0:
            self._start_worker()
            return True
        watched: list[Any] = [worker.pipe for worker in workers]
        if not PIPES_TELL_ALL:
            watched += [worker.process.sentinel for worker in workers]
        ready = wait([self._wakeup, *watched], timeout=LOOK_SECONDS if any(worker.sent for worker in workers) else None)
        if self._wakeup in ready:
            with self._lock:
                self._wakeup.recv_bytes()
                self._rung = False
        for worker in workers:
            if not ready or worker.pipe in ready or worker.process.sentinel in ready:
                self._read_worker(worker)
        return True

    def _start_worker(self) -> None:
        """Start a worker."""
        for tries_left in reversed(range(BROKEN_STARTS + 1)):
            made: list[Any] = []
            try:
                said = Mailbox()
                made.append(said)
                mine, its = self.context.Pipe()
                made += (mine, its)
                setup = replace(self._setup, socket=self.context.socket())
                process = self.context.Process(target=serve, args=(its, setup, said.path), name="pdparallel-worker")
                process.start()
            except Exception as error:
                for one in made:
                    one.close()
                if tries_left and isinstance(error, BROKEN_START):
                    continue
                reason = WorkerStartError(f"No worker process could be started: {type(error).__name__}: {error}")
                reason.__cause__ = error
                self._degrade(reason)
                return
            its.close()
            with self._lock:
                self._workers.append(_Worker(process, mine, said))
                dealt = self._dispatch()
            _write(dealt)
            return

    def _read_worker(self, worker: _Worker) -> None:
        """Take what a worker has sent, and notice its end."""
        try:
            while worker.pipe.poll():
                self._on_message(worker, worker.pipe.recv_bytes())
        except (EOFError, OSError):  # its end of the pipe is closed
            self._on_worker_exit(worker)
            return
        if worker.process.exitcode is not None:
            self._on_worker_exit(worker)

    def _on_message(self, worker: _Worker, answer: bytes) -> None:
        if not worker.up:  # its first word only says so
            worker.up, self._failed_starts = True, 0
            worker.said.close()
            with self._lock:
                self._end_if_abandoned(worker)
            return
        with self._lock:
            sent = worker.sent.popleft()
            dealt = self._dispatch()
            self._end_if_abandoned(worker)
        _write(dealt)
        sent.future.set_result(answer)

    def _on_worker_exit(self, worker: _Worker) -> None:
        """A worker is gone: its running task is lost, what it had not begun waits again."""
        _ended(worker.process)
        with self._lock:
            self._workers.remove(worker)
            begun = worker.up and worker.sent and worker.sent[0] not in worker.unwritten
            lost = worker.sent.popleft() if begun else None
            self._waiting.extendleft(reversed(worker.sent))
        worker.hang_up()
        if lost is not None:
            lost.future.set_exception(died([worker.process]))
        if not worker.up:
            self._failed_starts += 1
            killed = worker.process.exitcode < 0 or worker.process.exitcode == BROKEN_EXITCODE
            if self._failed_starts >= (KILLED_STARTS if killed else FAILED_STARTS):
                self._degrade(_of_the_start(worker))
        worker.said.close()

    def _degrade(self, reason: WorkerStartError) -> None:
        """No further worker can be had: go on with those that there are, or give up."""
        with self._lock:
            self._failed_starts = 0
            lost: list[_Sent] = []
            dealt: list[_Worker] = []
            if self._workers:
                self.n_workers, self._makes_do = len(self._workers), True
                dealt = self._dispatch()
            else:
                lost, self._waiting = list(self._waiting), deque()
        _write(dealt)
        for sent in lost:
            if sent.runs():
                sent.future.set_exception(reason)

    def _stop_workers(self) -> None:
        """End the workers; whoever still waits for one of them learns it."""
        with self._lock:
            workers, self._workers = self._workers, []
            open_tasks = [sent for worker in workers for sent in worker.sent] + list(self._waiting)
            self._waiting.clear()
        for worker in workers:
            worker.hang_up()
        until = time.monotonic() + LEAVE_SECONDS
        for worker in workers:
            _ended(worker.process, until - time.monotonic())
            worker.said.close()
        for sent in open_tasks:
            if sent.runs():
                sent.future.set_exception(WorkerDiedError("the pool was closed while the task was on its way"))
        self._wakeup.close()
        self._ring.close()
        self.context.close()


def _write(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.write()


def _has_word(pipe: Connection) -> bool:
    try:
        return pipe.poll()
    except OSError:  # it is closed: whoever was there has ended
        return True


def _ended(process: Any, seconds: float = LEAVE_SECONDS) -> None:
    """Wait for the end of a process, and bring it about where it does not come."""
    process.join(max(0.0, seconds))
    if process.exitcode is None:
        process.kill()
        process.join(LEAVE_SECONDS)


def _of_the_start(worker: _Worker) -> WorkerStartError:
    """The error for a worker that ended before it was up, with what it said on its standard error."""
    process = worker.process
    how = how_it_ended(process.exitcode)
    said = worker.said.read().decode(errors="replace").strip()
    words = f" It said:\n{said}" if said else ""
    text = f"Worker process {process.pid} {how} while it started.{words}"
    return WorkerStartError(text, process.pid, process.exitcode)
