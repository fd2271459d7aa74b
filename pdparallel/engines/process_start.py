"""Launch: a multiprocessing context whose workers never import the main script, so that no script needs a guard.

multiprocessing makes each new process run the main script once more (without its ``__main__`` part), so that
functions can be found there by name.  Ours travel by value::

    standard  parent -- {"init_main_from_path": "script.py", ...} --> worker: runs script.py, which starts workers ...
    here      parent -- {                                   ...} --> worker: waits for tasks

What is sent is put together by ``spawn.get_preparation_data``, which ``Popen`` looks up in its module.  The
classes below run the standard library's own ``Popen`` code with another ``spawn`` in that place; nothing
is changed for anybody else in the process.  The forkserver is one of our own too, with pandas preloaded, because
the standard one belongs to the whole process and is the user's.
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

#: Bytes of the path of a Unix socket: 104 on macOS, 108 on Linux, the end mark included.
LONGEST_SOCKET_PATH = 103

#: Where such a path fits.
SHORT = "/tmp"

#: What the start of a process raises if the forkserver ended meanwhile.  The process may exist all the same: who tries
#: again uses a new pipe, so that no two processes share one.
BROKEN_START = (EOFError, ConnectionError)

#: Times that such a start is tried again.
BROKEN_STARTS = 4

#: The exit code of a process whose forkserver has ended. Only the forkserver knew the real one.
BROKEN_EXITCODE = 255

#: Seconds between two looks of who waits for the end of a process.
LOOK_SECONDS = 0.1


class _Spawn:
    """The standard module ``spawn``, but its preparation data says nothing of the main script."""

    def __getattr__(self, name: str) -> Any:
        return getattr(spawn, name)

    @staticmethod
    def get_preparation_data(name: str) -> dict[str, Any]:
        data = spawn.get_preparation_data(name)
        return {key: value for key, value in data.items() if not key.startswith("init_main_from_")}


def _with_globals(function: Callable[..., Any], **replaced: Any) -> Any:
    """The same function, that sees other objects under some of its global names."""
    assert isinstance(function, types.FunctionType)
    missing = [name for name in replaced if name not in function.__code__.co_names]
    if missing:  # a future Python that does it in another way
        raise RuntimeError(f"{function.__qualname__} of multiprocessing does not name {', '.join(missing)}")
    copy = types.FunctionType(
        function.__code__, {**function.__globals__, **replaced}, function.__name__, function.__defaults__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach before they have said what they do about it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it unblocks SIGINT where it has to start
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
    """The folder for temporary files, or one with a short path where a socket's own path below it would be too long."""
    place = tempfile.gettempdir()
    too_long = len(os.fsencode(os.path.join(place, below))) > LONGEST_SOCKET_PATH
    return SHORT if too_long and os.access(SHORT, os.W_OK) else place


class _Connection:
    """The standard module ``connection``, but the forkserver's socket has a path that can be bound."""

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
        # As multiprocessing removes its own folder: after every finalizer that may still want a file of it.
        util.Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-100)
        return os.path.join(folder, "listener")


_forkserver: Any = None
_forkserver_lock = threading.Lock()

#: Pools that may start a worker; the forkserver stays as long as there is one.
_users: weakref.WeakSet[Context] = weakref.WeakSet()

#: Whether the forkserver is to end when the last pool has ended.
_released = False


def _begin_after_fork() -> None:
    """A forked child gets a forkserver of its own."""
    global _forkserver, _forkserver_lock, _poll_lock, _users
    _forkserver, _forkserver_lock, _poll_lock, _users = None, threading.Lock(), threading.Lock(), weakref.WeakSet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


def _our_forkserver() -> Any:
    """The forkserver of this process."""
    global _forkserver
    with _forkserver_lock:
        if _forkserver is None:
            from multiprocessing.forkserver import ForkServer

            ensure_running = _with_globals(ForkServer.ensure_running, connection=_Connection())
            _forkserver = type("ForkServer", (ForkServer,), {"ensure_running": ensure_running})()
            _forkserver.set_forkserver_preload(_PRELOAD)
        return _forkserver


def _socket() -> str:
    """Path of the socket of the forkserver, which is started if need be."""
    with _interrupts_blocked():
        server = _our_forkserver()
        server.ensure_running()
    return getattr(server, "_forkserver_address", None) or ""


def release_forkserver() -> None:
    """End the forkserver, now or when the last pool that may start a worker has ended."""
    global _released
    with _forkserver_lock:
        _released = True
    _end_if_unused()


def _end_if_unused() -> None:
    _end_forkserver(_forkserver, lambda: _released and not _users)


def stop_forkserver() -> None:
    """End the forkserver, also if pools still use it."""
    _end_forkserver(_forkserver)


def _end_forkserver(server: Any, condition: Callable[[], bool] = lambda: True) -> None:
    """End a forkserver; the next worker starts a new one, unless another thread has done so already."""
    global _forkserver
    with _forkserver_lock:
        if _forkserver is not server or not condition():
            return
        _forkserver = None
    pid = getattr(server, "_forkserver_pid", None)
    if pid is not None:
        # By itself it ends when its last worker has; at the end of a process nobody wants to wait for that.
        with contextlib.suppress(OSError):  # it may have been ended by others
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            server._stop()


_poll_lock = threading.Lock()


def _poll(self: Any, flag: int = os.WNOHANG) -> Any:
    """``Popen.poll`` for several threads, and for processes whose forkserver was killed."""
    from multiprocessing import forkserver

    while True:
        with _poll_lock:
            if self.returncode is None and mp_connection.wait([self.sentinel], 0):
                try:
                    self.returncode = forkserver.read_signed(self.sentinel)
                except (OSError, EOFError):
                    self.returncode = BROKEN_EXITCODE
                    # It may still be at a task, which another worker is about to run again.
                    with contextlib.suppress(OSError):
                        os.kill(self.pid, signal.SIGKILL)
        if self.returncode is not None or flag == os.WNOHANG:
            return self.returncode
        # Another thread may read the code meanwhile.  Then nothing more comes, if a process has the other end still.
        mp_connection.wait([self.sentinel], LOOK_SECONDS)


def _forkserver_popen() -> Any:
    from multiprocessing import forkserver, popen_forkserver

    class _Server:
        """The standard module ``forkserver``, but new processes come from ours."""

        @staticmethod
        def connect_to_new_process(fds: Any) -> Any:
            server = _our_forkserver()
            try:
                return server.connect_to_new_process(fds)
            except (FileNotFoundError, ConnectionError):  # its socket was removed, or it was ended by others
                _end_forkserver(server)
                return _our_forkserver().connect_to_new_process(fds)

        def __getattr__(self, name: str) -> Any:
            return getattr(forkserver, name)

    base: Any = popen_forkserver.Popen
    launch = _with_globals(base._launch, spawn=_Spawn(), forkserver=_Server())
    return type("Popen", (base,), {"_launch": launch, "poll": _poll})


#: By which multiprocessing finds the main script.
_TELLING = ("__spec__", "__file__")

_main_lock = threading.Lock()


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the main script from multiprocessing, which looks for it when it starts a process."""
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
    """Whether multiprocessing of this Python starts processes as the classes here expect; if not, says so once."""
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
    """For a multiprocessing that is different inside."""

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
        # A forked worker imports nothing, so fork needs no other way than the standard one.
        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
            with _interrupts_blocked():
                return mp_context.ForkProcess._Popen(process_obj)

    _PROCESSES |= {"forkserver": _ForkServerProcess, "fork": _ForkProcess}


class Context(mp_context.BaseContext):
    """A context for one pool."""

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
        """Say that no further process will be started."""
        with _forkserver_lock:
            _users.discard(self)
        _end_if_unused()

    def socket(self) -> str:
        """Path of the file through which workers are asked for, if there is one."""
        return _socket() if self._name == "forkserver" else ""

    @property
    def started(self) -> list[Any]:
        """Every process that the context started, in order."""
        return [process for process in self._made if process.pid is not None]

    def get_start_method(self, allow_none: bool = False) -> str:
        return self._name

    def get_context(self, method: str | None = None) -> Any:
        return self

    def Process(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - multiprocessing's name
        process = self._process(*args, **kwargs)
        self._made.append(process)
        return process
