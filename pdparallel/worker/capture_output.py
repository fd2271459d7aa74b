"""Hooks that capture the prints, log records and warnings of a task in a worker, for the parent process.

::

    worker                                               parent, in the thread of the call
     sys.stdout, sys.stderr  print()      --+
     Logger.callHandlers     log records    +-- frames --> sys.stdout.write, Logger.handle, warnings.warn_explicit
     warnings.showwarning    warnings     --+

The hooks are installed while a task runs. The parent shows the output of a task as a whole, with the outcome of its
chunk. Only output through Python is captured. A library that writes to file descriptor 1 writes to that of the worker.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

from pdparallel.core.format import text_of
from pdparallel.transport.reducers import PROTOCOL
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.worker import replicate_state
from pdparallel.worker.captured_output import Kind, OutputCapture, Warned, written_object, written_record

__all__ = ["hearing"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


#: The capture of each thread that runs a task, by thread id.
_active: dict[int, OutputCapture] = {}
_active_lock = threading.Lock()


def _here() -> OutputCapture | None:
    """Return the capture of this thread; a thread that a function started belongs to the only active task."""
    me = threading.get_ident()
    heard = _active.get(me)
    if heard is None and len(_active) == 1:
        heard = next(iter(_active.copy().values()), None)
        if heard is not None and me in heard.unrelated_threads:
            return None
    return heard


@contextlib.contextmanager
def hearing(mailbox: str, listens: bool, standalone: bool) -> Iterator[OutputCapture]:
    """Capture the output of this thread during a task; restore streams and hooks afterwards."""
    heard = OutputCapture(mailbox)
    if not listens:
        yield heard
        return
    if not standalone:  # in a pool of the user, older threads do not belong to the task
        heard.unrelated_threads = frozenset(thread.ident for thread in threading.enumerate())
    heard.before_end = _flush_what_replaced_ours
    me = threading.get_ident()
    with _active_lock:
        if not _active:
            _install_hooks()
        _active[me] = heard
    try:
        yield heard
    finally:
        with _active_lock:
            _active.pop(me, None)
            if not _active:
                _remove_hooks()


#: What the hooks replaced, by name.
_before: dict[str, Any] = {"callHandlers": logging.Logger.callHandlers, "showwarning": warnings.showwarning}


def _install_hooks() -> None:
    _before.update({name: getattr(owner, name) for owner, name, _ in _HOOKS})
    for owner, name, hook in _HOOKS:
        if isinstance(hook, _Stream):
            hook.begin(_before[name])
        setattr(owner, name, hook)


def _remove_hooks() -> None:
    """Restore what the hooks replaced, also if a function replaced a hook."""
    for owner, name, _ in _HOOKS:
        setattr(owner, name, _before[name])


def _flush_what_replaced_ours() -> None:
    """Flush a stream that a function put in place of ours: it may wrap ours and buffer some text."""
    for name, stream in _STREAMS.items():
        current = getattr(sys, name)
        if current is not stream:
            with contextlib.suppress(Exception):
                current.flush()


# Prints


class _Stream(io.TextIOBase):
    """Replacement of ``sys.stdout`` or ``sys.stderr``; one object for all tasks, because a function may keep it."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.real: Any = None
        self._shut = False
        self.name = f"<{kind.stream}>"
        self.buffer = _Buffer(self, Kind(kind + Kind.OUT_BYTES))

    def begin(self, real: Any) -> None:
        """Replace this stream, and reopen if an earlier task closed ours."""
        self.real = None if real is self else real
        self._shut = False

    def take(self, kind: Kind, data: bytes) -> bool:
        """Give the data to the capture of this thread; return whether there is one."""
        if self._shut:
            raise ValueError("I/O operation on closed file.")
        heard = _here()
        return heard is not None and heard.add(kind, data)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if not self.take(self._kind, text.encode("utf-8", "surrogatepass")) and self.real is not None:
            self.real.write(text)
        return len(text)

    def flush(self) -> None:
        if self.real is not None and _here() is None:
            self.real.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        try:
            return bool(self.real.isatty())
        except (AttributeError, ValueError):  # no stream, or a closed one
            return False

    def fileno(self) -> int:
        if self.real is None:
            raise io.UnsupportedOperation("fileno")
        number: int = self.real.fileno()
        return number

    @property
    def closed(self) -> bool:
        return self._shut

    def close(self) -> None:
        self._shut = True

    def detach(self) -> Any:
        return self.buffer

    def __getattr__(self, name: str) -> Any:  # such as reconfigure, mode
        real = self.__dict__.get("real")
        if real is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(real, name)

    def __reduce__(self) -> Any:
        return _stream_of_here, (self._kind.stream,)


class _Buffer(io.BufferedIOBase):
    """Binary buffer of a :class:`_Stream`."""

    def __init__(self, stream: _Stream, kind: Kind) -> None:
        self._stream = stream
        self._kind = kind

    def write(self, data: Any) -> int:
        part = bytes(data)
        if not self._stream.take(self._kind, part):
            real = getattr(self._stream, "real", None)
            if real is not None:
                real.buffer.write(part)
        return len(part)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def close(self) -> None:
        self._stream.close()


def _stream_of_here(name: str) -> Any:
    return getattr(sys, name)


_STREAMS = {kind.stream: _Stream(kind) for kind in (Kind.OUT, Kind.ERR)}


# Log records

#: Handlers inherited by a fork. They belong to the forked process, which handles the captured records itself.
_inherited: weakref.WeakSet[logging.Handler] = weakref.WeakSet()


def _call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
    """Replacement of ``Logger.callHandlers``: capture the record."""
    heard = _here()
    if heard is None:
        _before["callHandlers"](self, record)
        return
    own = [handler for handler in _handlers(self) if not isinstance(handler, logging.NullHandler)]
    own = [handler for handler in own if handler not in _inherited]
    if own:  # set up in the worker, as by an initializer
        for handler in own:
            if record.levelno >= handler.level:
                handler.handle(record)
        return
    try:
        data = written_record(record, heard.table)
    except Exception:  # its text cannot be formatted: report it as a handler does
        logging.Handler().handleError(record)
        return
    if not heard.add(Kind.RECORD, data):
        _before["callHandlers"](self, record)


def _handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """Yield the handlers of a logger and of its ancestors."""
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


# Warnings


def _showwarning(
    message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    """Replacement of ``warnings.showwarning``: capture the warning."""
    heard = _here()
    if heard is None or file is not None or not heard.add(
        Kind.WARNING, _written_warning(message, category, filename, lineno, heard.table)
    ):  # fmt: skip
        _before["showwarning"](message, category, filename, lineno, file, line)


def _written_warning(message: Any, category: type[Warning], filename: str, lineno: int, table: SharedTable) -> bytes:
    text, module = text_of(message), _module_of(filename, lineno)
    undecided = replicate_state.is_shown_by_callers_filter(text, category, module, lineno)
    parts = Warned(
        written_object(message, table), written_object(category, table), _builtin_name(category), text,
        "" if filename.startswith(_PACKAGE) else filename, lineno, module, undecided,
    )  # fmt: skip
    return pickle.dumps(tuple(parts), PROTOCOL)


def _builtin_name(category: type) -> str:
    """Return the name of the builtin warning from which a category derives."""
    name = next((kind.__name__ for kind in category.__mro__ if kind.__module__ == "builtins"), "Warning")
    return "UserWarning" if name == "Warning" else name


def _module_of(filename: str, lineno: int) -> str | None:
    """Return the name of the module that a warning points at, because filters may match it."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_lineno == lineno and frame.f_code.co_filename == filename:
            name = frame.f_globals.get("__name__")
            return name if isinstance(name, str) else None
        frame = frame.f_back
    return None


_HOOKS: list[tuple[Any, str, Any]] = [
    *((sys, name, stream) for name, stream in _STREAMS.items()),
    (logging.Logger, "callHandlers", _call_handlers),
    (warnings, "showwarning", _showwarning),
]


def _begin_after_fork() -> None:
    """Forget the tasks of the parent in a forked child, and note the handlers that it inherits."""
    global _active_lock
    _active_lock = threading.Lock()
    _active.clear()
    for logger in (logging.root, *list(logging.root.manager.loggerDict.values())):
        _inherited.update(getattr(logger, "handlers", ()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)
