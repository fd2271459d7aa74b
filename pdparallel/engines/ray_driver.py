"""Ray's driver: the process that speaks with Ray, so that an error inside of Ray ends it and not the user's program.

Ray ends the process that it runs in when its head node is gone for a minute, when a thread still uses it while it is
shut down, and when it cancels a task that is just ending.  ``python -m pdparallel.engines.ray_driver`` reads pickled
tuples from its standard input, answers on its standard output, and ends when its input does::

    ("work", key, bytes)               keep a function
    ("forget", key)                    let go of it
    ("task", number, key, ...)         submit a task
    ("cancel", number)                 cancel it
    ("cores",)                         count the cores

    ("cores", n)                       also once at the beginning: Ray is there
    ("no ray", text)                   Ray did not start
    ("done", number, answer)           what the worker returned
    ("cancelled", number)
    ("failed", number, error)
    ("died", number, text)             its worker ended
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, BinaryIO

import numpy as np
import ray
from ray import exceptions

from pdparallel.engines.cluster_worker import KIND, by_value, on_worker
from pdparallel.worker.run_task import run_parts

__all__ = ["main", "run"]

#: The module whose ``run`` a worker calls.
HERE = "pdparallel.engines.ray_driver"

#: Tries of a task whose worker was ended for lack of memory; Ray's own default has no limit.
OOM_RETRIES = 3

#: Niceness of workers. Ray's default is 15: on a busy machine they would hardly begin.
NICENESS = 0

#: Seconds that an unwanted task gets to end by itself. When Ray cancels a task that is just ending or beginning, it
#: aborts its process ("Tried to complete task that was not pending", in one of a thousand calls that failed).
GRACE_SECONDS = 0.5


def main(theirs: dict[str, Any], n_workers: int, folder: str) -> None:
    """Start Ray or join it, run what is asked for, and end it."""
    # What Ray or a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    driver = _Driver(answers)
    threading.Thread(target=driver.listen, args=(os.fdopen(os.dup(0), "rb"),), daemon=True).start()
    try:
        _begin(theirs, n_workers, folder)
    except BaseException as error:
        driver.tell("no ray", f"{type(error).__name__}: {error}")
        raise
    try:
        driver.work()
    finally:
        _end()
        shutil.rmtree(folder, ignore_errors=True)  # the program may have been killed


def _begin(theirs: dict[str, Any], n_workers: int, folder: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    if theirs or (address := _running()):
        ray.init(**(theirs or {"address": address}), **quiet)
        return
    ray.init(
        address="local", num_cpus=n_workers, include_dashboard=False, _temp_dir=folder,
        _system_config={"task_oom_retries": OOM_RETRIES, "worker_niceness": NICENESS}, **quiet,
    )  # fmt: skip


def _running() -> str:
    """The address of the Ray that runs for all programs: ``RAY_ADDRESS``, or what ``ray start`` began here."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    from ray._private import utils

    read = getattr(utils, "read_ray_address", None)
    return (read() or "") if read is not None else ""


def _end() -> None:
    try:
        ray.shutdown(wait_for_processes=True)
    except TypeError:  # an older Ray
        ray.shutdown()


class _Driver:
    """Uses Ray in one thread. The others only put events into its queue."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._remote: Any = None
        self._work: dict[int, Any] = {}  # bytes until a task needs them, then a reference
        self._open: dict[int, Any] = {}
        self._unwanted: set[int] = set()
        self._cancel_at = 0.0
        self._does: dict[str, Callable[..., None]] = {
            "work": self._keep, "forget": self._forget, "task": self._task, "cancel": self._cancel,
            "cores": self._cores, "ended": self._ended,
        }  # fmt: skip

    def tell(self, *answer: Any) -> None:
        pickle.dump(answer, self._answers, protocol=pickle.HIGHEST_PROTOCOL)
        self._answers.flush()

    def listen(self, asked: BinaryIO) -> None:
        """Put what is asked for into the queue, until the program that asks has ended or says so."""
        with contextlib.suppress(EOFError, pickle.UnpicklingError, OSError):
            while True:
                self._events.put(pickle.load(asked))
        if self._remote is None and hasattr(os, "killpg"):
            # Ray still starts, which may take long. The session is this process's own, with what Ray has begun in it.
            os.killpg(0, signal.SIGKILL)
        self._events.put(("end",))

    def work(self) -> None:
        self._remote = ray.remote(by_value(on_worker, KIND)).options(name=KIND)
        self._cores()
        while True:
            wait = max(0.0, self._cancel_at - time.monotonic()) if self._unwanted else None
            try:
                kind, *rest = self._events.get(timeout=wait)
            except queue.Empty:
                self._cancel_unwanted()
                continue
            if kind == "end":
                self._open.clear()
                self._work.clear()
                return
            self._does[kind](*rest)

    def _cores(self) -> None:
        self.tell("cores", max(1, int(ray.cluster_resources().get("CPU", 1.0))))

    def _keep(self, key: int, work: bytes) -> None:
        self._work[key] = work

    def _forget(self, key: int) -> None:
        self._work.pop(key, None)

    def _task(self, number: int, key: int, versions: dict[str, str], head: bytes, piece: bytearray) -> None:
        try:
            if isinstance(self._work[key], bytes):
                self._work[key] = ray.put(_array(self._work[key]))
            ref = self._remote.remote(versions, HERE, head, self._work[key], _array(piece))
        except Exception as error:
            self._tell_of(number, error)
            return
        self._open[number] = ref
        ref.future().add_done_callback(lambda ended: self._events.put(("ended", number, ended)))

    def _ended(self, number: int, ended: Future[Any]) -> None:
        self._open.pop(number, None)
        self._unwanted.discard(number)
        try:
            answer = ended.result()
        except (exceptions.TaskCancelledError, CancelledError):
            self.tell("cancelled", number)
        except Exception as error:
            self._tell_of(number, error)
        else:
            self.tell("done", number, answer)

    def _tell_of(self, number: int, error: Exception) -> None:
        if isinstance(error, (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError)):
            self.tell(
                "died",
                number,
                f"A Ray worker ended while it had a chunk, and its retries ended, too. Ray says:\n{error}",
            )
        elif isinstance(error, (exceptions.ObjectLostError, exceptions.RaySystemError)):
            self.tell("died", number, f"Ray lost data of a chunk. Make the call again. Ray says:\n{error}")
        else:
            self.tell("failed", number, _portable(error))

    def _cancel(self, number: int) -> None:
        if number in self._open:
            if not self._unwanted:
                self._cancel_at = time.monotonic() + GRACE_SECONDS
            self._unwanted.add(number)

    def _cancel_unwanted(self) -> None:
        # The last one first: it waits, and would begin when one before it has ended.
        unwanted, self._unwanted = sorted(self._unwanted, reverse=True), set()
        for number in unwanted:
            with contextlib.suppress(Exception):  # it has ended meanwhile
                ray.cancel(self._open[number])


def _array(data: bytes | bytearray) -> Any:
    """As an array, which Ray stores and hands out without a copy of its own."""
    return np.frombuffer(data, np.uint8)


def _portable(error: Exception) -> Exception:
    """The error as the program can read it, which need not import Ray for that."""
    text = "".join(traceback.format_exception_only(error)).strip()
    cause = getattr(error, "cause", None)
    if isinstance(error, exceptions.RayTaskError) and isinstance(cause, Exception):
        try:
            pickle.loads(pickle.dumps(cause))
        except Exception:
            pass
        else:
            cause.add_note(text)
            return cause
    return RuntimeError(f"Ray could not run a chunk: {text}")


# The worker's side


def run(head: bytes, work: Any, piece: Any) -> bytes:
    """Do a task in a worker; called by :func:`pdparallel.engines.cluster_worker.on_worker`."""
    return run_parts(head, work.tobytes(), memoryview(piece))


if __name__ == "__main__":
    code = 1
    try:
        main(json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # threads of Ray, and the one that listens, need not end first
