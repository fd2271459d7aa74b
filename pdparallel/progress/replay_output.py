"""Replay of a task's prints, log records and warnings, in the process that made the call."""

from __future__ import annotations

import builtins
import contextlib
import itertools
import logging
import operator
import pickle
import sys
import warnings
from typing import Any

from pdparallel.core.chunking import Chunk
from pdparallel.progress.displays import besides
from pdparallel.transport.functions import level_of_the_user
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.worker.captured_output import Kind, Warned, frames, read_object

__all__ = ["CapturedOutput"]


class CapturedOutput:
    """Captured output of a task."""

    def __init__(self, data: bytes, table: SharedTable) -> None:
        self._data = data
        self._table = table

    def show(self, units: Chunk | None = None) -> None:
        """Print, log and warn as the function did, optionally only for some units; a warning may raise here."""
        wanted = (
            (kind, data) for kind, unit, data in frames(self._data) if units is None or units.start <= unit < units.stop
        )
        for kind, some in itertools.groupby(wanted, key=operator.itemgetter(0)):
            parts = [data for _, data in some]
            if kind.stream:
                _print(kind, b"".join(parts))
                continue
            for data in parts:
                with besides(sys.stderr):  # most handlers and warnings write there
                    if kind is Kind.RECORD:
                        _log(data, self._table)
                    elif kind is Kind.WARNING:
                        _warn(Warned(*pickle.loads(data)), self._table)
                    else:
                        warnings.warn(data.decode(), RuntimeWarning, stacklevel=level_of_the_user())


def _print(kind: Kind, data: bytes) -> None:
    stream = getattr(sys, kind.stream)
    if stream is None:  # as print() does
        return
    try:
        with besides(stream):
            if kind in (Kind.OUT_BYTES, Kind.ERR_BYTES) and hasattr(stream, "buffer"):
                stream.flush()
                stream.buffer.write(data)
                stream.buffer.flush()
            else:
                _write(stream, _decoded(data))
    except Exception as error:  # such as a closed stream or pipe: the result matters more
        text = f"what the workers printed could not be shown: {type(error).__name__}: {error}"
        warnings.warn(text, RuntimeWarning, stacklevel=level_of_the_user())


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # bytes that are no text, or truncated text
        return data.decode("utf-8", "backslashreplace")


def _write(stream: Any, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _log(data: bytes, table: SharedTable) -> None:
    fields, others = pickle.loads(data)
    for key, value in others.items():
        fields[key] = read_object(value, table)
    record = logging.makeLogRecord(fields)
    logger = logging.root.manager.loggerDict.get(record.name) if record.name != logging.root.name else logging.root
    if isinstance(logger, logging.Logger):
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    elif record.levelno > logging.root.manager.disable:
        # The library of this logger is not imported here. The level of the logger in the worker let the record pass.
        _next_above(record.name).callHandlers(record)


def _next_above(name: str) -> logging.Logger:
    """Return the next ancestor of a logger that does not exist here."""
    while "." in name:
        name = name.rpartition(".")[0]
        found = logging.root.manager.loggerDict.get(name)
        if isinstance(found, logging.Logger):
            return found
    return logging.root


def _warn(warned: Warned, table: SharedTable) -> None:
    message, category = _rebuilt(warned, table)
    if not warned.undecided:  # a filter that the function set has decided to show it
        warnings.showwarning(message, category, warned.filename, warned.lineno)
        return
    filename, lineno, module, owner = warned.filename, warned.lineno, warned.module, None
    if not filename:
        # The warning points at the caller of the function, which here is the line that made the call.
        frame = sys._getframe(level_of_the_user() - 1)
        filename, lineno, owner = frame.f_code.co_filename, frame.f_lineno, frame.f_globals
        module = owner.get("__name__")
    elif module in sys.modules:
        owner = vars(sys.modules[module])
    registry = _registries.setdefault(filename, {}) if owner is None else owner.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, filename, lineno, module=module, registry=registry)


#: Registries of shown warnings by file, for modules that this process has not imported.
_registries: dict[str, dict[Any, Any]] = {}


def _rebuilt(warned: Warned, table: SharedTable) -> tuple[Warning, type[Warning]]:
    """Rebuild a warning, or the closest kind of warning that can be created here."""
    whole = read_object(warned.whole, table)
    if isinstance(whole, Warning):
        return whole, type(whole)
    kind = read_object(warned.kind, table)
    with contextlib.suppress(Exception):  # it may need other arguments
        if isinstance(kind, type) and issubclass(kind, Warning):
            return kind(warned.text), kind
    builtin: type[Warning] = getattr(builtins, warned.builtin, UserWarning)
    return builtin(warned.text), builtin
