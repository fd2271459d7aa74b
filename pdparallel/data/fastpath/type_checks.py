"""Inspection of functions that may ask for the type of a unit, because a lazy object has another type.

A lazy object cannot answer ``type(row)``: the interpreter reads the type itself. So the function is inspected first,
with all that it refers to: helpers, methods, closures, defaults, arguments. If in doubt, the answer is yes, and the
function gets plain pandas objects::

    it refers to plain values only                  no
    its row is only read: row["a"], row.a           no, whatever else it calls
    it can reach type, eval, ...                    yes
    it can reach too many objects to inspect all    yes
    else                                            no

Functions of the standard library, NumPy and pandas are not inspected, and C functions cannot be. The cache holds facts
about code only, because globals may change between calls.
"""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import dataclasses
import dis
import functools
import importlib
import itertools
import os
import sys
import sysconfig
import threading
import types
from collections import ChainMap, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pdparallel.core.code_objects import Import, codes, names_of, steps_of
from pdparallel.typing import Func

__all__ = ["is_trusted", "leading", "may_ask_for_types", "only_reads", "reads_by_texts"]

#: Number of inspected objects after which a function counts as one that asks.
MAX_LOOKED_AT = 2_000

#: Number of objects that are inspected before the instructions of the code.
FEW_LOOKED_AT = 2

#: Number of elements of a container that are inspected.
MAX_ELEMENTS = 500

#: Packages, besides the standard library, that treat instances of any subclass of Series alike.
_TRUSTED = {"numpy", "pandas", "scipy", "numba", "numexpr", "bottleneck", "pyarrow", "dateutil", "pytz"}
_TRUSTED |= {"attr", "attrs"}

#: Ids of objects that tell a type, or run code that cannot be inspected beforehand.
_ASKING = {
    id(one) for one in (type, eval, exec, compile, globals, __import__, importlib.import_module, sys.modules)
}  # fmt: skip

#: Names of those objects in modules.
_ASKING_NAMES = frozenset({"type", "eval", "exec", "compile", "globals", "__import__", "import_module", "modules"})

#: Names by which code can read attributes that it does not name.
_READING_NAMES = frozenset({"getattr", "vars", "__dict__", "attrgetter", "methodcaller", "__getattribute__"})

#: Names by which code can read a local variable without an instruction that loads it.
_LOOKING_NAMES = frozenset({"locals", "vars", "dir", "eval", "exec", "_getframe", "currentframe", "__self__"})

#: Attributes of classes that do not affect behaviour.
_ABOUT = frozenset(
    {"__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__dataclass_fields__"}
    | {
        "__dataclass_params__",
        "__attrs_attrs__",
        "__attrs_props__",
        "__match_args__",
        "__doc__",
        "__module__",
        "__qualname__",
        "__orig_bases__",
    }
    | {"__parameters__", "__slots__", "__dict__", "__weakref__", "_abc_impl"}
)

#: Generated methods of frozen dataclasses, which ask for the type of the instance only.
_OF_FROZEN = {"__setattr__", "__delattr__"}

#: Frequent types whose values refer to no function.
_PLAIN = {
    type(None), bool, int, float, complex, str, bytes, bytearray, range, slice, type(Ellipsis), type(NotImplemented),
    types.CodeType, types.GetSetDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType,
    types.ClassMethodDescriptorType, types.MemberDescriptorType,
}  # fmt: skip

_OURS = __name__.partition(".")[0]

_GLOBAL_LOADS = frozenset(
    name
    for name in dis.opmap
    if name.startswith("LOAD_") and (name.endswith("_GLOBAL") or name in ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"))
)


@functools.lru_cache(maxsize=1024)
def _loads_global(code: types.CodeType, name: str) -> bool:
    """Return whether code loads a name as a global or builtin, not as an attribute only."""
    return any(
        step.argval == name and step.opname in _GLOBAL_LOADS for inner in codes(code)
        for step in dis.get_instructions(inner)
    )  # fmt: skip


@functools.lru_cache(maxsize=1024)
def is_trusted(name: Any) -> bool:
    """Return whether a module belongs to a package that need not be inspected."""
    if type(name) is not str:
        return False
    package = name.partition(".")[0]
    if package in _TRUSTED or package == "builtins":
        return True
    if package not in sys.stdlib_module_names:
        return False
    # A module of the user may have the name of one in the standard library.
    origin = getattr(getattr(sys.modules.get(package), "__spec__", None), "origin", None)
    return origin in (None, "built-in", "frozen") or os.path.abspath(origin).startswith(_STDLIB)


_STDLIB = tuple({os.path.abspath(sysconfig.get_path(kind)) + os.sep for kind in ("stdlib", "platstdlib")})


def only_reads(code: types.CodeType, place: int, by_texts: bool = False) -> bool:
    """Return whether code only reads its argument at ``place``: ``row["a"]``, ``row.a``, ``for value in row``."""
    # If so, it passes the argument to nothing else, and it does not matter what it calls.
    # With ``by_texts``, each key must be a string constant.
    if place >= code.co_argcount or not _LOOKING_NAMES.isdisjoint(names_of(code).all):
        return False
    row = code.co_varnames[place]
    if row in code.co_cellvars:
        return False
    steps = steps_of(code)
    for at, step in enumerate(steps):
        if step.opname.startswith(("STORE_FAST", "DELETE_FAST")) and "LOAD" not in step.opname:
            continue
        if "_FAST" not in step.opname:
            continue
        loaded = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        if step.opname.startswith("STORE_FAST"):  # which loads its second variable
            loaded = loaded[1:]
        if row not in loaded:
            continue
        after = steps[at + 1 : at + 3]
        if loaded[-1] == row and loaded.count(row) == 1:
            if not _reads(after) or (by_texts and len(after) == 2 and _by_key(after[1]) and not _is_text(after[0])):
                return False
        elif by_texts or loaded[0] != row or loaded.count(row) > 1 or not after or not _by_key(after[0]):
            return False
    return True


_READS = {"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "GET_ITER", "UNPACK_SEQUENCE", "CONTAINS_OP"}


def _reads(steps: list[Any]) -> bool:
    """Return whether these instructions only read the object on top of the stack."""
    if not steps:
        return False
    if steps[0].opname in _READS:
        return True
    loads = steps[0].opname in ("LOAD_CONST", "LOAD_SMALL_INT", "LOAD_GLOBAL", "LOAD_DEREF") or (
        steps[0].opname in ("LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK")
    )
    return loads and len(steps) == 2 and _by_key(steps[1])


def _is_text(step: Any) -> bool:
    return step.opname == "LOAD_CONST" and type(step.argval) is str


def _by_key(step: Any) -> bool:
    if step.opname in ("BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR"):
        return True
    return bool(step.opname == "BINARY_OP" and step.argrepr == "[]")


def may_ask_for_types(func: Func, given: Iterable[Any] = (), *, rows: bool = False) -> bool:
    """Return whether a function, or anything that it refers to, may ask for the type of its unit."""
    while type(func).__module__.partition(".")[0] == _OURS and hasattr(func, "func"):
        func = func.func
    given = list(given)
    if not given and _leads_nowhere(func):
        return False
    if not rows:  # then what the function reads may be lazy, too; the scalars of a row are not
        return _asks(func, given, MAX_LOOKED_AT)
    found = _code_and_place(func)
    if found in _known_to_read:
        return False
    # To inspect a few objects costs less than to inspect the instructions of the code.
    if not _asks(func, given, FEW_LOOKED_AT):
        return False
    if found is not None and only_reads(*found):
        if len(_known_to_read) >= MAX_KNOWN:
            _known_to_read.clear()
        _known_to_read.add(found)
        return False
    return _asks(func, given, MAX_LOOKED_AT)


def reads_by_texts(func: Func) -> bool:
    """Return whether a function only reads its row, as ``row["a"]`` with string constants or ``row.a``."""
    found = _code_and_place(func)
    return found is not None and _reads_by_texts(*found)


@functools.lru_cache(maxsize=1024)
def _reads_by_texts(code: types.CodeType, place: int) -> bool:
    # ``frame.query("a > @row.a")`` looks into the frame of its caller.
    return {"__getitem__", "query"}.isdisjoint(names_of(code).all) and only_reads(code, place, by_texts=True)


#: Code that only reads its row, with the place of the row. Code never changes.
_known_to_read: set[Any] = set()

#: Largest number of entries of that set.
MAX_KNOWN = 1_000


def leading(values: Sequence[Any]) -> list[Any]:
    """Return the values of the data that may refer to a function, as a model in a cell; mostly none."""
    kinds = {kind for kind in set(map(type, values)) - _PLAIN if _is_worth_a_look(kind)}
    return [value for value in values if type(value) in kinds] if kinds else []


def _asks(func: Func, given: list[Any], most: int) -> bool:
    try:
        look = _Look(most)
        look.at(func)
        look.at_all(given)
        look.finish()
    except _AsksError:
        return True
    except Exception:  # raised by an object of the user that was inspected
        return True
    return False


def _leads_nowhere(func: Any) -> bool:
    """Return whether a function refers only to plain values and trusted modules; a quick check."""
    if type(func) is not types.FunctionType or func.__defaults__ or func.__kwdefaults__ or func.__dict__:
        return False
    names, imports = names_of(func.__code__)
    if imports or not _ASKING_NAMES.isdisjoint(names):
        return False
    space = func.__globals__
    for name in names:
        if name in space:
            value = space[name]
            kind = type(value)
            if not (kind in _PLAIN or (kind is types.ModuleType and is_trusted(value.__name__))):
                return False
    for cell in func.__closure__ or ():
        try:
            if type(cell.cell_contents) not in _PLAIN:
                return False
        except ValueError:  # an empty cell, which may have a value at the time of the call
            return False
    return True


def _code_and_place(func: Any) -> tuple[types.CodeType, int] | None:
    """Return the code that a call runs first, and the place of the unit among its arguments; None if there is none."""
    place = 0
    for _ in range(10):
        kind = type(func)
        if kind is types.FunctionType:
            return func.__code__, place
        if kind is functools.partial:
            func, place = func.func, place + len(func.args)
        elif kind is types.MethodType:
            func, place = func.__func__, place + 1
        elif type(getattr(kind, "__call__", None)) is types.FunctionType:  # noqa: B004 - the method of the class
            func, place = kind.__call__, place + 1
        else:
            break
    return None


class _AsksError(Exception):
    """Exception that ends an inspection: the function may ask for a type."""


class _Look:
    """Traversal of all objects that a function refers to."""

    def __init__(self, most: int) -> None:
        self._seen: set[int] = set()
        self._later: list[Any] = []
        self._kept: list[Any] = []  # keeps objects alive, so that ids stay unique
        self._names: set[str] = set()
        self._modules: list[types.ModuleType] = []
        self._bases: set[type] = set()
        self._left = most

    def at(self, value: Any) -> None:
        """Queue a value for inspection; raise if it tells a type."""
        if type(value) in _PLAIN:
            return
        number = id(value)
        if number in self._seen:
            return
        self._seen.add(number)
        self._kept.append(value)
        if number in _ASKING:
            raise _AsksError
        self._later.append(value)

    def at_all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.at(value)

    def finish(self) -> None:
        """Inspect the queue until it is empty."""
        done: tuple[int, int] | None = None
        while self._later or done != (len(self._names), len(self._modules)):
            while self._later:
                self._left -= 1
                if self._left < 0:
                    raise _AsksError
                self._into(self._later.pop())
            # Any code may have a reference to the module, so check all names that any code reads.
            done = len(self._names), len(self._modules)
            for module in self._modules:
                self._module(module)

    def _into(self, value: Any) -> None:
        kind = type(value)
        if kind is types.FunctionType:
            self._function(value)
        elif kind is types.MethodType:
            self.at(value.__func__)
            self.at(value.__self__)
        elif issubclass(kind, types.ModuleType):
            self._modules.append(value)
        elif issubclass(kind, type):
            self._class(value)
        elif kind is types.BuiltinFunctionType:
            if not isinstance(value.__self__, types.ModuleType):
                self.at(value.__self__)
        elif kind is types.CellType:
            self._cell(value)
        elif issubclass(kind, (dict, types.MappingProxyType, ChainMap)):
            self.at_all(_first(value.values()))
            self._instance(value, kind)
        elif issubclass(kind, (list, tuple, set, frozenset, deque)):
            self.at_all(_first(value))
            self._instance(value, kind)
        elif issubclass(kind, functools.partial):
            self.at(value.func)
            self.at_all(value.args)
            self.at_all(value.keywords.values())
            self._instance(value, kind)
        elif issubclass(kind, (staticmethod, classmethod)):
            self.at(value.__func__)
        elif issubclass(kind, property):
            self.at_all((value.fget, value.fset, value.fdel))
            self._instance(value, kind)
        else:
            self._instance(value, kind)

    def _function(self, func: types.FunctionType) -> None:
        self._values(func.__closure__)
        self._values(func.__defaults__)
        if func.__kwdefaults__:
            self.at_all(func.__kwdefaults__.values())
        if func.__dict__:
            self.at_all(func.__dict__.values())
        space = func.__globals__
        if is_trusted(space.get("__name__")):
            return
        code = func.__code__
        names, imports = names_of(code)
        self._names |= names
        for name in names:
            if name in space:
                self.at(space[name])
            elif name in _ASKING_NAMES and id(_builtin(func, name)) in _ASKING and _loads_global(code, name):
                raise _AsksError
        for one in imports:
            self._import(one, space)

    def _import(self, one: Import, space: Mapping[str, Any]) -> None:
        name, level, parts = one
        if level == 0 and is_trusted(name):
            if name in sys.modules:
                self.at(sys.modules[name])
            elif name.partition(".")[0] in ("builtins", "importlib"):
                raise _AsksError
            return
        if level:
            package = (space.get("__package__") or "").split(".")
            name = ".".join([*package[: len(package) - level + 1], *([name] if name else [])])
        module = sys.modules.get(name)
        if module is None or ("__path__" in vars(module) and not vars(module).keys() >= set(parts)):
            raise _AsksError  # its attributes are not known yet
        self.at(module)
        self.at(sys.modules.get(name.partition(".")[0]))

    def _values(self, values: Any) -> None:
        if values:
            self.at_all(values)

    def _cell(self, cell: types.CellType) -> None:
        try:
            self.at(cell.cell_contents)
        except ValueError:  # empty, but it may have a value at the time of the call
            raise _AsksError from None

    def _module(self, module: types.ModuleType) -> None:
        space = vars(module)
        trusted = is_trusted(space.get("__name__"))
        by_name = _READING_NAMES.isdisjoint(self._names)
        if trusted:
            names: Iterable[str] = _ASKING_NAMES if not by_name and module is builtins else self._names & _ASKING_NAMES
            if any(id(space.get(name)) in _ASKING for name in names):
                raise _AsksError
            return
        if by_name:
            self.at_all([space[name] for name in self._names if name in space])
            if "__getattr__" in space:
                self.at(space["__getattr__"])
        else:
            self.at_all([value for name, value in list(space.items()) if name != "__builtins__"])

    def _class(self, cls: type) -> None:
        for base in (*_mro(cls), *_mro(type(cls))):
            if base in self._bases or is_trusted(base.__module__):
                continue
            self._bases.add(base)
            skipped = _ABOUT | _OF_FROZEN if dataclasses.is_dataclass(base) else _ABOUT
            self.at_all([part for name, part in list(vars(base).items()) if name not in skipped])

    def _instance(self, value: Any, kind: type) -> None:
        try:
            own = object.__getattribute__(value, "__dict__")
        except AttributeError:
            own = {}
        if kind is contextvars.ContextVar:
            self.at(value.get(None))
        if is_trusted(kind.__module__) and kind not in _NAMESPACES:
            # Its class is trusted, but the object may hold a function, as a decorator does.
            self.at_all([part for part in _first(own.values()) if _is_worth_a_look(type(part))])
            return
        self._class(kind)
        self.at_all(_first(own.values()))
        for base in _mro(kind):
            for slot in list(vars(base).values()):
                if type(slot) is types.MemberDescriptorType:
                    with contextlib.suppress(AttributeError):  # a slot that was never set
                        self.at(slot.__get__(value))


#: Types of the standard library whose attributes are set by the user.
_NAMESPACES = {types.SimpleNamespace, threading.local}


def _is_worth_a_look(kind: type) -> bool:
    return issubclass(kind, _FUNCTIONS) or not is_trusted(kind.__module__)


_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial, type)

_mro: Callable[[type], tuple[type, ...]] = vars(type)["__mro__"].__get__


def _builtin(func: types.FunctionType, name: str) -> Any:
    space = func.__builtins__
    return space.get(name) if isinstance(space, dict) else getattr(space, name, None)


def _first(values: Any) -> list[Any]:
    """Return the first elements of a container; none if all of them are plain values."""
    some = list(itertools.islice(values, MAX_ELEMENTS))
    return [] if _PLAIN.issuperset(map(type, some)) else some
