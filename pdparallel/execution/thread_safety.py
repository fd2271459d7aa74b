"""Check whether threads may run a function at the same time, as far as its code shows.

On a Python without the GIL, ``engine="auto"`` runs such functions in threads of this process. All others run in worker
processes, which share no objects. A function is safe if all of this holds:

- It gets plain values, or reads its row as ``row["a"]`` or ``row.a`` with labels of columns, or by a loop.
- It names only immutable values, safe functions, and the parts of Python, its standard library and NumPy listed here.
- It assigns no global, no variable of an outer function, and no attribute.

Methods of pandas are not listed: many change the warning filters for a moment, and all threads share these.
"""

from __future__ import annotations

import builtins
import datetime
import decimal
import fractions
import functools
import re
import sys
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from pdparallel.core.call import Call
from pdparallel.core.code_objects import codes, steps_of
from pdparallel.data.fastpath.labels_read import cells_of, labels_read, value_loaded
from pdparallel.data.fastpath.type_checks import is_trusted

__all__ = ["is_thread_safe"]

#: Largest number of objects that are checked for one call.
MAX_OBJECTS = 200

_FORMATS = frozenset({"row", "row-tuple", "row-namedtuple", "row-dict", "value"})

_BUILTINS = frozenset(
    id(getattr(builtins, name))
    for name in (
        "abs", "all", "any", "ascii", "bin", "bool", "bytes", "chr", "complex", "dict", "divmod", "enumerate",
        "float", "format", "frozenset", "hex", "int", "isinstance", "len", "list", "max", "min", "oct", "ord", "pow",
        "range", "repr", "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "zip",
    )
)  # fmt: skip

#: Modules whose functions and constants keep no state between calls.
_MODULES = frozenset(
    {
        "base64", "binascii", "cmath", "datetime", "decimal", "fractions", "hashlib", "html", "itertools", "json",
        "math", "numpy", "re", "struct", "textwrap", "time", "unicodedata", "urllib", "urllib.parse", "zlib",
    }
)  # fmt: skip

#: Safe functions of NumPy, besides its universal functions, scalar types and constants.
_OF_NUMPY = frozenset({"array_equal", "clip", "interp", "isclose", "round", "where"})

#: Functions of the other modules that change state.
_REFUSED = frozenset({"setcontext", "getcontext", "localcontext", "tzset", "purge", "JSONEncoder", "JSONDecoder"})

#: Attributes that lead to frames and modules, or write files, and all that begin with an underscore.
_REFUSED_ATTRIBUTES = re.compile(r"_|gi_|cr_|ag_|tb_|f_|(tofile|dump|setflags)$")

#: Types with immutable values. Their subclasses may be mutable.
_FIXED = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, range, type(...), re.Pattern, datetime.date,
        datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone, decimal.Decimal, fractions.Fraction,
        pd.Timestamp, pd.Timedelta, type(pd.NaT), type(pd.NA),
    }
    | {kind for kind in vars(np).values() if isinstance(kind, type) and issubclass(kind, np.generic)}
) - {np.void, np.object_}  # fmt: skip

#: Types whose methods change nothing, for example ``str.upper``.
_UNCHANGED = frozenset({bool, int, float, complex, str, bytes, tuple, frozenset, range})

_FORBIDDEN = frozenset(
    {
        "IMPORT_NAME", "LOAD_BUILD_CLASS", "LOAD_NAME", "STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL",
        "DELETE_SUBSCR",
    }
)  # fmt: skip

_GENERATOR_OR_COROUTINE = 0x20 | 0x80 | 0x100 | 0x200


def is_thread_safe(call: Call) -> bool:
    """Return whether threads may run the function of a call at the same time, each with other units."""
    work = call.work
    data: Any = call.data
    if work.unit_format not in _FORMATS or work.seed is not None or type(data) not in (pd.DataFrame, pd.Series):
        return False
    try:
        func: Any = work.func
        place, look = 0, _Look()
        while type(func) is functools.partial:
            look.at_all([*func.args, *func.keywords.values()])
            func, place = func.func, place + len(func.args)
        if work.unit_format == "row" and not _gets_plain_values(func, place, data.columns):
            return False
        look.at(func)
        look.at_all(work.given)
        columns = [data.iloc[:, at] for at in range(data.shape[1])] if data.ndim == 2 else [data]
        return all(map(_has_fixed_values, [data.index, *columns]))
    except Exception:  # _UnsafeError, or the error of a user's object that refuses the check
        return False


def _gets_plain_values(func: Any, place: int, labels: pd.Index) -> bool:
    """Return whether a function only reads single values of its row: no method, no part, no assignment."""
    if not labels.is_unique or isinstance(labels, pd.MultiIndex) or not all(type(label) is str for label in labels):
        return False
    return labels_read(func, place, labels) is not None


class _UnsafeError(Exception):
    """Error that ends the check of an unsafe function."""


class _Look:
    """Check of all objects that a function names."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # keeps the objects alive, so that no id is reused

    def at_all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.at(value)

    def at(self, value: Any) -> None:
        """Check a value that code names and may call."""
        kind = type(value)
        if kind in _FIXED or id(value) in self._seen or id(value) in _BUILTINS:
            return
        self._seen[id(value)] = value
        if len(self._seen) > MAX_OBJECTS:
            raise _UnsafeError
        if kind in (tuple, frozenset):
            self.at_all(value)
        elif kind is types.FunctionType and not _is_listed(value):
            self._function(value)
        elif not (_is_listed(value) or _is_method_of_fixed(value) or _is_exception(value)):
            raise _UnsafeError

    def _function(self, func: types.FunctionType) -> None:
        code = func.__code__
        if code.co_flags & _GENERATOR_OR_COROUTINE or func.__dict__:
            raise _UnsafeError
        self.at_all([*(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).values()])
        cells = cells_of(func)
        for inner in codes(code):
            self._code(inner, func.__globals__, cells)

    def _code(self, code: types.CodeType, space: dict[str, Any], cells: dict[str, Any]) -> None:
        steps = steps_of(code)
        for at, step in enumerate(steps):
            name = step.argval
            if step.opname in _FORBIDDEN or (step.opname in ("STORE_DEREF", "DELETE_DEREF") and name in cells):
                raise _UnsafeError
            if step.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
                if _REFUSED_ATTRIBUTES.match(name):
                    raise _UnsafeError
            elif step.opname == "LOAD_GLOBAL" or (step.opname.startswith("LOAD_") and name in cells):
                self._use(value_loaded(step, space, cells), steps[at + 1 :])

    def _use(self, value: Any, steps: list[Any]) -> None:
        """Check a global; of a module, check only the attribute that the code names."""
        for step in steps:
            if not isinstance(value, types.ModuleType):
                break
            if step.opname not in ("LOAD_ATTR", "LOAD_METHOD") or not _is_module(value.__name__):
                raise _UnsafeError
            value = getattr(value, step.argval)
        if isinstance(value, types.ModuleType):
            raise _UnsafeError
        self.at(value)


def _is_module(name: Any) -> bool:
    """Return whether a module is listed, and not a file of the user with the same name."""
    return name in _MODULES and is_trusted(name)


def _is_listed(value: Any) -> bool:
    """Return whether a function or class is in a listed module, under its name."""
    name = getattr(value, "__name__", "")
    if isinstance(value, np.ufunc):
        return getattr(np, name, None) is value
    module = getattr(value, "__module__", None)
    module = {"_hashlib": "hashlib", "_struct": "struct"}.get(module or "", module)
    if not _is_module(module) or getattr(sys.modules.get(module or ""), name, None) is not value:
        return False
    if module == "numpy":
        return name in _OF_NUMPY or value in _FIXED
    return name not in _REFUSED


def _is_method_of_fixed(value: Any) -> bool:
    """Return whether it is a method of an immutable value or type: ``str.upper``, ``PATTERN.sub``."""
    if isinstance(value, types.MethodDescriptorType):
        return value.__objclass__ in _UNCHANGED
    if isinstance(value, types.BuiltinFunctionType):
        return type(value.__self__) in _FIXED or value.__self__ in _FIXED
    return False


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == "builtins"


def _has_fixed_values(values: Any) -> bool:
    """Return whether the values of a column or index are immutable, because rows may share an object."""
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.categories
    if isinstance(values, pd.MultiIndex):
        return all(map(_has_fixed_values, values.levels))
    if is_object_dtype(values.dtype):
        return set(map(type, values)) <= _FIXED
    # The dtype of another package may run any code when a value is read.
    return isinstance(values.dtype, np.dtype) or type(values.dtype).__module__.partition(".")[0] == "pandas"
