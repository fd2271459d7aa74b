"""Table that keeps the identity of classes and functions that workers cannot import.

A class of a notebook exists only in the parent's ``__main__``.  It is sent by value once, with the function; the
worker's copy is *another* class.  If data, results or exceptions contained the class by value again, that would make a
third one, and ``isinstance`` and ``except MyError`` would fail in the parent.  So each side has a
:class:`SharedTable`.  A position means the original in the parent and its copy in the worker, and pickles of data and
of outcomes contain positions::

    parent                                     worker
    table[0] is MyError   -- function: dill -> table[0] is a copy of MyError
    frame with MyError()  -- data: "0"      -> instance of the copy
    except MyError        <- outcome: "0"   -- raise MyError(...)

The table also contains the namespaces of functions: a function that a worker returns reads the parent's globals.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any

from pdparallel.transport.pickler import ByValuePickler, travels_by_value
from pdparallel.transport.reducers import PROTOCOL, Variables, reduced

__all__ = ["SharedTable", "dump", "load"]


class SharedTable:
    """Objects that pickles name by position."""

    def __init__(self, objects: Iterable[Any] = ()) -> None:
        self.objects: list[Any] = list(objects)
        self.variables: Variables = []  # context variables with their values, in a worker
        self.reached: set[tuple[Any, str]] = set()  # globals pickled by name, whose state workers must match
        self._position = {id(shared): at for at, shared in enumerate(self.objects)}

    def find(self, shared: object) -> int | None:
        """Return the position of an object, or None."""
        return self._position.get(id(shared))

    def reaches(self, obj: Any) -> None:
        """Note that a class or function is pickled by name."""
        module, path = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
        if isinstance(path, str):
            self.reached.add((module, path.partition(".")[0]))

    def add(self, shared: object) -> int:
        """Return the position of an object, which is appended if it is new."""
        at = self._position.get(id(shared))
        if at is None:
            at = self._position[id(shared)] = len(self.objects)
            self.objects.append(shared)
        return at


def shared_object(position: int) -> Any:  # pragma: no cover - never called, see _Unpickler
    """Name the object at a position of the table in a pickle."""
    raise pickle.UnpicklingError("a shared object was met without its table")


def _reference(pickler: Any, obj: Any) -> Any:
    """Reduce an object of the table to its position; ``grow`` adds what is pickled by value."""
    at = pickler.table.find(obj)
    if at is None and pickler.grow:
        if travels_by_value(obj):
            at = pickler.table.add(obj)
        else:
            pickler.table.reaches(obj)
    return NotImplemented if at is None else (shared_object, (at,))


class _QuickPickler(pickle.Pickler):
    table: SharedTable
    grow: bool

    def reducer_override(self, obj: Any) -> Any:
        return _reference(self, obj) if isinstance(obj, (type, FunctionType)) else reduced(obj)


class _ThoroughPickler(ByValuePickler):
    table: SharedTable
    grow: bool

    def reference(self, obj: Any) -> Any:
        return _reference(self, obj)


class _Unpickler(pickle.Unpickler):
    table: SharedTable

    def find_class(self, module: str, name: str) -> Any:
        if name == "shared_object" and module == __name__:
            return self.table.objects.__getitem__
        return super().find_class(module, name)


def dump(
    obj: Any,
    table: SharedTable,
    *,
    grow: bool = False,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
) -> bytes:
    """Pickle data or an outcome: with the C pickler, else by value. A table that grows must be sent too."""
    buffers: list[pickle.PickleBuffer] = []
    keep = None if buffer_callback is None else buffers.append
    try:
        data = _pickled(_QuickPickler, obj, table, grow, keep)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError):
        buffers.clear()
        data = _pickled(_ThoroughPickler, obj, table, grow, keep)
    for buffer in buffers:
        assert buffer_callback is not None
        buffer_callback(buffer)
    return data


def _pickled(kind: Any, obj: Any, table: SharedTable, grow: bool, keep: Any) -> bytes:
    stream = io.BytesIO()
    pickler = kind(stream, protocol=PROTOCOL, buffer_callback=keep)
    pickler.table, pickler.grow = table, grow
    pickler.dump(obj)
    return stream.getvalue()


def load(data: bytes | memoryview, table: SharedTable, buffers: Sequence[Any] = ()) -> Any:
    """Rebuild what :func:`dump` wrote, with the table of this process."""
    unpickler = _Unpickler(io.BytesIO(data), buffers=buffers)
    unpickler.table = table
    return unpickler.load()
