"""Driver process for Ray, so that an error inside Ray ends this process and not the user's program.

Ray ends its process when its head node is gone for a minute or a thread uses it during its shutdown. It also does so
when it cancels a task that just ends.

``python -m pdparallel.engines.ray_driver`` reads pickled tuples from its standard input, and answers on its standard
output. It ends when its input ends::

    ("work", key, bytes)               store a function
    ("forget", key)                    release it
    ("task", number, key, ...)         submit a task
    ("cancel", number)                 cancel it
    ("cores",)                         count the cores

    ("cores", n)                       also sent once when Ray has started
    ("no ray", text)                   Ray did not start
    ("done", number, answer)           answer of the worker
    ("cancelled", number)
    ("failed", number, error)
    ("died", number, text)             the worker ended
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

#: Module whose ``run`` a worker calls.
HERE = "pdparallel.engines.ray_driver"

#: Retries of a task whose worker was ended for lack of memory; Ray's default has no limit.
OOM_RETRIES = 3

#: Niceness of workers. With Ray's default of 15 they hardly start on a busy machine.
NICENESS = 0

#: Seconds that a cancelled task gets to end by itself. If Ray cancels a task that just starts or ends, it aborts its
#: process: "Tried to complete task that was not pending". That was measured in one of 1,000 failed calls.
GRACE_SECONDS = 0.5


def main(theirs: dict[str, Any], n_workers: int, folder: str) -> None:
    """Start Ray in ``folder`` or join the user's (``theirs``), run the requested tasks, and end it."""
    # The output of Ray and libraries must not get between the answers.
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
        shutil.rmtree(folder, ignore_errors=True)  # a killed parent cannot remove it


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
    """Return the address of the Ray for all programs: ``RAY_ADDRESS``, or the one of ``ray start``."""
    # Ray's own "auto" also joins a Ray that another program started for itself, and that ends with it.
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
    """Client of Ray that uses it in one thread; the others only put events into a queue."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._remote: Any = None
        self._work: dict[int, Any] = {}  # bytes until the first task, then a reference
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
        """Put requests into the queue until the parent closes the pipe or ends."""
        with contextlib.suppress(EOFError, pickle.UnpicklingError, OSError):
            while True:
                self._events.put(pickle.load(asked))
        if self._remote is None and hasattr(os, "killpg"):
            # Ray still starts, which may take long. The group of this process also contains Ray's processes.
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
        # The last task first: it may wait, and would start when an earlier one has ended.
        unwanted, self._unwanted = sorted(self._unwanted, reverse=True), set()
        for number in unwanted:
            with contextlib.suppress(Exception):  # the task has ended meanwhile
                ray.cancel(self._open[number])


def _array(data: bytes | bytearray) -> Any:
    """Return the data as an array, which Ray stores and passes to workers without another copy."""
    return np.frombuffer(data, np.uint8)


def _portable(error: Exception) -> Exception:
    """Return the error in a form that the parent can unpickle without Ray."""
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
    """Run a task in a worker; called by :func:`pdparallel.engines.cluster_worker.on_worker`."""
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
        os._exit(code)  # without waiting for Ray's threads and the listener
