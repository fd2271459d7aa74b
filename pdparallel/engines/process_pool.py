"""Pool of worker processes with one pipe each, so that a dead worker loses only its running task.

The pools of the standard library share one queue among their workers. A dead worker breaks the pool
(:mod:`concurrent.futures`), or its task is lost forever (:mod:`multiprocessing`). This pool knows the tasks of each
worker::

    submit(task) --> waiting --+--> pipe --> worker 1   runs one task, has the next in its pipe
                               +--> pipe --> worker 2
    future       <-- a thread <--- answer, or end of the process: only its running task fails, and another worker
                                   replaces it
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

#: Largest number of tasks of a worker: the one that it runs, and one that waits in its pipe.
TASKS_OF_A_WORKER = 2

#: Failed starts in a row after which the pool starts no more workers.
FAILED_STARTS = 2

#: The same for workers that another process killed, or whose forkserver was killed.
KILLED_STARTS = 8

#: Bytes of a worker's tasks that can be written without waiting for it; a thread writes more than that. The buffer of
#: a pipe holds 208 KB on Linux and 8 KB on macOS.
BYTES_AT_ONCE = 1 << 16 if sys.platform == "linux" else 7 << 10

#: Seconds between two checks of workers with tasks: a child that holds the pipe of a dead worker open hides its death.
LOOK_SECONDS = 1.0

#: True if a closed pipe proves that its process has ended. On Windows no process inherits the pipe of another worker.
#: A wait takes at most 63 handles there: enough for one pipe of each of the 61 workers at most.
PIPES_TELL_ALL = os.name == "nt"

#: Seconds that workers get to exit before they are killed.
LEAVE_SECONDS = 2.0


class _Sent:
    """Task and its future; it may be sent more than once."""

    def __init__(self, task: bytes) -> None:
        self.task = task
        self.future: Future[bytes] = Future()
        self.abandoned = False
        self._runs = False

    def runs(self) -> bool:
        """Mark the future as running; return False if it was cancelled."""
        self._runs = self._runs or self.future.set_running_or_notify_cancel()
        return self._runs


class _Worker:
    """Process, the pool's end of its pipe, and its unanswered tasks, the oldest first."""

    def __init__(self, process: Any, pipe: Connection, said: Mailbox) -> None:
        self.process = process
        self.pipe = pipe
        self.said = said
        self.sent: deque[_Sent] = deque()
        self.unwritten: deque[_Sent] = deque()  # the last ones of ``sent``
        self.writing = threading.Lock()
        self.up = False
        self.gone = False

    def write(self, may_wait: bool = False) -> None:
        """Write the unwritten tasks, in a thread if the pipe may be full."""
        # Callers do not hold the pool's lock, because a stopped worker must not keep other threads from ending it.
        too_much = False
        while self.unwritten and not too_much and self.writing.acquire(blocking=False):
            try:
                while self.unwritten and not too_much:
                    too_much = not may_wait and sum(len(sent.task) for sent in list(self.sent)) > BYTES_AT_ONCE
                    if not too_much:
                        self.pipe.send_bytes(self.unwritten[0].task)
                        self.unwritten.popleft()
            except (OSError, IndexError):  # the worker has ended; the pool's thread notices that
                self.gone = True
                return
            finally:
                self.writing.release()
        if too_much:
            threading.Thread(target=self.write, args=(True,), name="pdparallel-write", daemon=True).start()

    def hang_up(self) -> None:
        """Close the pipe, even if a thread writes to it while a child of the dead worker holds the other end."""
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
    """Pool of worker processes with the same setup."""

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
        # Runs before multiprocessing waits for its processes at exit.
        self._at_exit = util.Finalize(None, self.end, kwargs={"kill": False}, exitpriority=10)

    # Interface for the engine

    @property
    def usable(self) -> bool:
        """True if the pool takes tasks and can have all its workers."""
        return not self._ended and not self._makes_do

    @property
    def up(self) -> bool:
        """True if a worker has answered."""
        return any(worker.up for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def submit(self, task: bytes) -> Future[bytes]:
        """Run a task in a worker; the future always ends, with a :class:`WorkerDiedError` if the worker dies."""
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
        """End a worker at once; its running task fails, its waiting one does not."""
        with self._lock:
            for worker in self._workers:
                if worker.process.pid == pid:
                    worker.process.kill()

    def abandon(self, futures: Collection[Future[bytes]]) -> None:
        """Abandon tasks: waiting ones never start, and running ones end with their worker."""
        with self._lock:
            for sent in (*self._waiting, *(sent for worker in self._workers for sent in worker.sent)):
                sent.abandoned = sent.abandoned or sent.future in futures
            for worker in self._workers:
                self._end_if_abandoned(worker)

    def _end_if_abandoned(self, worker: _Worker) -> None:
        """End a worker whose running task is abandoned, under the lock."""
        # A worker may finish its start. One that has sent an answer is at its next task, perhaps of another call.
        if worker.up and worker.sent and worker.sent[0].abandoned and not _has_word(worker.pipe):
            worker.process.kill()

    def end(self, *, kill: bool) -> None:
        """End all workers, with ``kill`` at once; unanswered tasks fail."""
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

    # Dispatch of tasks

    def _dispatch(self) -> list[_Worker]:
        """Assign waiting tasks to the workers with the fewest, under the lock; return these workers."""
        dealt: list[_Worker] = []
        while self._waiting:
            there = [worker for worker in self._workers if not worker.gone]
            free = min(there, key=lambda worker: len(worker.sent), default=None)
            # A worker gets a second task only if the pool cannot start another worker for it.
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
        """Wake the pool's thread, under the lock."""
        if not self._rung:
            self._rung = True
            self._ring.send_bytes(b"")

    # The pool's thread

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
        """Wait for the next event and handle it; return False when the pool has ended."""
        with self._lock:
            if self._ended:
                return False
            # One new worker per waiting task. They start one by one, because a cancelled task needs none.
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
        """Start a worker; repeat that if the forkserver has ended."""
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
        """Read the messages of a worker, and notice its end."""
        try:
            while worker.pipe.poll():
                self._on_message(worker, worker.pipe.recv_bytes())
        except (EOFError, OSError):  # its end of the pipe is closed
            self._on_worker_exit(worker)
            return
        if worker.process.exitcode is not None:
            self._on_worker_exit(worker)

    def _on_message(self, worker: _Worker, answer: bytes) -> None:
        if not worker.up:  # the first message only says that it is up
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
        """Remove a dead worker: its running task fails, its other task waits again."""
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
        """Continue with the existing workers, or fail all waiting tasks if there are none."""
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
        """End the workers, and fail the open tasks."""
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
    except OSError:  # closed: the worker has ended
        return True


def _ended(process: Any, seconds: float = LEAVE_SECONDS) -> None:
    """Wait for the end of a process; kill it after ``seconds``."""
    process.join(max(0.0, seconds))
    if process.exitcode is None:
        process.kill()
        process.join(LEAVE_SECONDS)


def _of_the_start(worker: _Worker) -> WorkerStartError:
    """Return the error for a worker that ended during its start, with its standard error."""
    process = worker.process
    how = how_it_ended(process.exitcode)
    said = worker.said.read().decode(errors="replace").strip()
    words = f" It said:\n{said}" if said else ""
    text = f"Worker process {process.pid} {how} while it started.{words}"
    return WorkerStartError(text, process.pid, process.exitcode)
