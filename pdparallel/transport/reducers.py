"""Reductions of objects that pickle would rebuild wrongly or at too high a cost."""

from __future__ import annotations

import contextlib
import contextvars
import copyreg
import functools
import importlib
import logging
import random
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["HEAP_TYPE", "PROTOCOL", "Variables", "arriving", "reduced", "without_pickling"]

HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE

#: Version of the pickle protocol.
PROTOCOL = 5

#: Largest ratio of the bytes of an Arrow array's buffers to those of its values, to send the buffers as they are.
MAX_OF_BUFFERS = 1.1


def reduced(obj: Any) -> Any:
    """Return the reduction of an object for ``reducer_override``; NotImplemented leaves it to pickle."""
    if isinstance(obj, BaseException):
        return _reduced_exception(obj)
    if type(obj) is pd.arrays.ArrowStringArray:
        dtype: Any = obj.dtype  # the stubs do not know pandas' protocol for Arrow
        return _reduced_arrow(obj, dtype.__from_arrow__)
    if type(obj) is pd.arrays.ArrowExtensionArray:
        return _reduced_arrow(obj, pd.arrays.ArrowExtensionArray)
    if type(obj) in _GLOBAL_STREAMS and obj is _global_stream(type(obj)):
        return _global_stream, (type(obj),)
    if isinstance(obj, contextvars.ContextVar):
        return _reduced_variable(obj)
    if isinstance(obj, functools.partialmethod):
        return object.__new__, (type(obj),), vars(obj)  # since Python 3.14 its __new__ requires the function
    if isinstance(obj, logging.Logger) and type(obj) is not logging.Logger:
        return _reduced_logger(obj)
    if isinstance(obj, pd.Series) and "_name" not in type(obj)._metadata:  # type: ignore[attr-defined]
        return _reduced_series(obj)
    return NotImplemented


#: A method of each type's global generator: ``random.random`` is a method of a hidden ``random.Random``.
_GLOBAL_STREAMS: dict[type, Callable[..., Any]] = {
    random.Random: random.random,
    np.random.RandomState: np.random.random_sample,
}


def _global_stream(kind: type) -> Any:
    """Return the generator of this process. A copy of the parent's would draw the same numbers in all workers."""
    return getattr(_GLOBAL_STREAMS[kind], "__self__", None)


def _reduced_logger(logger: logging.Logger) -> Any:
    """Reduce a logger of a subclass to its class, which imports its library, and its name."""
    # By name alone, pickle would make a plain logger before the library makes its own.
    kind = type(logger)
    if kind.__reduce__ is not logging.Logger.__reduce__ or logging.getLogger(logger.name) is not logger:
        return NotImplemented
    return _logger_of, (kind, logger.name)


def _logger_of(kind: type[logging.Logger], name: str) -> logging.Logger:
    manager = logging.root.manager
    before = manager.loggerClass
    manager.loggerClass = kind
    try:
        return logging.getLogger(name)  # the existing one, if any
    finally:
        manager.loggerClass = before


def _reduced_series(series: Any) -> Any:
    """Reduce a Series whose subclass lists only its own ``_metadata``: pandas would lose the name."""
    kind, plain = type(series), _Series
    if kind.__getstate__ is not plain.__getstate__ or kind.__setstate__ is not plain.__setstate__:
        return NotImplemented  # the class rebuilds itself
    reduction = series.__reduce_ex__(PROTOCOL)
    if type(reduction) is not tuple or len(reduction) < 3 or type(reduction[2]) is not dict:
        return NotImplemented
    name = {"_name": series.name} if "_name" in vars(series) else {}
    return (*reduction[:2], {**reduction[2], **name}, *reduction[3:])


_Series: Any = pd.Series  # the stubs lack __getstate__ and __setstate__


#: Context variables of a function, with their values in the context of the call.
Variables = list[tuple["contextvars.ContextVar[Any]", Any]]


class _Arriving(threading.local):
    variables: Variables | None = None


_arriving = _Arriving()


@contextlib.contextmanager
def arriving() -> Iterator[Variables]:
    """Collect the context variables that are unpickled inside the block."""
    before, _arriving.variables = _arriving.variables, []
    try:
        yield _arriving.variables
    finally:
        _arriving.variables = before


def _reduced_variable(variable: contextvars.ContextVar[Any]) -> Any:
    """Reduce a context variable, with its value in the context of the call."""
    default: tuple[Any, ...] = ()
    with contextlib.suppress(LookupError):
        default = (contextvars.Context().run(variable.get),)
    home = _home_of(variable)
    made = _make_variable, (variable.name, *home, () if home[0] else default)
    context = contextvars.copy_context()
    return (*made, (context[variable],), None, None, _set_later) if variable in context else made


def _home_of(variable: contextvars.ContextVar[Any]) -> tuple[str, str]:
    """Find the importable module that has a context variable, and its name there; empty if there is none."""
    for name, module in list(sys.modules.items()):
        if name in ("__main__", "__mp_main__") or getattr(module, "__spec__", None) is None:
            continue
        for key, value in list(getattr(module, "__dict__", {}).items()):
            if value is variable:
                return name, key
    return "", ""


def _make_variable(name: str, module: str, key: str, default: tuple[Any, ...]) -> contextvars.ContextVar[Any]:
    if module:
        found = getattr(importlib.import_module(module), key, None)
        if isinstance(found, contextvars.ContextVar):
            return found
    return contextvars.ContextVar(name, default=default[0]) if default else contextvars.ContextVar(name)


def _set_later(variable: contextvars.ContextVar[Any], state: tuple[Any]) -> None:
    if _arriving.variables is not None:
        _arriving.variables.append((variable, state[0]))


def _reduced_arrow(array: Any, make: Callable[[Any], Any]) -> Any:
    """Reduce an Arrow column to its chunks, which pandas would copy into one."""
    chunks = array.__arrow_array__()
    # A slice of a column has the buffers of the whole column; pandas' copy has not.
    if chunks.get_total_buffer_size() > MAX_OF_BUFFERS * chunks.nbytes:
        return NotImplemented
    return make, (chunks,)


def _reduced_exception(exception: BaseException) -> Any:
    """Reduce an exception so that it is rebuilt without a call of its own ``__init__``."""
    # pickle would call that with ``args``, which hold what it passed to its base class, not what it received.
    kind = type(exception)
    if not isinstance(kind.__init__, types.FunctionType) and not isinstance(kind.__new__, types.FunctionType):
        return _reduced_by_itself(exception)
    if isinstance(kind.__reduce__, types.FunctionType) or isinstance(kind.__reduce_ex__, types.FunctionType):
        return _reduced_by_itself(exception)  # the class rebuilds itself
    reduction: Any = exception.__reduce__()
    _, args, *state = reduction
    return _make_exception, (kind, args, *state)


def _reduced_by_itself(exception: BaseException) -> Any:
    """Reduce an exception by its own method. Dask imports tblib, whose reducer fails for exception groups."""
    told = copyreg.dispatch_table.get(type(exception))
    if getattr(told, "__module__", "") == "tblib.pickling_support":
        return exception.__reduce_ex__(PROTOCOL)
    return NotImplemented


def _make_exception(kind: Any, args: tuple[Any, ...], state: Any = None) -> Any:
    base: Any = next(base for base in kind.__mro__ if not base.__flags__ & HEAP_TYPE)
    exception = base.__new__(kind, *args)
    base.__init__(exception, *args)
    if state:
        exception.__setstate__(state)
    return exception


def without_pickling(error: Exception) -> Exception:
    """Remove from an error what picklers add: dozens of frames, and since Python 3.14 a note for each object."""
    kept = frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _PICKLERS:
            kept = frame.tb_next
        frame = frame.tb_next
    notes = getattr(error, "__notes__", [])
    notes[:] = [note for note in notes if not note.startswith("when serializing ")]
    return error.with_traceback(kept)


#: Packages whose frames stand between a call of the pickler and a user's ``__reduce__``.
_PICKLERS = ("pickle", "dill", "cloudpickle", "pdparallel")
