"""Thread safety: whether threads may run a function side by side, as far as its code shows.

On a Python without the GIL ``engine="auto"`` hands such functions to threads of this process, and all others to worker
processes, where no function sees what another one does.  A function is safe if it

- gets plain values, or reads its row as ``row["a"]``, ``row.a`` or ``for value in row`` and in no other way;
- names nothing but values that nobody can change, tables that it only reads, functions that are safe, and what is
  listed here of Python, its standard library and NumPy;
- assigns no global, no variable of a function around it, and no attribute.

pandas' own methods are not listed: many of them change the filters of warnings for a moment, which all threads share.
"""

from __future__ import annotations

import builtins
import datetime
import decimal
import dis
import fractions
import functools
import re
import sys
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_object_dtype

from pdparallel.call import Call, Work
from pdparallel.codes import codes
from pdparallel.lean.asking import only_reads

__all__ = ["is_thread_safe"]

#: Functions, constants and code that are looked at for one call, and elements of a table.
MOST_LOOKED_AT, MOST_ELEMENTS = 200, 1_000_000

_BUILTINS = frozenset(
    id(getattr(builtins, name))
    for name in (
        "abs", "all", "any", "ascii", "bin", "bool", "bytearray", "bytes", "callable", "chr", "complex", "dict",
        "divmod", "enumerate", "filter", "float", "format", "frozenset", "hash", "hex", "int", "isinstance",
        "issubclass", "iter", "len", "list", "map", "max", "min", "next", "oct", "ord", "pow", "range", "repr",
        "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "type", "zip",
    )
)  # fmt: skip

_MODULES = frozenset(
    {
        "base64", "binascii", "calendar", "cmath", "collections", "colorsys", "datetime", "decimal", "difflib",
        "fractions", "hashlib", "html", "ipaddress", "itertools", "json", "math", "numbers", "numpy", "re",
        "statistics", "string", "struct", "textwrap", "time", "unicodedata", "urllib", "urllib.parse", "zlib",
        "_hashlib", "_statistics", "_struct",
    }
)  # fmt: skip

#: What a table has that changes it, and what changes an argument; with a table, none of these may be named.
_CHANGING = frozenset(
    {
        "add", "append", "appendleft", "at", "byteswap", "clear", "copyto", "difference_update", "discard", "extend",
        "fill", "fill_diagonal", "insort", "insort_left", "insort_right", "intersection_update", "move_to_end", "out",
        "partition", "place", "pop", "popitem", "popleft", "put", "put_along_axis", "putmask", "remove", "resize",
        "reverse", "rotate", "setdefault", "setfield", "setflags", "sort", "subtract",
        "symmetric_difference_update", "update",
    }
)  # fmt: skip

#: Beginnings of what changes NumPy's or the standard library's own state, or files.
_OF_A_PROCESS = ("set", "save", "load", "add_", "print", "from_file", "fromfile", "memmap", "localcontext")

#: Types whose values nobody can change.
_FIXED = (
    type(None), bool, int, float, complex, str, bytes, range, slice, type(...), np.generic, np.dtype, re.Pattern,
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal, fractions.Fraction,
    pd.Timestamp, pd.Timedelta, type(pd.NaT), type(pd.NA),
)  # fmt: skip

#: Kinds of objects in a column that nobody can change, as pandas calls them.
_FIXED_KINDS = frozenset(
    {
        "empty", "string", "bytes", "boolean", "integer", "floating", "mixed-integer-float", "complex", "decimal",
        "datetime", "datetime64", "date", "time", "timedelta", "timedelta64",
    }
)  # fmt: skip

_HANDS = frozenset({"row", "row-tuple", "row-namedtuple", "row-dict", "value"})

_FORBIDDEN = frozenset(
    {"IMPORT_NAME", "LOAD_BUILD_CLASS", "STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME"}
)

_WRITES = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"})

_WITH_STATE = 0x20 | 0x80 | 0x100 | 0x200  # generator, coroutine, iterable coroutine, async generator


def is_thread_safe(call: Call) -> bool:
    """Whether threads may run the function of a call side by side, each with other units."""
    work = call.work
    if work.hand not in _HANDS or work.seed is not None:
        return False
    try:
        _look_at(work)
        return _has_fixed_values(call.data)
    except _UnsafeError:
        return False
    except Exception:  # of an object of the user's that does not like to be looked at
        return False


class _UnsafeError(Exception):
    """Ends a look."""


def _look_at(work: Work) -> None:
    func: Any = work.func
    place = 0
    look = _Look()
    while type(func) is functools.partial:
        look.at_all([*func.args, *func.keywords.values()])
        func, place = func.func, place + len(func.args)
    if work.hand == "row" and not (type(func) is types.FunctionType and _gets_plain_values(func, place)):
        raise _UnsafeError
    look.at(func)
    look.at_all(work.given)
    look.finish()


def _gets_plain_values(func: types.FunctionType, place: int) -> bool:
    """Whether a function gets nothing but single values of its row: no method, and no part of it."""
    code = func.__code__
    if not only_reads(code, place):
        return False
    row, steps, cells = code.co_varnames[place], _steps(code), _cells(func)
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        loaded = step.argval if type(step.argval) is tuple else (step.argval,)
        if "_FAST" not in step.opname or "LOAD" not in step.opname or row not in loaded or after is None:
            continue
        if loaded[-1] != row:  # the other one is the key, and may be a list of labels
            return False
        key: Any = None
        if after.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            if after.argval != "name" and hasattr(pd.Series, after.argval):
                return False
        elif after.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            key = after.argval
        elif after.opname in ("LOAD_GLOBAL", "LOAD_DEREF"):
            key = _loaded(after, func.__globals__, cells)
        elif "LOAD_FAST" in after.opname:
            return False
        if not isinstance(key, (str, int, float, type(None))):
            return False
    return True


class _Look:
    """Goes through all that a function names."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # which keeps them, so that no id comes twice
        self._tables = self._changes = False

    def at_all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.at(value)

    def at(self, value: Any) -> None:
        """Look at what some code names and may call."""
        if id(value) in self._seen or isinstance(value, _FIXED):
            return
        self._seen[id(value)] = value
        if len(self._seen) > MOST_LOOKED_AT:
            raise _UnsafeError
        kind = type(value)
        if kind is types.FunctionType:
            self._function(value)
        elif kind in (tuple, frozenset):
            self.at_all(value)
        elif kind in (dict, list, set):
            self._table(value)
        elif kind is functools.partial:
            self.at_all([value.func, *value.args, *value.keywords.values()])
        elif id(value) not in _BUILTINS and not self._is_of_the_lists(value):
            raise _UnsafeError

    def finish(self) -> None:
        """Raise if a table may be changed by what was looked at."""
        if self._tables and self._changes:
            raise _UnsafeError

    def _table(self, value: Any) -> None:
        self._tables = True
        if len(value) > MOST_ELEMENTS:
            raise _UnsafeError
        held = [*value, *value.values()] if type(value) is dict else value
        if not all(issubclass(kind, _FIXED) for kind in set(map(type, held))):
            raise _UnsafeError

    def _is_of_the_lists(self, value: Any) -> bool:
        """Whether it is a class or function of a module that is listed, or an exception of Python's."""
        if isinstance(value, type) and issubclass(value, BaseException):
            return value.__module__ == "builtins"
        if isinstance(value, types.MethodDescriptorType):  # str.upper
            return id(value.__objclass__) in _BUILTINS
        owner = getattr(value, "__self__", None)
        if isinstance(value, types.BuiltinFunctionType) and not isinstance(owner, (types.ModuleType, *_FIXED)):
            return isinstance(owner, type) and (id(owner) in _BUILTINS or self._is_of_the_lists(owner))
        if not isinstance(value, (type, types.BuiltinFunctionType, np.ufunc)) and not _is_numpys(value):
            return False
        module = "numpy" if isinstance(value, np.ufunc) else getattr(value, "__module__", None)
        return module in _MODULES and not value.__name__.startswith(_OF_A_PROCESS)

    def _function(self, func: types.FunctionType) -> None:
        module = func.__module__ or ""
        if module in _MODULES and getattr(sys.modules.get(module), func.__name__, None) is func:
            if func.__name__.startswith(_OF_A_PROCESS):
                raise _UnsafeError
            return
        code = func.__code__
        self.at_all([*(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).values()])
        cells = _cells(func)
        for inner in codes(code):
            if inner.co_flags & _WITH_STATE and inner is code:
                raise _UnsafeError
            self._code(inner, func.__globals__, cells)

    def _code(self, code: types.CodeType, space: dict[str, Any], cells: dict[str, Any]) -> None:
        steps = _steps(code)
        for at, step in enumerate(steps):
            name = step.argval
            if step.opname in _FORBIDDEN or (step.opname in ("STORE_DEREF", "DELETE_DEREF") and name in cells):
                raise _UnsafeError
            if step.opname in _WRITES or (step.opname == "BINARY_OP" and step.argrepr.endswith("=")):
                self._changes = True
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
                if name.startswith("__"):
                    raise _UnsafeError
                self._changes |= name in _CHANGING
            elif step.opname in ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_FROM_DICT_OR_DEREF"):
                if step.opname != "LOAD_GLOBAL" and name not in cells:
                    continue  # a variable of this function's own, which an inner one uses
                self._use(_loaded(step, space, cells), [later.argval for later in _attributes(steps[at + 1 :])])
            elif step.opname in ("KW_NAMES", "LOAD_CONST") and type(name) is tuple:
                self._changes |= "out" in name

    def _use(self, value: Any, attributes: list[str]) -> None:
        """Look at a global and the attributes that are taken of it: of a module only what is named counts."""
        for name in attributes:
            if not isinstance(value, types.ModuleType):
                break
            if value.__name__ not in _MODULES:
                raise _UnsafeError
            value = getattr(value, name)
        else:
            attributes = []
        if isinstance(value, types.ModuleType) or (attributes and isinstance(value, types.FunctionType)):
            raise _UnsafeError
        self.at(value)


def _attributes(steps: list[Any]) -> list[Any]:
    """The steps that take an attribute of what is on top of the stack, one after the other."""
    taken = []
    for step in steps:
        if step.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            break
        taken.append(step)
    return taken


def _steps(code: types.CodeType) -> list[Any]:
    return [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "EXTENDED_ARG", "NOP")]


def _cells(func: types.FunctionType) -> dict[str, Any]:
    return dict(zip(func.__code__.co_freevars, func.__closure__ or (), strict=True))


def _loaded(step: Any, space: dict[str, Any], cells: dict[str, Any]) -> Any:
    """The value of a global, a builtin, or a variable of a function around."""
    name = step.argval
    if step.opname != "LOAD_GLOBAL":
        return cells[name].cell_contents
    return space[name] if name in space else getattr(builtins, name)


def _is_numpys(value: Any) -> bool:
    """Whether a module of NumPy's has it by its name, as ``numpy.where``."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", "")
    return module == "numpy" and getattr(np, name, None) is value


def _has_fixed_values(data: Any) -> bool:
    """Whether nobody can change the values of a frame or Series: the same object may stand in several rows."""
    if not isinstance(data, pd.DataFrame):
        return _is_fixed(data)
    # Else row["a"] may be several values.
    is_plain = data.columns.is_unique and not isinstance(data.columns, pd.MultiIndex)
    return is_plain and all(_is_fixed(data.iloc[:, at]) for at in range(data.shape[1]))


def _is_fixed(column: pd.Series) -> bool:
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    dtype = values.dtype
    if is_object_dtype(dtype):
        return infer_dtype(values, skipna=True) in _FIXED_KINDS
    # A dtype of another package's may do what it likes when a value is taken.
    return isinstance(dtype, np.dtype) or type(dtype).__module__.partition(".")[0] == "pandas"
