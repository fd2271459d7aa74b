"""Globals of the user's modules: which ones a function reaches, their digests, and checks that they are unchanged.

Each process keeps its own random generators, and what a function itself changes (a cache, a connection made at the
first use).  An object that is too large or cannot be compared counts as the worker's own, until the parent assigns
another one.
"""

from __future__ import annotations

import builtins
import contextlib
import copyreg
import dis
import enum
import functools
import hashlib
import itertools
import marshal
import operator
import pickle
import random
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pdparallel.core.code_objects import codes, is_empty, names_of, to_bytes
from pdparallel.transport.pickler import (
    ATTRIBUTES_OF_ENUMS,
    global_names,
    is_importable_module,
    travels_by_value,
    variables_of,
)
from pdparallel.transport.reducers import HEAP_TYPE, PROTOCOL, reduced

__all__ = [
    "BY_CONTENT",
    "MISSING",
    "Digester",
    "Slot",
    "as_bytes",
    "combine_digests",
    "is_of_library",
    "is_users",
    "same_array",
    "slots_named_by",
]

#: A global of a module.
Slot = tuple[str, str]

#: Largest number of items, in a global with all that it contains, that are compared, and checked again in each call.
MAX_ITEMS = 1000

#: Largest number of bytes of an array that are compared, and that are compared again in each call.
MAX_ARRAY_BYTES, MAX_WATCHED_BYTES = 1 << 24, 1 << 16

#: The value of a global that does not exist.
MISSING: Any = type("_Missing", (), {"__reduce__": lambda self: "MISSING", "__module__": __name__})()


@functools.lru_cache(maxsize=4096)
def _is_installed(file: str) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def is_of_library(name: str | None) -> bool:
    """Return whether a module is not the user's: part of the standard library, installed, or of this package."""
    top = (name or "__main__").partition(".")[0]
    if top == "__main__":
        return False
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return True
    return _is_installed(getattr(sys.modules.get(top), "__file__", None) or "")


def is_users(name: Any) -> bool:
    """Return whether a module is the user's and a worker can import it."""
    # A frozen program does not tell the user's modules from installed ones, and has no files to edit.
    if not isinstance(name, str) or getattr(sys, "frozen", False) or is_of_library(name):
        return False
    module = sys.modules.get(name)
    return module is not None and is_importable_module(module)


def _users_space(space: dict[str, Any]) -> str | None:
    """Return the name of the user's module that has these globals, if any."""
    name = space.get("__name__")
    return name if is_users(name) and vars(sys.modules[name]) is space else None  # type: ignore[index]


# Globals that a function names


def slots_named_by(func: types.FunctionType) -> Iterator[Slot]:
    """Yield the globals that a function reaches through a module that it names or imports: ``module.helper``."""
    names, imports = names_of(func.__code__)
    space = func.__globals__
    modules = [value for _, value in variables_of(func) if isinstance(value, types.ModuleType)]
    package = str(space.get("__package__") or "")
    for name in dict.fromkeys(one.name for one in imports):
        above = itertools.accumulate(package.split("."), lambda one, other: f"{one}.{other}") if package else ()
        for full in (name, *(f"{one}.{name}".rstrip(".") for one in above)):
            parts = itertools.accumulate(full.split("."), lambda one, other: f"{one}.{other}")
            modules += [sys.modules[part] for part in parts if sys.modules.get(part) is not None]
    seen: set[int] = set()
    while modules:
        module = modules.pop()
        if id(module) in seen or not is_users(getattr(module, "__name__", None)):
            continue
        seen.add(id(module))
        content = vars(module)
        for name in names & content.keys():
            if not _is_ours_to_skip(name):
                yield module.__name__, name
            if isinstance(content[name], types.ModuleType):
                modules.append(content[name])


def _is_ours_to_skip(name: str) -> bool:
    """Return whether the import itself or a test runner makes a global of this name."""
    return name.startswith("@") or (name.startswith("__") and name.endswith("__"))


_MUTATORS = frozenset(
    ("add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end", "pop", "popitem", "popleft",
     "remove", "reverse", "setdefault", "sort", "update")
)  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _changed_by(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return the globals that a function assigns, and those whose content it changes."""
    assigned: set[str] = set()
    written: set[str] = set()
    for inner in codes(code):
        steps = list(dis.get_instructions(inner))
        for at, step in enumerate(steps):
            if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                assigned.add(step.argval)
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and step.argval in _MUTATORS:
                written.update(_global_at(steps, at - 1))
            elif step.opname in ("STORE_SUBSCR", "DELETE_SUBSCR") or (step.opname == "COPY" and step.arg == 2):
                written.update(_global_at(steps, _before(steps, at - 1)))
    return frozenset(assigned), frozenset(written)


def _before(steps: list[dis.Instruction], at: int) -> int:
    """Return the index of the last instruction of the expression before the one that ends at ``at``."""
    depth = 0
    while at >= 0 and depth < 1:
        depth += dis.stack_effect(steps[at].opcode, steps[at].arg, jump=False)
        at -= 1
    return at


def _global_at(steps: list[dis.Instruction], at: int) -> Iterable[str]:
    return (steps[at].argval,) if at >= 0 and steps[at].opname in ("LOAD_GLOBAL", "LOAD_NAME") else ()


# Digests


class _NotComparableError(Exception):
    """Error for a global that is too large to be compared, or that each process has for itself."""


_GENERATORS: tuple[type, ...] = (random.Random, np.random.RandomState, np.random.Generator, np.random.BitGenerator)

BY_CONTENT = frozenset((type(None), bool, int, float, complex, str, bytes, type(...), range, slice))

_CONTAINERS = frozenset((list, dict, set, frozenset, tuple))

_OF_NO_INTEREST = frozenset(
    ("__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "_abc_impl", "__firstlineno__", "__slots__",
     "__static_attributes__", "__slotnames__", "__annotations__", "__annotate__", "__annotate_func__",
     "__annotations_cache__", "__dataclass_fields__", "__dataclass_params__", "__abstractmethods__")
)  # fmt: skip


def combine_digests(*parts: Any) -> bytes:
    """Return one digest of several byte strings."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def as_bytes(text: Any) -> bytes:
    """Return the text of an object as bytes, for a digest."""
    return str(text).encode("utf-8", "surrogatepass")


def _digest_of_code(code: types.CodeType) -> bytes:
    # Not cached: code objects of two files may be equal, although their bytes name the files. Line numbers count,
    # because tracebacks show them.
    data, left_out = to_bytes(code)
    constants = (repr(one) if type(one) is slice else type(one).__qualname__ for one in left_out)
    return combine_digests(as_bytes(code.co_qualname), data, *map(as_bytes, constants))


class Digester:
    """Digests of globals, computed alike in the parent and in a worker."""

    def __init__(self) -> None:
        self._finished: dict[int, tuple[Any, bytes]] = {}  # with the objects, so that no other object gets the id
        self._active: dict[int, int] = {}
        self._left = MAX_ITEMS
        self._made_for_this = False  # a __reduce__ made what is digested, so nobody else has it

    def whole(self, value: Any) -> tuple[str, bytes]:
        """Return how a global is compared, ``"value"`` or ``"kind"``, and its digest."""
        if value is MISSING:
            return "value", b""
        self._left = MAX_ITEMS
        self._finished.clear()  # the digest of a cycle depends on the object from which it is entered
        try:
            return "value", self.of(value)
        except Exception:  # whatever a user's __reduce__ may raise
            self._active.clear()
        kind, size = type(value), b""
        if kind in _CONTAINERS:
            with contextlib.suppress(ValueError):  # it holds more than plain values
                return "value", combine_digests(b"plain", marshal.dumps(value, 2))
            size = as_bytes(len(value))
        return "kind", combine_digests(as_bytes(kind.__module__), as_bytes(kind.__qualname__), size)

    def of(self, obj: Any) -> bytes:
        """Return the digest of an object."""
        kind = type(obj)
        if kind in BY_CONTENT:
            content = obj if kind is bytes else as_bytes(obj if kind is str else repr(obj))
            return combine_digests(as_bytes(kind.__name__), content)
        key = id(obj)
        if key in self._active:
            return combine_digests(b"again", as_bytes(len(self._active) - self._active[key]))
        if key not in self._finished:
            self._active[key] = len(self._active)
            try:
                self._finished[key] = (obj, self._other(obj, kind))
            finally:
                self._active.pop(key, None)
        return self._finished[key][1]

    def _part(self, obj: Any) -> bytes:
        """Return the digest of a part; a part that cannot be compared counts by its type."""
        try:
            return self.of(obj)
        except Exception:
            return combine_digests(b"kind", as_bytes(type(obj).__qualname__))

    # Hooks of the parent

    def reaches(self, slots: Iterable[Slot]) -> None:
        """Note globals that the digested object reaches."""

    def watches(self, how: Callable[..., bool], *what: Any) -> None:
        """Note a check to repeat in each call."""

    def _other(self, obj: Any, kind: Any) -> bytes:
        if isinstance(obj, type):
            return self._class(obj)
        if kind is types.FunctionType:
            return self._function(obj)
        if isinstance(obj, types.ModuleType):
            return self._module(obj)
        if kind is dict or kind is types.MappingProxyType:
            self._takes(len(obj))
            if kind is dict:
                self.watches(_same_mapping, obj, list(obj), list(obj.values()))
            return combine_digests(b"dict", *map(self.of, itertools.chain.from_iterable(list(obj.items()))))
        if kind in _CONTAINERS:
            self._takes(len(obj))
            if kind is list:
                self.watches(_same_sequence, obj, list(obj))
            elif kind is set:
                self.watches(operator.eq, obj, set(obj))
            digests = map(self.of, list(obj))
            ordered = sorted(digests) if kind is set or kind is frozenset else digests
            return combine_digests(as_bytes(kind.__name__), *ordered)
        if kind is types.MethodType:
            return combine_digests(b"method", self.of(obj.__func__), self.of(obj.__self__))
        if kind is types.BuiltinMethodType:
            if obj.__self__ is None or isinstance(obj.__self__, types.ModuleType):
                return combine_digests(b"name", as_bytes(obj.__module__), as_bytes(obj.__qualname__))
            return combine_digests(b"method", self.of(obj.__self__), as_bytes(obj.__name__))
        if kind is staticmethod or kind is classmethod:
            return combine_digests(as_bytes(kind.__name__), self._part(obj.__func__))
        if kind is property:
            return combine_digests(b"property", *map(self._part, (obj.fget, obj.fset, obj.fdel)))
        if kind is functools.cached_property:
            return combine_digests(b"cached", self._part(obj.func))
        for name in ("__wrapped__", "py_func"):  # a cached function; one compiled by numba
            if isinstance(inner := getattr(obj, "__dict__", {}).get(name), types.FunctionType):
                return combine_digests(as_bytes(kind.__qualname__), self._part(inner))
        if isinstance(obj, np.ndarray):
            return self._array(obj)
        if kind is pickle.PickleBuffer:
            return self._bytes(obj.raw())
        if isinstance(obj, enum.Enum):
            return combine_digests(b"member", self.of(kind), as_bytes(obj.name))
        if isinstance(obj, _GENERATORS):
            raise _NotComparableError
        return self._object(obj, kind)

    def _module(self, module: types.ModuleType) -> bytes:
        if is_importable_module(module) or is_of_library(module.__name__):
            return combine_digests(b"module", as_bytes(module.__name__))
        # A replacement for another module, or one from before it was imported again.
        content = {name: value for name, value in vars(module).items() if not _is_ours_to_skip(name)}
        self.watches(_same_mapping_of, module, list(vars(module)), list(vars(module).values()))
        return combine_digests(
            b"made", as_bytes(module.__name__), *map(as_bytes, content), *map(self._part, content.values())
        )

    def _takes(self, items: int) -> None:
        if items > self._left:
            raise _NotComparableError
        self._left -= items

    def _bytes(self, buffer: memoryview) -> bytes:
        if buffer.nbytes > MAX_ARRAY_BYTES:
            raise _NotComparableError
        return combine_digests(buffer)

    def _array(self, array: np.ndarray) -> bytes:
        if array.nbytes > MAX_ARRAY_BYTES:
            raise _NotComparableError
        about = as_bytes((array.shape, array.dtype.str, array.flags.writeable, type(array).__qualname__))
        if array.dtype.hasobject:
            return combine_digests(b"objects", about, self.of(array.ravel().tolist()))
        content = array.tobytes()
        if len(content) <= MAX_WATCHED_BYTES:
            self.watches(same_array, array, content)
        return combine_digests(b"array", about, content)

    def _object(self, obj: Any, kind: Any) -> bytes:
        """Return the digest of what pickle would write of an object."""
        plain = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
        if plain and not is_of_library(kind.__module__) and not hasattr(kind, "__getnewargs__"):
            self.watches(_same_kind, obj, kind)
            content = getattr(obj, "__dict__", {})
            attributes = [item for base in kind.__mro__ for item in vars(base).items()]
            slots = [name for name, value in attributes if isinstance(value, types.MemberDescriptorType)]
            values = [getattr(obj, name) for name in slots if hasattr(obj, name)]
            return combine_digests(b"object", *map(self.of, (kind, content, *values)))
        self._takes(1)
        reduction: Any = reduced(obj)
        if reduction is NotImplemented:
            reducer = copyreg.dispatch_table.get(kind)
            reduction = obj.__reduce_ex__(PROTOCOL) if reducer is None else reducer(obj)
        if isinstance(reduction, str):
            return combine_digests(b"name", as_bytes(kind.__module__), as_bytes(reduction))
        make, args, *rest = reduction
        state, items, pairs = (*rest[:3], None, None, None)[:3]
        before, self._made_for_this = self._made_for_this, True
        try:
            parts = [make, args, state, list(items or ()), list(pairs or ())]
            return combine_digests(b"object", self.of(kind), *map(self.of, parts))
        finally:
            self._made_for_this = before

    def _class(self, cls: Any) -> bytes:
        if not cls.__flags__ & HEAP_TYPE or is_of_library(cls.__module__):
            return combine_digests(b"name", as_bytes(cls.__module__), as_bytes(cls.__qualname__))
        self.watches(_same_mapping_of, cls, list(vars(cls)), list(vars(cls).values()))
        parts = [self._found_by_name(cls), as_bytes(cls.__module__), as_bytes(cls.__qualname__)]
        parts += map(self.of, (type(cls), *cls.__bases__))
        attributes = dict(vars(cls))
        if isinstance(cls, enum.EnumMeta):  # Python makes combinations of flags at their first use
            members: list[Any] = list(cls.__members__.values())
            parts += [self._part(member.value) for member in members]
            attributes = {name: value for name, value in attributes.items() if name not in ATTRIBUTES_OF_ENUMS}
        init = attributes.get("__init__")
        if not isinstance(init, types.FunctionType) or is_of_library(init.__globals__.get("__name__")):
            attributes.pop("__init__", None)  # Python replaces that of a protocol when the first object is made
        for name, value in sorted(attributes.items()):
            if name in _OF_NO_INTEREST or isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                continue
            about = isinstance(value, (types.FunctionType, staticmethod, classmethod, property, type))
            whole = about or type(value) in BY_CONTENT or not name.startswith("__")
            parts += [as_bytes(name), self._part(value) if whole else as_bytes(type(value).__qualname__)]
        return combine_digests(b"class", *parts)

    def _function(self, func: types.FunctionType) -> bytes:
        code, space = func.__code__, func.__globals__
        cells = [cell for cell in func.__closure__ or () if not is_empty(cell)]
        for cell in cells:
            self.watches(_same_cell, cell, cell.cell_contents)
        held = [self._part(cell.cell_contents) for cell in cells]
        if is_of_library(space.get("__name__")):
            return combine_digests(b"name", as_bytes(func.__module__), as_bytes(func.__qualname__), *held)
        self.watches(_same_function, func, code, func.__defaults__, func.__kwdefaults__)
        defaults = map(self._part, (func.__defaults__, func.__kwdefaults__, vars(func) or None))
        parts = [self._found_by_name(func), *defaults, *held]
        self.reaches(slots_named_by(func))
        owner = _users_space(space)
        for name in global_names(code):
            if _is_ours_to_skip(name) or (name not in space and hasattr(builtins, name)):
                continue
            if owner is not None:
                self.reaches([(owner, name)])  # which gets a digest of its own
            elif name in space:
                parts.append(self._part(space[name]))
        if owner is not None:
            self.changes(owner, *_changed_by(code))
        place = as_bytes(func.__module__), as_bytes(func.__qualname__)
        return combine_digests(b"function", *place, _digest_of_code(code), *parts)

    def changes(self, module: str, assigned: frozenset[str], written: frozenset[str]) -> None:
        """Note the globals that a function of a module changes itself."""

    def _found_by_name(self, obj: Any) -> bytes:
        """Return a mark for an object that is importable by name, unlike one from before a reload."""
        if not is_users(obj.__module__) or travels_by_value(obj):
            return b""
        self.reaches([(obj.__module__, obj.__qualname__.partition(".")[0])])
        return b"here"


# Checks that something is still what it was


def _same_mapping(now: Any, keys: list[Any], values: list[Any]) -> bool:
    return _same_sequence(now, keys) and all(map(operator.is_, now.values(), values))


def _same_mapping_of(cls: Any, keys: list[Any], values: list[Any]) -> bool:
    return _same_mapping(vars(cls), keys, values)


def _same_sequence(now: Collection[Any], items: list[Any]) -> bool:
    return len(now) == len(items) and all(map(operator.is_, now, items))


def same_array(now: np.ndarray, content: bytes) -> bool:
    return now.tobytes() == content


def _same_kind(obj: Any, kind: type) -> bool:
    return type(obj) is kind


def _same_cell(cell: types.CellType, content: Any) -> bool:
    return not is_empty(cell) and cell.cell_contents is content


def _same_function(func: Any, code: Any, defaults: Any, keyword_defaults: Any) -> bool:
    return func.__code__ is code and func.__defaults__ is defaults and func.__kwdefaults__ is keyword_defaults
