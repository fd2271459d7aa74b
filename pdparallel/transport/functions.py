"""Functions: how func and what it carries along travel, by dill, and what is said when they cannot.

dill takes functions of ``__main__``, lambdas and closures by value.  Left to itself it gives each of them a copy of the
globals of its own, and does not end for two functions that call each other; :class:`_FunctionPickler` gives all
functions of one module *one* namespace that holds just the globals they name.
"""

from __future__ import annotations

import dis
import enum
import functools
import io
import types
import warnings
from collections.abc import Iterator
from typing import Any

import dill
from dill import _dill  # the two private helpers below are what dill's own save_function is made of

from pdparallel.call import Work
from pdparallel.errors import FunctionNotSerializableError
from pdparallel.transport.objects import PROTOCOL, SharedTable, travels_by_value
from pdparallel.typing import Serializer

__all__ = ["decode_work", "encode_work"]

#: Above this many bytes the user is told what makes the function so large.
LARGE = 100_000_000

_GLOBAL_NAMES = frozenset(
    name for name in dis.opmap if name.endswith("_GLOBAL") or name in ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
)


def encode_work(work: Work, table: SharedTable, serializer: Serializer) -> bytes:
    """Serialise the function and its arguments, with the objects of the table.

    Parameters
    ----------
    work : Work
        What the worker is to do.
    table : SharedTable
        Gets every class and function that travels by value.
    serializer : {"dill", "cloudpickle"}
        Who does it.

    Raises
    ------
    FunctionNotSerializableError
        Names the variable or attribute that cannot travel.
    """
    try:
        data = _dumps_with_table(work, table, serializer)
    except Exception as error:
        raise _explained(work, serializer, error) from error
    if len(data) > LARGE:
        warnings.warn(_large(work, serializer, len(data)), UserWarning, stacklevel=2)
    return data


def decode_work(data: bytes | memoryview) -> tuple[Work, SharedTable]:
    """The worker's side of :func:`encode_work`."""
    work, objects = dill.Unpickler(io.BytesIO(data)).load()
    return work, SharedTable(objects)


def _dumps_with_table(work: Work, table: SharedTable, serializer: Serializer) -> bytes:
    # Pickling may find further classes, which then must stand in the list too; it settles at the second or third round.
    while True:
        known = len(table.objects)
        data = _dumps((work, list(table.objects)), table, serializer)
        if len(table.objects) == known:
            return data


def _dumps(obj: Any, table: SharedTable, serializer: Serializer) -> bytes:
    if serializer == "cloudpickle":
        return _dump(_cloud_pickler(), obj, table)
    try:
        return _dump(_FunctionPickler, obj, table)
    except Exception as first:
        # A global of an importable module that cannot travel by value: let the worker import the module instead.
        try:
            return _dump(_ModulePickler, obj, table)
        except Exception:
            raise first from None


def _dump(kind: Any, obj: Any, table: SharedTable) -> bytes:
    stream = io.BytesIO()
    pickler = kind(stream, protocol=PROTOCOL)
    pickler.table = table
    with warnings.catch_warnings():
        # dill warns, and goes on with something that will not load, where it gives up on a recursive object.
        warnings.simplefilter("error", _dill.PicklingWarning)
        pickler.dump(obj)
    return stream.getvalue()


class _Collecting:
    """Mixin: notes each class and function that travels by value, and leaves the pickling to the class."""

    table: SharedTable

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType)) and travels_by_value(obj):
            self.table.add(obj)
        override = getattr(super(), "reducer_override", None)
        return NotImplemented if override is None else override(obj)


class _FunctionPickler(_Collecting, dill.Pickler):  # type: ignore[misc]  # dill has no types
    dispatch = dill.Pickler.dispatch.copy()
    modules_by_reference = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, recurse=True, **kwargs)
        self._namespaces: dict[int, dict[str, Any]] = {}
        self._done: set[tuple[int, str]] = set()
        self._kept: list[Any] = []  # the memo of a pickler knows objects by id, so what it met must stay alive

    def namespace(self, func: types.FunctionType) -> tuple[dict[str, Any], dict[str, Any]]:
        """The globals that ``func`` gets in the worker, and what is to be put into them for it."""
        real = func.__globals__
        if self.modules_by_reference and func.__module__ != "__main__":
            module = _dill._import_module(func.__module__, True) if func.__module__ else None
            if getattr(module, "__dict__", None) is real:
                return real, {}
        shared = self._namespaces.get(id(real))
        if shared is None:
            # Only the names that the worker must have before anything runs; the rest follows once func is memoised.
            shared = self._namespaces[id(real)] = {"__name__": real.get("__name__", func.__module__)}
        fresh = {}
        for name in _global_names(func.__code__):
            if name in real and (id(real), name) not in self._done:
                self._done.add((id(real), name))
                fresh[name] = real[name]
        return shared, fresh


def _save_function(pickler: Any, func: types.FunctionType) -> None:
    if not travels_by_value(func):
        pickler.save_global(func, name=func.__qualname__)
        return
    namespace, fresh = pickler.namespace(func)
    after: list[Any] = []
    if fresh:
        pickler._kept.append(fresh)
        # Globals may lead back to a class that is being written just now: then they wait for the outermost of these.
        under_way = next(iter(pickler._postproc.values()), None)
        (after if under_way is None else under_way).append((_dill._setitems, (namespace, fresh)))
    named = {
        name: value
        for name in ("__doc__", "__kwdefaults__", "__annotations__", "__qualname__", "__module__", "__type_params__")
        if (value := getattr(func, name, None))
    }
    arguments = (func.__code__, namespace, func.__name__, func.__defaults__, func.__closure__)
    state = (func.__dict__ or None, named)
    _dill._save_with_postproc(
        pickler, (_dill._create_function, arguments, state), obj=func, postproc_list=after
    )  # fmt: skip


_FunctionPickler.dispatch[types.FunctionType] = _save_function


def _save_enum(pickler: Any, cls: Any) -> None:
    if travels_by_value(cls):
        # dill names an enumeration of __main__, where the worker would look for it in vain.
        members = {name: member.value for name, member in cls.__members__.items()}
        own = {name: value for name, value in vars(cls).items() if _written_in(cls, value) and name not in members}
        arguments = (type(cls), cls.__bases__, cls.__name__, cls.__qualname__, cls.__module__, members, own)
        _dill._save_with_postproc(pickler, (_make_enum, arguments), obj=cls)
    else:
        _dill.save_type(pickler, cls)


def _written_in(cls: type, value: Any) -> bool:
    """Whether an attribute is a method that the user wrote, not one that the metaclass made."""
    func = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    return isinstance(func, types.FunctionType) and func.__qualname__.startswith(f"{cls.__qualname__}.")


def _make_enum(
    meta: Any, bases: Any, name: str, qualname: str, module: str, members: dict[str, Any], own: dict[str, Any]
) -> Any:
    body = meta.__prepare__(name, bases)
    for key, value in {**own, **members, "__qualname__": qualname, "__module__": module}.items():
        body[key] = value
    return meta(name, bases, body)


_FunctionPickler.dispatch[enum.EnumMeta] = _save_enum


class _ModulePickler(_FunctionPickler):
    """As above, but globals of importable modules are those of the module that the worker imports."""

    modules_by_reference = True


@functools.cache
def _cloud_pickler() -> Any:
    import cloudpickle

    class CloudPickler(_Collecting, cloudpickle.CloudPickler):  # type: ignore[misc]  # an optional package
        pass

    return CloudPickler


@functools.lru_cache(maxsize=1024)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """Names of globals that a code object reads or writes, also in the functions and classes defined inside it."""
    names = {step.argval: None for step in dis.get_instructions(code) if step.opname in _GLOBAL_NAMES}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(dict.fromkeys(_global_names(constant)))
    return tuple(names)


# What is said when it fails


def _explained(work: Work, serializer: Serializer, error: Exception) -> FunctionNotSerializableError:
    nested = isinstance(error, RecursionError)
    reason = "it is nested too deeply" if nested else f"{type(error).__name__}: {error}"
    culprit = _culprit(work, serializer)
    name = _name(work.func)
    if culprit is None:
        message = f"{name} cannot be sent to another process ({reason})."
    else:
        path, value = culprit
        message = f"{name} cannot be sent to another process: {path} is a {_type_name(value)} ({reason})."
    return FunctionNotSerializableError(
        f"{message} Create such objects inside the function, or pass what is needed to make them; "
        "or keep the work in this process: engine='thread' or engine='serial'."
    )


def _large(work: Work, serializer: Serializer, size: int) -> str:
    parts = [(path, _size(value, serializer)) for path, value in _parts_of_work(work)]
    path, largest = max(parts, key=lambda part: part[1], default=("", 0))
    what = f", of which {largest:,} are {path}" if largest else ""
    return (
        f"{_name(work.func)} and its arguments take {size:,} bytes{what}. They are sent once a call and loaded once in "
        "each worker; a column of the frame, or a file that the function opens, travels at less cost."
    )


def _size(value: Any, serializer: Serializer) -> int:
    try:
        return len(_dumps(value, SharedTable(), serializer))
    except Exception:  # what it cannot say does not matter beside the largest
        return 0


def _culprit(work: Work, serializer: Serializer) -> tuple[str, Any] | None:
    """The innermost named part of the function or its arguments that does not serialise by itself."""
    found: tuple[str, Any] | None = None
    parts, seen = list(_parts_of_work(work)), set()
    while True:
        for path, value in parts:
            if id(value) not in seen and not _serializes(value, serializer):
                seen.add(id(value))
                found = (path, value)
                parts = [(f"{inner} of {path}", deeper) for inner, deeper in _parts(value)]
                break
        else:
            return found


def _serializes(value: Any, serializer: Serializer) -> bool:
    try:
        _dumps(value, SharedTable(), serializer)
    except Exception:
        return False
    return True


def _parts_of_work(work: Work) -> Iterator[tuple[str, Any]]:
    for at, value in enumerate(work.args):
        yield f"argument args[{at}]", value
    for key, value in work.kwargs.items():
        yield f"argument {key!r}", value
    yield from _parts(work.func)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Named parts of an object, as a user would name them."""
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
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield f"closure variable {name!r}", cell.cell_contents
            except ValueError:  # an empty cell
                continue
        for name in _global_names(value.__code__):
            if name in value.__globals__:
                yield f"global variable {name!r}", value.__globals__[name]
        for at, default in enumerate(value.__defaults__ or ()):
            yield f"default value {at}", default
        for key, default in (value.__kwdefaults__ or {}).items():
            yield f"default value {key!r}", default
        for key, attribute in vars(value).items():
            yield f"attribute {key!r}", attribute
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"item {key!r}", item
    elif isinstance(value, (list, tuple, set, frozenset)):
        for at, item in enumerate(value):
            yield f"item {at}", item
    elif isinstance(value, type):
        for key, attribute in vars(value).items():
            if not key.startswith("__"):
                yield f"attribute {key!r}", attribute
    elif hasattr(value, "__dict__") and not isinstance(value, types.ModuleType):
        for key, attribute in vars(value).items():
            yield f"attribute {key!r}", attribute


def _name(func: Any) -> str:
    name = getattr(func, "__qualname__", None)
    return f"function {name!r}" if name else f"{_type_name(func)} object"


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
