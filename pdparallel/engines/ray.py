"""Ray: tasks on the workers of a Ray cluster; the object store of each machine gets the function once a call.

::

    function   ray.put, once a call          each machine that needs it gets it once
    chunk      ray.put                       the worker reads it where it lies, without a copy
    answer     ray.get                       as soon as it is there
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, ClassVar

import numpy as np
import ray
from ray import exceptions

from pdparallel.ending import at_exit
from pdparallel.engines.base import REMEDY, Engine
from pdparallel.engines.cluster import KIND, answer_of, by_value, on_worker, wanted
from pdparallel.engines.launch import folder_for_sockets
from pdparallel.engines.warm import Kept, Warm
from pdparallel.errors import WorkerDiedError
from pdparallel.transport.task import Parts, Reach
from pdparallel.worker import run_parts

__all__ = ["RayEngine", "run"]

#: Times that a task whose worker was ended for want of memory is tried again; Ray's own default is: for ever.
OOM_RETRIES = 3

#: Of workers, which Ray would run behind everything else: where the machine is busy they would hardly begin.
NICENESS = 0

#: Seconds that what is not wanted any more gets to end by itself. A cancellation that meets a task which is just ending
#: or beginning makes Ray abort this process ("Tried to complete task that was not pending", in one of a thousand calls
#: that failed among short chunks): what takes longer than this rarely does either at that very moment.
GRACE_SECONDS = 0.5

#: What the path of a socket of Ray's looks like, below the folder for temporary files.
LIKE_A_SOCKET = "pdparallel-ray-12345678/session_2026-01-01_00-00-00_123456_1234567/sockets/plasma_store"

#: Seconds between two looks at how many cores the cluster has.
LOOK_SECONDS = 1.0


class _Started(Kept):
    """The Ray that runs on this machine or at ``RAY_ADDRESS``, or one that is begun here, and ended with the rest."""

    def __init__(self, n_workers: int) -> None:
        self._folder = ""
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
        with contextlib.suppress(ConnectionError):  # there is none
            ray.init(address="auto", **quiet)
            self._node = _node()
            return
        # What Ray writes about itself, and its sockets.
        self._folder = tempfile.mkdtemp(prefix="pdparallel-ray-", dir=folder_for_sockets(LIKE_A_SOCKET))
        try:
            ray.init(
                address="local", num_cpus=n_workers, include_dashboard=False, _temp_dir=self._folder,
                _system_config={"task_oom_retries": OOM_RETRIES, "worker_niceness": NICENESS}, **quiet,
            )  # fmt: skip
            self._node = _node()
        except BaseException:
            self._remove()
            raise

    def _remove(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def usable(self) -> bool:
        return _node() == self._node  # the user may have ended it, and begun another one

    def end(self, *, kill: bool) -> None:
        if self.usable:
            ray.shutdown()
        self._remove()


def _node() -> str:
    """Which Ray this process has; empty where it has none."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


_warm: Warm[_Started] = Warm()

at_exit(_warm.drop, of_pools=True)


class RayEngine(Engine):
    """The workers of the Ray that runs, or of one on this machine, which stays for the next call.

    Parameters
    ----------
    n_workers : int
        Workers of a Ray that is begun here.
    """

    name: ClassVar[str] = "ray"
    reach = Reach.STORE
    task_seconds = 0.004  # benchmarks/cluster.py

    def __init__(self, n_workers: int) -> None:
        self._local = n_workers
        self._lock = threading.Lock()
        self._started: _Started | None = None
        self._task: Any = None
        self._function: tuple[bytes, Any] | None = None
        self._open: weakref.WeakSet[_Carried] = weakref.WeakSet()
        self._unwanted: list[_Carried] = []
        self._cores = (0.0, 0)
        self._versions = wanted()
        self._closed = False

    @property
    def n_workers(self) -> int:  # type: ignore[override]
        """Cores of the cluster, as it grows and shrinks."""
        if not ray.is_initialized():
            return self._local
        looked, cores = self._cores
        if not cores or time.monotonic() - looked > LOOK_SECONDS:
            cores = int(ray.cluster_resources().get("CPU", 1.0))
            self._cores = time.monotonic(), cores
        return max(1, cores)

    def _ready(self) -> Any:
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._task is None:
                if not ray.is_initialized() or _warm.has(KIND):  # a process has one Ray, however many workers are asked
                    self._started = _warm.borrow(KIND, lambda: _Started(self._local))
                self._task = ray.remote(by_value(on_worker, KIND)).options(name=KIND)
            return self._task

    def submit(self, task: Parts) -> Future[bytes]:
        remote = self._ready()
        if self._function is None or self._function[0] is not task.work:
            self._function = task.work, ray.put(_array(task.work))
        try:
            ref = remote.remote(self._versions, __name__, task.head, self._function[1], _array(task.piece))
        except exceptions.RayError as error:
            raise _explained(error) from error
        carried = _Carried(ref, self._cancel_soon)
        self._open.add(carried)
        return carried

    def _cancel_soon(self, carried: _Carried) -> None:
        with self._lock:
            self._unwanted.append(carried)
            if len(self._unwanted) > 1:
                return
        timer = threading.Timer(GRACE_SECONDS, self._cancel)
        timer.daemon = True
        timer.start()

    def _cancel(self) -> None:
        with self._lock:
            unwanted, self._unwanted = self._unwanted, []
        # What came last first: it waits, and would begin where one before it has ended.
        for carried in sorted({one for one in unwanted if not one.done()}, key=lambda one: -one.number):
            with contextlib.suppress(Exception):  # Ray has ended
                ray.cancel(carried.ref)

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            self._closed = True
            started, self._started = self._started, None
        if kill:
            for carried in list(self._open):
                carried.cancel()
        self._function = self._task = None
        if started is not None:
            _warm.give_back(started)  # what ran was cancelled, and its workers go on with what is next


def _array(data: bytes | bytearray) -> Any:
    """As what Ray keeps without a copy of its own, and hands out without one."""
    return np.frombuffer(data, np.uint8)


class _Carried(Future[bytes]):
    """A task of Ray's as a future, which reaches the worker when it is cancelled."""

    _numbers = itertools.count()

    def __init__(self, ref: Any, cancel_soon: Callable[[_Carried], None]) -> None:
        super().__init__()
        self.ref = ref
        self.number = next(self._numbers)
        self._cancel_soon = cancel_soon
        ref.future().add_done_callback(self._finish)

    def cancel(self) -> bool:
        if not self.done():
            self._cancel_soon(self)
        return self.done()

    def _finish(self, inner: Future[Any]) -> None:
        try:
            self.set_result(answer_of(inner.result(), "Ray"))
        except (exceptions.TaskCancelledError, CancelledError):
            super().cancel()
            self.set_running_or_notify_cancel()
        except Exception as error:
            self.set_exception(_explained(error))


def _explained(error: Exception) -> Exception:
    if isinstance(error, (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError)):
        died: Exception = WorkerDiedError(
            f"a Ray worker ended while it had a chunk, and so did those that tried it again. {REMEDY}"
        )
    elif isinstance(error, (exceptions.ObjectLostError, exceptions.RaySystemError)):
        died = WorkerDiedError(f"Ray lost what a chunk needed: {error}")
    else:
        return error
    died.__cause__ = error
    return died


# The worker's side


def run(head: bytes, work: Any, piece: Any) -> bytes:
    """Do a task in a worker; called by :func:`pdparallel.engines.cluster.on_worker`."""
    return run_parts(head, work.tobytes(), memoryview(piece))
