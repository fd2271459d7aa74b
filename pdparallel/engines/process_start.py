"""Multiprocessing context whose workers never import the main script, so that scripts need no guard.

multiprocessing makes each new process run the main script again (without its ``__main__`` part) to find functions by
name. pdparallel serializes functions by value, so its workers do not need that::

    standard    parent -- {"init_main_from_path": "script.py", ...} --> worker: runs script.py, which starts workers ...
    here        parent -- {                                   ...} --> worker: waits for tasks

``spawn.get_preparation_data`` makes these data. The classes below run the ``Popen`` code of the standard library with
another ``spawn``. They change nothing for other code of the process. The forkserver is a separate one with pandas
preloaded, because the standard one belongs to the user.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import connection as mp_connection
from multiprocessing import context as mp_context
from multiprocessing import spawn, util
from typing import Any

from pdparallel.errors import PerformanceHint
from pdparallel.transport.shared_memory import open_standard_streams
from pdparallel.typing import StartMethod

__all__ = [
    "BROKEN_EXITCODE",
    "BROKEN_START",
    "BROKEN_STARTS",
    "Context",
    "folder_for_sockets",
    "release_forkserver",
    "stop_forkserver",
]  # fmt: skip

_PRELOAD = ["pandas", "pdparallel.worker.preload"]

#: Longest path of a Unix socket in bytes: macOS allows 104, Linux 108, both with the final NUL.
LONGEST_SOCKET_PATH = 103

#: Folder for sockets if their path in the temporary folder is too long.
SHORT = "/tmp"

#: Errors of the start of a process if the forkserver ends meanwhile. The process may exist all the same, so a retry
#: uses a new pipe: two processes must not share one.
BROKEN_START = (EOFError, ConnectionError)

#: Largest number of retries of such a start.
BROKEN_STARTS = 4

#: Exit code of a process whose forkserver has ended, because only the forkserver knew the real one.
BROKEN_EXITCODE = 255

#: Seconds between two checks of a thread that waits for the end of a process.
LOOK_SECONDS = 0.1


class _Spawn:
    """Substitute for the module ``spawn``, whose preparation data omit the main script."""

    def __getattr__(self, name: str) -> Any:
        return getattr(spawn, name)

    @staticmethod
    def get_preparation_data(name: str) -> dict[str, Any]:
        data = spawn.get_preparation_data(name)
        return {key: value for key, value in data.items() if not key.startswith("init_main_from_")}


def _with_globals(function: Callable[..., Any], **replaced: Any) -> Any:
    """Return a copy of a function that sees other objects under some of its global names."""
    assert isinstance(function, types.FunctionType)
    missing = [name for name in replaced if name not in function.__code__.co_names]
    if missing:  # a future Python has other code
        raise RuntimeError(f"{function.__qualname__} of multiprocessing does not name {', '.join(missing)}")
    copy = types.FunctionType(
        function.__code__, {**function.__globals__, **replaced}, function.__name__, function.__defaults__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT in processes that start inside the ``with`` block."""
    # An interrupt during their import of pandas would print a traceback. They inherit the mask, and ``worker.start``
    # removes it after it has set SIGINT to be ignored.
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _spawn_popen() -> Any:
    if os.name == "nt":
        base: Any = importlib.import_module("multiprocessing.popen_spawn_win32").Popen
        return type("Popen", (base,), {"__init__": _with_globals(base.__init__, spawn=_Spawn())})
    from multiprocessing import popen_spawn_posix

    base = popen_spawn_posix.Popen
    return type("Popen", (base,), {"_launch": _with_globals(base._launch, spawn=_Spawn())})


def folder_for_sockets(below: str) -> str:
    """Return the folder for temporary files, or a shorter one if a socket's path in it is too long."""
    place = tempfile.gettempdir()
    too_long = len(os.fsencode(os.path.join(place, below))) > LONGEST_SOCKET_PATH
    return SHORT if too_long and os.access(SHORT, os.W_OK) else place


class _Connection:
    """Substitute for the module ``connection``, which gives the forkserver's socket a path that can be bound."""

    # TMPDIR may be too long for a socket, and multiprocessing's folder in it may have been removed.

    def __getattr__(self, name: str) -> Any:
        return getattr(mp_connection, name)

    @staticmethod
    def arbitrary_address(family: str) -> str:
        place = folder_for_sockets("pymp-12345678/listener-12345678")
        if place == tempfile.gettempdir():
            address: str = mp_connection.arbitrary_address(family)  # type: ignore[attr-defined] # not in the stubs
            if os.path.isdir(os.path.dirname(address)):
                return address
        folder = tempfile.mkdtemp(prefix="pymp-", dir=place if os.path.isdir(place) else SHORT)
        # Like multiprocessing's own folder: removed after all finalizers that may need a file in it.
        util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-100)
        return os.path.join(folder, "listener")


_forkserver: Any = None
_forkserver_lock = threading.Lock()

#: Contexts that may start a worker; the forkserver stays while there is one.
_users: weakref.WeakSet[Context] = weakref.WeakSet()

#: True if the forkserver must end when the last of these contexts is closed.
_released = False


def _begin_after_fork() -> None:
    """Reset the state in a forked child, which gets its own forkserver."""
    global _forkserver, _forkserver_lock, _poll_lock, _users
    _forkserver, _forkserver_lock, _poll_lock, _users = None, threading.Lock(), threading.Lock(), weakref.WeakSet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


def _our_forkserver() -> Any:
    """Return pdparallel's forkserver object, made on first use."""
    global _forkserver
    with _forkserver_lock:
        if _forkserver is None:
            from multiprocessing.forkserver import ForkServer

            ensure_running = _with_globals(ForkServer.ensure_running, connection=_Connection())
            _forkserver = type("ForkServer", (ForkServer,), {"ensure_running": ensure_running})()
            _forkserver.set_forkserver_preload(_PRELOAD)
        return _forkserver


def _socket() -> str:
    """Start the forkserver if it does not run, and return the path of its socket."""
    with _interrupts_blocked():
        server = _our_forkserver()
        server.ensure_running()
    return getattr(server, "_forkserver_address", None) or ""


def release_forkserver() -> None:
    """End the forkserver now, or when the last context that may start a worker is closed."""
    global _released
    with _forkserver_lock:
        _released = True
    _end_if_unused()


def _end_if_unused() -> None:
    _end_forkserver(_forkserver, lambda: _released and not _users)


def stop_forkserver() -> None:
    """End the forkserver, even if pools still use it."""
    _end_forkserver(_forkserver)


def _end_forkserver(server: Any, condition: Callable[[], bool] = lambda: True) -> None:
    """End a forkserver, unless another thread has replaced it; the next worker starts a new one."""
    global _forkserver
    with _forkserver_lock:
        if _forkserver is not server or not condition():
            return
        _forkserver = None
    pid = getattr(server, "_forkserver_pid", None)
    if pid is not None:
        # By itself it ends only after its last worker, which would delay the exit of this process.
        with contextlib.suppress(OSError):  # it may have ended already
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            server._stop()


_poll_lock = threading.Lock()


def _poll(self: Any, flag: int = os.WNOHANG) -> Any:
    """Replace ``Popen.poll``: safe in several threads, and after the forkserver was killed."""
    # After a death, the pool and its watcher poll at the same moment, but the exit code can be read only once.
    from multiprocessing import forkserver

    while True:
        with _poll_lock:
            if self.returncode is None and mp_connection.wait([self.sentinel], 0):
                try:
                    self.returncode = forkserver.read_signed(self.sentinel)
                except (OSError, EOFError):
                    self.returncode = BROKEN_EXITCODE
                    # It may still run a task that another worker is about to repeat.
                    with contextlib.suppress(OSError):
                        os.kill(self.pid, signal.SIGKILL)
        if self.returncode is not None or flag == os.WNOHANG:
            return self.returncode
        # With a timeout: if another thread has read the code, nothing more arrives while a child holds the other end.
        mp_connection.wait([self.sentinel], LOOK_SECONDS)


def _forkserver_popen() -> Any:
    from multiprocessing import forkserver, popen_forkserver

    class _Server:
        """Substitute for the module ``forkserver``, which gets new processes from pdparallel's forkserver."""

        @staticmethod
        def connect_to_new_process(fds: Any) -> Any:
            server = _our_forkserver()
            try:
                return server.connect_to_new_process(fds)
            except (OSError, TypeError) as error:
                # Its socket was removed, or it has ended. If another thread ended it, its descriptor may be None.
                if server is _forkserver and not isinstance(error, (FileNotFoundError, ConnectionError)):
                    raise
                _end_forkserver(server)
                return _our_forkserver().connect_to_new_process(fds)

        def __getattr__(self, name: str) -> Any:
            return getattr(forkserver, name)

    base: Any = popen_forkserver.Popen
    launch = _with_globals(base._launch, spawn=_Spawn(), forkserver=_Server())
    return type("Popen", (base,), {"_launch": launch, "poll": _poll})


#: Attributes of ``__main__`` by which multiprocessing finds the main script.
_TELLING = ("__spec__", "__file__")

_main_lock = threading.Lock()


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the main script from multiprocessing, which searches for it when it starts a process."""
    main = sys.modules["__main__"]
    with _main_lock:
        hidden: dict[str, Any] = {name: vars(main).pop(name) for name in _TELLING if name in vars(main)}
        main.__spec__ = None
        try:
            yield
        finally:
            del main.__spec__
            vars(main).update(hidden)


@functools.cache
def _is_known() -> bool:
    """Return whether multiprocessing starts processes as the classes here expect; warn once if not."""
    try:
        _spawn_popen()
        if "forkserver" in multiprocessing.get_all_start_methods():
            from multiprocessing.forkserver import ForkServer

            _forkserver_popen()
            _with_globals(ForkServer.ensure_running, connection=_Connection())
    except Exception as error:
        warnings.warn(
            f"Python {sys.version.split()[0]} is newer than this pdparallel knows. It starts workers by spawn, which "
            f"takes longer ({type(error).__name__}: {error}).",
            PerformanceHint,
            stacklevel=2,
        )
        return False
    return True


class _PlainSpawnProcess(mp_context.SpawnProcess):
    """Process for a Python whose multiprocessing is different inside."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        with _interrupts_blocked(), _main_hidden():
            return mp_context.SpawnProcess._Popen(process_obj)


class _SpawnProcess(mp_context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        with _interrupts_blocked():
            return _spawn_popen()(process_obj)


_PROCESSES: dict[str, Any] = {"spawn": _SpawnProcess}

if "forkserver" in multiprocessing.get_all_start_methods():

    class _ForkServerProcess(mp_context.ForkServerProcess):
        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
            with _interrupts_blocked():
                return _forkserver_popen()(process_obj)

    class _ForkProcess(mp_context.ForkProcess):
        # A forked worker imports nothing, so the standard code is right.
        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
            with _interrupts_blocked():
                return mp_context.ForkProcess._Popen(process_obj)

    _PROCESSES |= {"forkserver": _ForkServerProcess, "fork": _ForkProcess}


class Context(mp_context.BaseContext):
    """Multiprocessing context of one pool."""

    def __init__(self, method: StartMethod) -> None:
        global _released
        open_standard_streams()
        self._process = _PROCESSES[method]
        if method != "fork" and not _is_known():
            method, self._process = "spawn", _PlainSpawnProcess
        self._name = method
        self.reducer = multiprocessing.get_context(method).reducer
        self._made: list[Any] = []
        if method == "forkserver":
            with _forkserver_lock:
                _released = False
                _users.add(self)

    def close(self) -> None:
        """Declare that the context starts no more processes."""
        with _forkserver_lock:
            _users.discard(self)
        _end_if_unused()

    def socket(self) -> str:
        """Return the path of the forkserver's socket; empty for other start methods."""
        return _socket() if self._name == "forkserver" else ""

    @property
    def started(self) -> list[Any]:
        """Processes that the context started, in order."""
        return [process for process in self._made if process.pid is not None]

    def get_start_method(self, allow_none: bool = False) -> str:
        return self._name

    def get_context(self, method: str | None = None) -> Any:
        return self

    def Process(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - multiprocessing's name
        process = self._process(*args, **kwargs)
        self._made.append(process)
        return process
