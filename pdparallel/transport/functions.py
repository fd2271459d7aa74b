"""Serialization of the function and its arguments, and the messages if that fails."""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import sys
import types
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from pdparallel.core.call import Work
from pdparallel.core.format import type_name
from pdparallel.errors import FunctionNotSerializableError
from pdparallel.transport.assigned import assigned_by
from pdparallel.transport.modules import slots_named_by
from pdparallel.transport.pickler import (
    ByValuePickler,
    CannotBeRebuiltError,
    Global,
    global_names,
    parts_of,
    travels_by_value,
)
from pdparallel.transport.reducers import PROTOCOL, arriving, reduced, without_pickling
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.typing import Serializer

__all__ = ["decode_work", "encode_work", "level_of_the_user", "not_sent", "user_function"]

#: Largest depth of the search for an unpicklable part: "item 0 of attribute 'x' of ...".
DEEPEST = 12

#: Bytes of the serialized function above which a warning names its largest part.
LARGE = 100_000_000


def encode_work(work: Work, table: SharedTable, serializer: Serializer) -> bytes:
    """Serialize the function and its arguments, with the objects of the table."""
    sinks: list[Any] = []
    token = _sinks.set(sinks)
    try:
        with _without_own(work, serializer) as work:
            try:
                data = _dumps(work, table, serializer)
            except Exception as error:
                raise _explained(work, serializer, error) from without_pickling(error)
    finally:
        _sinks.reset(token)
    _warn_of_sinks(work, sinks)
    if len(data) > LARGE:
        warnings.warn(_large(work, serializer, len(data)), UserWarning, stacklevel=level_of_the_user())
    return data


#: The variables that are not sent, because the initializer assigns them.
_left_out: ContextVar[frozenset[Global]] = ContextVar("pdparallel_left_out", default=frozenset())


def not_sent(work: Work, serializer: Serializer = "dill") -> frozenset[Global]:
    """Return the variables that the initializer surely assigns, and its others that cannot be pickled."""
    if work.initializer is None:
        return frozenset()
    surely, perhaps = assigned_by(work.initializer.func)
    if serializer == "cloudpickle":  # does not let closures share a variable
        surely = frozenset(which for which in surely if which[1])
        perhaps = {which: value for which, value in perhaps.items() if which[1]}
    token = _left_out.set(surely)
    try:
        return surely.union(which for which, value in perhaps.items() if not _serializes(value, serializer))
    finally:
        _left_out.reset(token)


@contextlib.contextmanager
def _without_own(work: Work, serializer: Serializer) -> Iterator[Work]:
    """Leave out what the initializer assigns, and note the names of these globals in the work."""
    left_out = not_sent(work, serializer)
    token = _left_out.set(left_out)
    try:
        own = tuple(sorted({name for _, name in left_out if name}))
        yield work if work.initializer is None else replace(work, initializer=replace(work.initializer, own=own))
    finally:
        _left_out.reset(token)


def decode_work(data: bytes | memoryview) -> tuple[Work, SharedTable]:
    """Rebuild what :func:`encode_work` wrote, in a worker."""
    with arriving() as variables:
        work, objects = pickle.loads(data)
    table = SharedTable(objects)
    table.variables = variables
    return work, table


def _dumps(obj: Any, table: SharedTable, serializer: Serializer) -> bytes:
    """Return the bytes of ``(obj, objects of the table)``, and add what is pickled by value to the table."""
    if serializer == "cloudpickle":
        # Pickling may find more classes, which must be in the list too. Two or three rounds are enough.
        while True:
            known = len(table.objects)
            data = _dump(_cloud_pickler(), (obj, list(table.objects)), table)
            if len(table.objects) == known:
                return data
    if isinstance(obj, Work) and obj.initializer is not None:
        # A function must see what an initializer sets in their common module, also if only one of them is importable.
        return _dump(_ModulePickler, _WithTable(obj, table), table)
    try:
        return _dump(_WorkPickler, _WithTable(obj, table), table)
    except Exception as first:
        # Perhaps a global of an importable module cannot be pickled: let the worker import the module instead.
        try:
            return _dump(_ModulePickler, _WithTable(obj, table), table)
        except Exception:
            raise first from None


def _dump(kind: Any, obj: Any, table: SharedTable) -> bytes:
    stream = io.BytesIO()
    pickler = kind(stream, protocol=PROTOCOL)
    pickler.table = table
    pickler.left_out = _left_out.get()
    pickler.dump(obj)
    return stream.getvalue()


class _WithTable:
    """Placeholder for ``(value, objects of the table)``: writing the value adds objects to the table."""

    def __init__(self, value: Any, table: SharedTable) -> None:
        self.value = value
        self.table = table


class _WorkPickler(ByValuePickler):
    """Pickler that adds what it writes by value to the table."""

    dispatch = type(ByValuePickler.dispatch)(ByValuePickler.dispatch)
    table: SharedTable

    def met(self, obj: Any) -> None:
        self.table.add(obj)
        if isinstance(obj, types.FunctionType):
            self.table.reached.update(slots_named_by(obj))
            if self.modules_by_reference:
                owner = obj.__globals__.get("__name__")
                self.table.reached.update((owner, name) for name in global_names(obj.__code__))

    def save_global(self, obj: Any, name: str | None = None) -> None:
        self.table.reaches(obj)
        super().save_global(obj, name)

    def met_sink(self, function: Any) -> None:
        if function is not None and function not in _told_sinks and _keeps_something(function):
            _sinks.get().append(function)


#: Functions that receive the messages of loguru: those to warn of now, and those that a warning named already.
_sinks: ContextVar[list[Any]] = ContextVar("pdparallel_sinks", default=[])  # noqa: B039 - nobody reads the default
_told_sinks: list[Any] = []


def _warn_of_sinks(work: Work, sinks: list[Any]) -> None:
    for function in sinks:
        if function not in _told_sinks:
            _told_sinks.append(function)
            warnings.warn(
                f"Messages that {_name(user_function(work.func))} logs with loguru in a worker do not reach the sink "
                f"{_name(function)} of this process. Log with the logging module or into a file.",
                RuntimeWarning, stacklevel=level_of_the_user(),
            )  # fmt: skip


def _keeps_something(function: Any) -> bool:
    """Return whether a sink may store messages: it is the method of an object, or refers to a mutable object."""
    owner = getattr(function, "__self__", None)
    if owner is not None:
        return not isinstance(owner, (types.ModuleType, type))
    if not isinstance(function, types.FunctionType):
        return not isinstance(function, (types.BuiltinFunctionType, type))
    return any(not isinstance(value, _KEEP_NOTHING) for _, value in _parts(function))


#: Types of objects that store no messages.
_KEEP_NOTHING = (
    types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type, type(None), str, bytes, int, float, tuple,
)  # fmt: skip


def _save_with_table(pickler: _WorkPickler, whole: _WithTable) -> None:
    pickler.save(whole.value)
    pickler.settle()
    written = 0
    while written < len(whole.table.objects):  # which grows in this loop
        entry = whole.table.objects[written]
        if isinstance(entry, dict):
            pickler.open_namespace(entry)
        else:
            pickler.save(entry)
            pickler.write(pickle.POP)
            pickler.settle()
        written += 1
    pickler.save(tuple(whole.table.objects))
    pickler.write(pickle.TUPLE2)


_WorkPickler.dispatch[_WithTable] = _save_with_table


class _ModulePickler(_WorkPickler):
    """The same, but functions of importable modules use the globals of the module that the worker imports."""

    modules_by_reference = True


@functools.cache
def _cloud_pickler() -> Any:
    import cloudpickle

    class CloudPickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # an optional package
        table: SharedTable
        left_out: frozenset[Global] = frozenset()

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, (type, types.FunctionType)):
                if travels_by_value(obj):
                    self.table.add(obj)
                else:
                    self.table.reaches(obj)
                if isinstance(obj, types.FunctionType):
                    self.table.reached.update(slots_named_by(obj))
            reduction = reduced(obj)
            if reduction is NotImplemented:
                reduction = super().reducer_override(obj)
            if self.left_out and isinstance(obj, types.FunctionType) and isinstance(reduction, tuple):
                return _without(self.left_out, obj, reduction)
            return reduction

    return CloudPickler


def _without(left_out: frozenset[Global], func: types.FunctionType, reduction: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return cloudpickle's reduction of a function without some globals."""
    maker, args, (attributes, parts), *rest = reduction
    sent = {name: value for name, value in parts["__globals__"].items() if (id(func.__globals__), name) not in left_out}
    return (maker, args, (attributes, {**parts, "__globals__": sent}), *rest)


# Messages


def _explained(work: Work, serializer: Serializer, error: Exception) -> FunctionNotSerializableError:
    name = _name(user_function(work.func))
    name = name[:1].upper() + name[1:]
    if isinstance(error, CannotBeRebuiltError):
        return FunctionNotSerializableError(
            f"{name} cannot be sent to another process: {error}, which another process can only import. Put it into a "
            "module of its own. Or give an engine that sends nothing: engine='thread' or engine='serial'."
        )
    nested = isinstance(error, RecursionError)
    reason = "it is nested too deeply" if nested else _text(error)
    culprit = _culprit(work, serializer, 1 if nested else DEEPEST)
    if culprit is None:
        message = f"{name} cannot be sent to another process ({reason})."
    else:
        path, value = culprit
        message = f"{name} cannot be sent to another process: {path} is a {type_name(type(value))} ({reason})."
    return FunctionNotSerializableError(
        f"{message} Create such an object inside the function or with initializer=. "
        "Or give an engine that sends nothing: engine='thread' or engine='serial'."
    )


def _large(work: Work, serializer: Serializer, size: int) -> str:
    parts = [(path, _size(value, serializer)) for path, value in _parts_of_work(work)]
    path, largest = max(parts, key=lambda part: part[1], default=("", 0))
    what = f"; {path} takes {largest:,} of them" if largest else ""
    name = _name(user_function(work.func))
    return (
        f"{name} and its arguments take {size:,} bytes{what}. Each call sends them, and each worker loads them. "
        "A column of the frame, or a file that the function opens, costs less."
    )


def level_of_the_user() -> int:
    """Return the ``stacklevel`` with which a warning of the calling function points to the user's line."""
    level, frame = 0, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == __name__.split(".")[0]:
        level, frame = level + 1, frame.f_back
    return level


def _size(value: Any, serializer: Serializer) -> int:
    try:
        return len(_dumps(value, SharedTable(), serializer))
    except Exception:  # a part that cannot be pickled alone: name another one
        return 0


def _culprit(work: Work, serializer: Serializer, deepest: int) -> tuple[str, Any] | None:
    """Find the innermost named part of the function or its arguments that cannot be serialized by itself."""
    found: tuple[str, Any] | None = None
    parts, seen = list(_parts_of_work(work)), set()
    for _ in range(deepest):
        for path, value in parts:
            if id(value) not in seen and not _serializes(value, serializer):
                seen.add(id(value))
                found = (path, value)
                parts = [(f"{inner} of {path}", deeper) for inner, deeper in _parts(value)]
                break
        else:
            break
    return found


def _serializes(value: Any, serializer: Serializer) -> bool:
    try:
        _dumps(value, SharedTable(), serializer)
    except Exception:
        return False
    return True


def _parts_of_work(work: Work) -> Iterator[tuple[str, Any]]:
    if work.initializer is not None:
        yield "the initializer", work.initializer.func
        for at, value in enumerate(work.initializer.args):
            yield f"argument initargs[{at}]", value
    if work.retry is not None:
        yield "the option retry_on", work.retry.on
    for at, value in enumerate(work.args):
        yield f"argument args[{at}]", value
    for key, value in work.kwargs.items():
        yield f"argument {key!r}", value
    yield from _parts(user_function(work.func))


def user_function(func: Any) -> Any:
    """Return the user's function, which a wrapper of this package may call."""
    while type(func).__module__.partition(".")[0] == __name__.partition(".")[0] and hasattr(func, "func"):
        func = func.func
    return func


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of an object, with the names that a user would give them."""
    if isinstance(value, functools.partial):
        yield "the function of the partial", value.func
        for at, bound in enumerate(value.args):
            yield f"bound argument {at}", bound
        for key, bound in value.keywords.items():
            yield f"bound argument {key!r}", bound
    elif isinstance(value, types.MethodType):
        yield "the object of the method", value.__self__
        yield from _parts(value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from parts_of(value, _left_out.get())
    elif isinstance(value, (staticmethod, classmethod)):
        yield from _parts(value.__func__)
    elif isinstance(value, property):
        for accessor in (value.fget, value.fset, value.fdel):
            yield from _parts(accessor)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"key {_shown(key)}", key
            yield f"item {_shown(key)}", item
    elif isinstance(value, (list, tuple, set, frozenset)):
        for at, item in enumerate(value):
            yield f"item {at}", item
    elif isinstance(value, type):
        for base in value.__bases__:
            yield f"base class {base.__name__!r}", base
        for key, attribute in vars(value).items():
            if isinstance(attribute, (types.FunctionType, staticmethod, classmethod, property)):
                yield f"method {key!r}", attribute
            elif not key.startswith("__"):
                yield f"attribute {key!r}", attribute
    elif isinstance(value, types.BuiltinMethodType) and not isinstance(value.__self__, types.ModuleType):
        yield "the object of the method", value.__self__
    elif not isinstance(value, types.ModuleType):
        if travels_by_value(type(value)):
            yield f"class {type(value).__name__!r}", type(value)
        for key, attribute in _attributes(value):
            yield f"attribute {key!r}", attribute


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, types.MemberDescriptorType):
                try:
                    yield name, slot.__get__(value)
                except AttributeError:  # a slot that was never set
                    continue


def _shown(key: Any) -> str:
    try:
        return repr(key)[:80]
    except Exception:
        return f"of type {type_name(type(key))}"


def _text(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an exception whose own __str__ raises
        return type(error).__name__


def _name(func: Any) -> str:
    name = getattr(func, "__qualname__", None)
    return f"function {name!r}" if name else f"{type_name(type(func))} object"
