"""Digests of the content of a call, which tell whether it is the same as one in an earlier process.

The bytes of a pickle do not tell: sets have another order in each process, equal strings are one object or two, and
lines move.  So everything is digested by its content, down to the instructions of functions::

    function   code, defaults, and the values of the globals and closure variables that it names, recursively
    class      of the user: bases and attributes, by name
    module     of the user: what the functions name of it; of a library: its name and version
    data       labels, dtypes, values
    the rest   what pickle would write, with digests in place of inner objects
"""

from __future__ import annotations

import copyreg
import datetime
import decimal
import dis
import functools
import hashlib
import itertools
import pickle
import sys
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core.code_objects import is_empty, names_of
from pdparallel.errors import CheckpointError
from pdparallel.transport.modules import as_bytes, combine_digests, is_of_library
from pdparallel.transport.pickler import Global, global_names, parts_of, travels_by_value
from pdparallel.transport.reducers import HEAP_TYPE, PROTOCOL
from pdparallel.transport.shared_classes import SharedTable, dump

__all__ = ["Digester"]

_ATOMS = frozenset((type(None), bool, int, float, str, bytes))
_SEQUENCES = frozenset((tuple, list))

#: Types whose equal values pickle always writes alike.  Data may contain millions of them.
_PLAIN = frozenset((
    *_ATOMS, *_SEQUENCES, dict, complex, decimal.Decimal, datetime.date, datetime.time, datetime.datetime,
    datetime.timedelta, pd.Timestamp, pd.Timedelta, *set(np.sctypeDict.values()) - {np.object_, np.void},
))  # fmt: skip

#: Attributes of a class that Python or pickle adds, or that tell its place in the source.
_NOT_THE_USERS = frozenset(
    ("__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "_abc_impl", "__firstlineno__",
     "__static_attributes__", "__slotnames__", "__annotations__", "__annotate__", "__annotate_func__",
     "__annotations_cache__")
)  # fmt: skip

#: Names that the body of a class stores and that change when lines move, or from process to process.
_MOVING = frozenset(("__firstlineno__", "__static_attributes__"))


class Digester:
    """Digests of the objects of one call; equal content has equal digests in each process."""

    def __init__(self, left_out: frozenset[Global] = frozenset()) -> None:
        self._left_out = left_out
        # With the objects, so that no other object gets the id of a deleted one.
        self._finished: dict[int, tuple[Any, bytes]] = {}
        self._active: dict[int, int] = {}

    @property
    def shared(self) -> tuple[list[Any], tuple[str, ...]]:
        """Objects that are pickled by value, and their digests."""
        found = [(obj, digest.hex()) for obj, digest in self._finished.values() if _may_be_shared(obj)]
        namespaces = {id(obj.__globals__): obj.__globals__ for obj, _ in found if isinstance(obj, types.FunctionType)}
        found += [(space, f"namespace {space.get('__name__')}") for space in namespaces.values()]
        return [obj for obj, _ in found], tuple(digest for _, digest in found)

    def named(self, name: str, obj: Any) -> bytes:
        """Return the digest of an object that an error calls by this name."""
        try:
            return self.of(obj)
        except CheckpointError:
            raise
        except Exception as error:  # whatever a user's __reduce__ may raise
            kind = type(obj)
            raise CheckpointError(
                f"checkpoint= cannot compare {name} with that of another run. It is or holds an object whose content "
                f"cannot be read ({kind.__module__}.{kind.__qualname__}; {type(error).__name__}: {error}). Create such "
                "an object inside the function, or leave out checkpoint=."
            ) from error

    def of(self, obj: Any) -> bytes:
        """Return the digest of an object."""
        key = id(obj)
        if key in self._active:
            return combine_digests(b"again", str(len(self._active) - self._active[key]).encode())
        if type(obj) in _PLAIN:
            return self._plain(obj)
        if key not in self._finished:
            self._finished[key] = (obj, self._entered(key, self._other, obj))
        return self._finished[key][1]

    def _entered(self, key: int, way: Any, *args: Any) -> bytes:
        self._active[key] = len(self._active)
        try:
            digest: bytes = way(*args)
        finally:
            del self._active[key]
        return digest

    # Plain containers and their content

    def _plain(self, obj: Any) -> bytes:
        stream = _Hashing()
        pickler = pickle.Pickler(stream, PROTOCOL) if _is_of_atoms(obj) else _PlainPickler(stream, PROTOCOL)
        pickler.fast = True  # no memo: one object twice counts like two equal objects
        if isinstance(pickler, _PlainPickler):
            pickler.digester = self
        try:
            pickler.dump(obj)
        except ValueError:  # it contains itself
            return self._entered(id(obj), self._cyclic, obj)
        return stream.hash.digest()

    def _cyclic(self, obj: Any) -> bytes:
        parts = itertools.chain.from_iterable(obj.items()) if isinstance(obj, dict) else obj
        return combine_digests(as_bytes(type(obj).__name__), *map(self.of, parts))

    def _other(self, obj: Any) -> bytes:
        for kinds, way in self._ways:
            if isinstance(obj, kinds):
                digest: bytes = way(self, obj)
                return digest
        if isinstance(getattr(obj, "py_func", None), types.FunctionType):
            # A function compiled by numba, which pickles under a name of this process.
            return combine_digests(
                b"compiled", *map(self.of, (type(obj), obj.py_func, getattr(obj, "targetoptions", None)))
            )
        return self._reduced(obj)

    def _set(self, obj: Any) -> bytes:
        beside = self.of((type(obj), getattr(obj, "__dict__", None)))
        return combine_digests(b"set", beside, *sorted(map(self.of, obj)))

    def _weak(self, obj: Any) -> bytes:
        """Return the digest of a weak collection without its content: it is a cache."""
        return combine_digests(b"weak", self.of(type(obj)))

    def _reduced(self, obj: Any) -> bytes:
        """Return the digest of what pickle would write of an object."""
        reducer = copyreg.dispatch_table.get(type(obj))
        try:
            reduction: Any = reducer(obj) if reducer is not None else obj.__reduce_ex__(4)
        except Exception:  # a lock and the like, which only the pickler of transport can write
            return combine_digests(b"dill", dump(obj, SharedTable(), grow=True))
        if isinstance(reduction, str):
            return combine_digests(b"name", as_bytes(pickle.whichmodule(obj, reduction)), as_bytes(reduction))  # type: ignore[attr-defined]
        make, args, *rest = reduction
        rest += [None] * 3
        return self._plain(("object", make, args, rest[0], list(rest[1] or ()), list(rest[2] or ())))

    # Functions, classes, modules

    def parts_of(self, func: types.FunctionType) -> Iterator[tuple[str, bytes]]:
        """Yield the digests of the parts of a function, with their names in errors."""
        code = func.__code__
        names = names_of(code).all
        yield "its code", self.of(code)
        left_out = self._left_out
        if is_of_library(func.__module__):  # its version stands for its globals
            left_out |= {(id(func.__globals__), name) for name in global_names(code)}
        for name, value in parts_of(func, left_out):
            yield self._part(name, value, names)

    def _part(self, name: str, value: Any, names: frozenset[str]) -> tuple[str, bytes]:
        if isinstance(value, types.ModuleType):
            return name, self._module(value, names)
        return name, self.named(name, value)

    def _function(self, func: types.FunctionType) -> bytes:
        if is_of_library(func.__module__) and not travels_by_value(func):
            return _of_library(func)
        return combine_digests(b"function", *_flat(self.parts_of(func)))

    def _code(self, code: types.CodeType) -> bytes:
        constants: Iterable[Any] = code.co_consts
        instructions = code.co_code
        if _MOVING.intersection(code.co_names):
            steps = list(dis.get_instructions(code))
            moving = {at for at, after in enumerate(steps[1:]) if after.argval in _MOVING}
            instructions = repr([(step.opname, step.arg) for at, step in enumerate(steps) if at not in moving]).encode()
            moved = {steps[at].arg for at in moving if steps[at].opname == "LOAD_CONST"}
            constants = [constant for at, constant in enumerate(code.co_consts) if at not in moved]
        shape = (
            code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags,
            code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_exceptiontable,
        )  # fmt: skip
        return combine_digests(b"code", instructions, self.of(shape), *map(self.of, constants))

    def _class(self, cls: Any) -> bytes:
        if not cls.__flags__ & HEAP_TYPE or (is_of_library(cls.__module__) and not travels_by_value(cls)):
            return _of_library(cls)
        made = (types.MemberDescriptorType, types.GetSetDescriptorType)
        attributes = {
            name: value
            for name, value in vars(cls).items()
            if name not in _NOT_THE_USERS and not isinstance(value, made)
        }
        content = (
            (name, self.named(f"{name!r} of class {cls.__name__!r}", attributes[name])) for name in sorted(attributes)
        )
        kinds = map(self.of, (type(cls), *cls.__bases__))
        return combine_digests(b"class", as_bytes(cls.__qualname__), *kinds, *_flat(content))

    def _module(self, module: types.ModuleType, names: frozenset[str] = frozenset()) -> bytes:
        """Return the digest of a module: of the names used, or of the version of a library."""
        if is_of_library(module.__name__):
            return combine_digests(b"module", as_bytes(module.__name__), _version(module.__name__))
        if id(module) in self._active:
            return combine_digests(b"module", as_bytes(module.__name__))
        return self._entered(id(module), self._module_content, module, names)

    def _module_content(self, module: types.ModuleType, names: frozenset[str]) -> bytes:
        space = vars(module)
        used = (self._part(f"{module.__name__}.{name}", space[name], names) for name in sorted(names & space.keys()))
        return combine_digests(b"module", as_bytes(module.__name__), *_flat(used))

    def _method(self, method: types.MethodType) -> bytes:
        return combine_digests(b"method", self.of(method.__func__), self.of(method.__self__))

    def _builtin(self, func: types.BuiltinMethodType) -> bytes:
        if func.__self__ is None or isinstance(func.__self__, types.ModuleType):
            return _of_library(func)
        return combine_digests(b"method", self.of(func.__self__), as_bytes(func.__name__))

    def _wrapper(self, wrapper: Any) -> bytes:
        return combine_digests(as_bytes(type(wrapper).__name__), self.of(wrapper.__wrapped__))

    def _property(self, obj: property) -> bytes:
        return combine_digests(b"property", *map(self.of, (obj.fget, obj.fset, obj.fdel)))

    def _cell(self, cell: types.CellType) -> bytes:
        return combine_digests(b"cell") if is_empty(cell) else combine_digests(b"cell", self.of(cell.cell_contents))

    def _mapping(self, proxy: Any) -> bytes:
        return combine_digests(b"mapping", self.of(dict(proxy)))

    # Data

    def _frame(self, df: pd.DataFrame) -> bytes:
        columns = [self._values(df.iloc[:, at].array) for at in range(df.shape[1])]
        return combine_digests(b"frame", self._labels(df.index), self._labels(df.columns), self._beside(df), *columns)

    def _series(self, s: pd.Series) -> bytes:
        return combine_digests(
            b"series", self._labels(s.index), self.of(s.name), self._beside(s), self._values(s.array)
        )

    def _beside(self, obj: Any) -> bytes:
        """Return the digest of what a pandas object has besides labels and values."""
        more = [(name, getattr(obj, name, None)) for name in type(obj)._metadata if name not in ("name", "_name")]
        return self.of((type(obj), obj.attrs, obj.flags.allows_duplicate_labels, more))

    def _labels(self, index: pd.Index) -> bytes:
        names = self.of(list(index.names))
        if isinstance(index, pd.RangeIndex):
            return combine_digests(b"range", names, self.of((index.start, index.stop, index.step)))
        if isinstance(index, pd.MultiIndex):
            levels = [index.get_level_values(level) for level in range(index.nlevels)]
            return combine_digests(b"levels", names, *map(self._labels, levels))
        frequency = as_bytes(str(getattr(index, "freq", None)))
        return combine_digests(b"labels", as_bytes(type(index).__name__), names, frequency, self._values(index.array))

    def _values(self, array: Any) -> bytes:
        dtype: Any = array.dtype
        if isinstance(dtype, np.dtype):
            return self._array(np.asarray(array))
        if isinstance(dtype, pd.CategoricalDtype):
            return combine_digests(
                b"categories", self.of(dtype.ordered), self._labels(dtype.categories), self._array(array.codes)
            )
        kind = as_bytes(repr(dtype))
        if isinstance(dtype, pd.DatetimeTZDtype):
            return combine_digests(kind, self._array(pd.DatetimeIndex(array).tz_convert(None).to_numpy()))
        if isinstance(dtype, pd.SparseDtype):
            return combine_digests(kind, self._array(np.asarray(array)))
        plain = getattr(dtype, "numpy_dtype", None)
        if type(dtype).__module__.startswith("pandas.") and not isinstance(dtype, pd.ArrowDtype) and plain is not None:
            values = array.to_numpy(dtype=plain, na_value=plain.type(0))
            return combine_digests(kind, self._array(np.asarray(array.isna())), self._array(values))
        return combine_digests(kind, self.of(array.astype(object).tolist()))

    def _array(self, array: np.ndarray) -> bytes:
        shape = self.of((array.shape, array.dtype.str if array.dtype.fields is None else repr(array.dtype.descr)))
        kind = self.of(type(array))
        if array.dtype.hasobject:
            return combine_digests(b"objects", kind, shape, self.of(array.ravel().tolist()))
        flat = np.ascontiguousarray(array).reshape(-1)
        return combine_digests(b"array", kind, shape, flat.view(np.uint8).data if flat.nbytes else b"")

    _ways: tuple[tuple[Any, Any], ...] = (
        (type, _class),
        (types.FunctionType, _function),
        (types.CodeType, _code),
        (types.ModuleType, _module),
        (types.MethodType, _method),
        (types.BuiltinMethodType, _builtin),
        ((set, frozenset), _set),
        ((weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary), _weak),
        (functools._lru_cache_wrapper, _wrapper),
        ((staticmethod, classmethod), _wrapper),
        (property, _property),
        (types.CellType, _cell),
        (types.MappingProxyType, _mapping),
        (pd.DataFrame, _frame),
        (pd.Series, _series),
        (pd.Index, _labels),
        (pd.api.extensions.ExtensionArray, _values),
        (np.ndarray, _array),
    )


class _PlainPickler(pickle.Pickler):
    """Pickler that writes plain containers as they are, and the digests of all other objects."""

    digester: Digester

    def persistent_id(self, obj: Any) -> bytes | None:
        return None if type(obj) in _PLAIN else self.digester.of(obj)


class _Hashing:
    """Stream that digests what is written to it."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return len(data)


def _is_of_atoms(obj: Any) -> bool:
    """Return whether a list holds only atoms, or only sequences of atoms."""
    if type(obj) is not list:
        return False
    kinds = set(map(type, obj))
    if kinds <= _SEQUENCES:
        kinds = set(map(type, itertools.chain.from_iterable(obj)))
    return kinds <= _ATOMS


def _flat(digests: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    for name, digest in digests:
        yield as_bytes(name)
        yield digest


def _may_be_shared(obj: Any) -> bool:
    return isinstance(obj, (type, types.FunctionType)) and travels_by_value(obj)


def _of_library(obj: Any) -> bytes:
    module = getattr(obj, "__module__", None) or "builtins"
    return combine_digests(b"library", as_bytes(module), _version(module), as_bytes(obj.__qualname__))


def _version(name: str) -> bytes:
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names:
        return b""  # the version of Python counts already
    version = getattr(sys.modules.get(package), "__version__", "")
    return as_bytes(version) if isinstance(version, str) else b""
