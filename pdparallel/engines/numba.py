"""Functions of numbers, compiled by numba: ``engine="numba"``.

Compiled code gives Python's result, or raises so that Python computes the row. See :mod:`.numba_checked`.
"""

from __future__ import annotations

import builtins
import collections
import functools
import inspect
import linecache
import re
import threading
import types as python_types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numba
import numpy as np
from numba import types

from pdparallel.core.call import Work
from pdparallel.core.format import shortened
from pdparallel.data.numeric_units import Layout
from pdparallel.engines import numba_checked as checked
from pdparallel.engines.numba_origins import NUMPY, PYTHON, UNIT, returned_origins, without_whole
from pdparallel.engines.numba_passes import Compilation, Dependency, current, is_dispatcher
from pdparallel.engines.numba_review import OF_SERIES, Kinds, NotCompilableError, kinds_of, review
from pdparallel.errors import FunctionNotCompilableError

__all__ = ["Compiled", "compiled"]


#: Number of compiled functions that are kept.
MAX_KEPT = 64

#: One compilation at a time; numba has such a lock, too.
_lock = threading.RLock()


@dataclass
class Compiled:
    """A function that is compiled for one layout of units."""

    layout: Layout
    arguments: tuple[Any, ...]
    kinds: Kinds
    seconds: float
    _function: Any
    _dependencies: list[Dependency]
    _kernels: dict[int, Any] = field(default_factory=dict)

    def still_holds(self, func: Any) -> bool:
        """Return whether all values that the code contains are as they were."""
        return all(_same(_now(one, func), one.value) for one in self._dependencies)

    def run(self, units: Any, n: int, length: int | None) -> tuple[list[np.ndarray], list[int]]:
        """Compute units; return one array for each value of a return, and the positions that Python must compute."""
        width = length if self.kinds.container is list else len(self.kinds.dtypes)
        assert width is not None
        if width == 0:  # empty lists, or all rows that were tried have failed
            return [], list(range(n))
        dtypes = self.kinds.dtypes * width if self.kinds.container is list else self.kinds.dtypes
        outs = tuple(np.zeros(n, dtype) for dtype in dtypes)
        at, start, left = np.zeros(1, np.int64), 0, list[int]()
        kernel = self._kernel(width)
        while start < n:
            try:
                kernel(units, self.arguments, outs, at, start, n)
                break
            except Exception:
                left.append(int(at[0]))
                start = left[-1] + 1
                if len(left) > 100 and len(left) > start / 4:
                    left += range(start, n)
                    break
        return list(outs), left

    def _kernel(self, width: int) -> Any:
        with _lock:
            if width not in self._kernels:
                self._kernels[width] = _kernel(self, width)
            return self._kernels[width]


def _kernel(function: Compiled, width: int) -> Any:
    unit, names = _unit_source(function.layout), {"function": function._function}
    if function.layout.format == "namedtuple":
        names["Row"] = _row_class(function.layout)
    arguments = "".join(f", arguments[{at}]" for at in range(len(function.arguments)))
    lines = ["def kernel(units, arguments, outs, at, start, stop):", " for i in range(start, stop):", "  at[0] = i",
             f"  result = function({unit}{arguments})"]  # fmt: skip
    if function.kinds.container is list:
        lines.append(f"  if len(result) != {width}: raise ValueError")
    inner = "" if function.kinds.container is None else "[{at}]"
    lines += [f"  outs[{at}][i] = result{inner.format(at=at)}" for at in range(width)]
    exec("\n".join(lines), names)  # only names of this module
    return numba.njit(nogil=True, no_cfunc_wrapper=True)(names["kernel"])


def _unit_source(layout: Layout) -> str:
    if layout.format in ("record", "array", "value"):
        return "units[i]"
    if layout.format == "window":
        return "units[0][units[1][i]:units[2][i]]"
    values = ", ".join(f"units[{at}][i]" for at in range(len(layout.fields)))
    return f"Row({values})" if layout.format == "namedtuple" else f"({values},)"


@functools.cache
def _row_class(layout: Layout) -> Any:
    return collections.namedtuple("Pandas", [name for name, _ in layout.fields], rename=True)


def _unit_type(layout: Layout) -> Any:
    kinds = [numba.from_dtype(np.dtype(dtype)) for _, dtype in layout.fields]
    if layout.format == "record":
        return numba.typeof(np.zeros(1, layout.dtype)).dtype
    if layout.format in ("array", "window"):
        return types.Array(kinds[0], 1, "C", readonly=True)
    if layout.format == "value":
        return kinds[0]
    if layout.format == "namedtuple":
        return (
            types.NamedTuple(kinds, _row_class(layout))
            if len(set(kinds)) > 1
            else types.NamedUniTuple(kinds[0], len(kinds), _row_class(layout))
        )
    return types.Tuple(kinds)


_kept: collections.OrderedDict[Any, list[Compiled]] = collections.OrderedDict()


def compiled(work: Work, layout: Layout, exact: bool, clock: Callable[[], float]) -> Compiled:
    """Compile the function of a call for a layout of units, or return the compiled function of an earlier call.

    Raises
    ------
    FunctionNotCompilableError
        With the line of the function, and the reason.
    """
    func, given = _plain_function(work, layout)
    try:
        kinds = tuple(map(numba.typeof, given))
    except Exception:
        bad = next(number for number, one in enumerate(given) if not _has_type(one))
        what = "an integer of more than 64 bits" if isinstance(given[bad], int) else f"a {type(given[bad]).__name__}"
        reason = f"argument {bad + 2} is {what}. Give numbers, or tuples and arrays of numbers"
        raise _error(func, NotCompilableError(reason)) from None
    with _lock:
        key = (func.__code__, id(func.__globals__), layout, kinds, exact)
        for one in _kept.get(key, ()):
            if one.still_holds(func):
                _kept.move_to_end(key)
                return replace(one, arguments=given, seconds=0.0)
        began = clock()
        made = _compile(func, given, kinds, layout, exact)
        made.seconds = clock() - began
        _kept.setdefault(key, []).append(made)
        _kept[key] = _kept[key][-4:]
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
        return made


def _with_origins(kinds: Kinds, dispatcher: Any, given: tuple[Any, ...]) -> Kinds:
    arguments = [frozenset((UNIT,)), *(frozenset((_origin(one),)) for one in given)]
    return replace(kinds, origins=tuple(map(without_whole, returned_origins(dispatcher, arguments))))


def _origin(value: Any) -> str:
    return NUMPY if isinstance(value, (np.generic, np.ndarray)) else PYTHON


def _has_type(value: Any) -> bool:
    try:
        return numba.typeof(value) is not None
    except Exception:
        return False


def _compile(func: Any, given: tuple[Any, ...], kinds: tuple[Any, ...], layout: Layout, exact: bool) -> Compiled:
    compilation = Compilation(func, exact)
    current.compilation = compilation
    try:
        for setting, is_set in (
            ("NUMBA_DISABLE_JIT=1", numba.config.DISABLE_JIT), ("NUMBA_BOUNDSCHECK=0", numba.config.BOUNDSCHECK == 0),
        ):  # fmt: skip
            if is_set:
                raise NotCompilableError(f"the environment variable {setting} turns off what it needs")
        if exact and not checked.is_exact_power():
            raise NotCompilableError("the C library of this machine computes powers in another way than Python")
        dispatcher = compilation.dispatcher(func)
        unit = _unit_type(layout)
        dispatcher.compile((unit, *kinds))
        returned = dispatcher.overloads[unit, *kinds].signature.return_type
        mixed = review(compilation)
        made = Compiled(
            layout,
            given,
            _with_origins(kinds_of(returned, mixed), dispatcher, given),
            0.0,
            dispatcher,
            compilation.dependencies,
        )
        if made.kinds.container is not list:
            made._kernel(len(made.kinds.dtypes))
        return made
    except NotCompilableError as error:
        raise _error(func, error) from None
    except numba.core.errors.NumbaError as error:
        raise _error(func, _explained(error)) from error
    except checked.UnsafeTypesError as error:
        raise _error(func, NotCompilableError(str(error))) from None
    except KeyError as error:  # an attribute of a record
        name = error.args[0]
        what = (
            f"the attribute row.{name} of a Series"
            if name in OF_SERIES
            else f"row.{name}, which is no column of numbers"
        )
        raise _error(func, NotCompilableError(f"it uses {what}")) from error
    except Exception as error:  # numba raises many kinds
        raise _error(func, _of_other_error(error)) from error
    finally:
        current.compilation = None


def _plain_function(work: Work, layout: Layout) -> tuple[python_types.FunctionType, tuple[Any, ...]]:
    """Return the function as a plain one, and its arguments after the unit."""
    func, args, kwargs = work.func, work.args, dict(work.kwargs)
    while isinstance(func, functools.partial):
        if func.args:
            break
        kwargs, func = {**func.keywords, **kwargs}, func.func
    is_made = is_dispatcher(func) or isinstance(func, python_types.BuiltinFunctionType)
    if is_made and layout.format == "record":
        name = getattr(func, "__name__", "it")
        raise FunctionNotCompilableError(
            f"The function {name!r} cannot be compiled for rows of pandas: it takes numbers. Give a Python function "
            f"that reads the row: lambda row: {name}(row['a'])."
        )
    if is_dispatcher(func):
        inner: Any = func
        func = inner.py_func
    if isinstance(func, (python_types.BuiltinFunctionType, type)):
        func = _of_builtin(func)
    if not isinstance(func, python_types.FunctionType):
        reason = f"it is a {type(func).__name__}. Give a function that is defined by def or lambda"
        raise FunctionNotCompilableError(f"numba cannot compile the function: {reason}.")
    try:
        bound = inspect.signature(func, follow_wrapped=False).bind(None, *args, **kwargs)
    except TypeError as error:
        raise _error(func, NotCompilableError(str(error))) from None
    bound.apply_defaults()
    if bound.kwargs:
        raise _error(func, NotCompilableError("it has parameters that are given by name only"))
    return func, tuple(bound.args[1:])


@functools.cache
def _of_builtin(func: Any) -> Any:
    return lambda value: func(value)


def _now(one: Dependency, func: Any) -> Any:
    owner = func if one.owner is None else one.owner
    if one.kind == "attribute":
        return getattr(owner, one.name, None)
    if one.kind == "global":
        return owner.__globals__.get(one.name, getattr(builtins, one.name, None))
    names = owner.__code__.co_freevars
    try:
        return owner.__closure__[names.index(one.name)].cell_contents
    except (ValueError, IndexError, TypeError):
        return one


def _same(now: Any, then: Any) -> bool:
    if now is then:
        return True
    if isinstance(now, tuple) and isinstance(then, tuple):
        return len(now) == len(then) and all(map(_same, now, then))
    if type(now) is not type(then):
        return False
    if isinstance(now, np.ndarray):
        return bool(now.dtype == then.dtype and now.shape == then.shape and now.tobytes() == then.tobytes())
    return isinstance(now, (bool, int, float, str)) and repr(now) == repr(then)


_PLACE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')

#: Starts of lines of numba's messages that say nothing about the function.
_NOISE = (
    "Failed in", "During:", "File ", "^", "<source", "There are", "- Of which", "Overload", "with argument",
)  # fmt: skip


def _explained(error: Any) -> NotCompilableError:
    """Return the reason of numba's error in one sentence, with the line."""
    cause: Any = error
    while cause is not None:
        if isinstance(cause, (NotCompilableError, checked.UnsafeTypesError)):
            break
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    places = _PLACE.findall(text)
    line = int(places[-1][1]) if places else getattr(getattr(error, "loc", None), "line", None)
    if isinstance(cause, NotCompilableError):
        return NotCompilableError(cause.reason, cause.line or line)
    if isinstance(cause, checked.UnsafeTypesError):
        return NotCompilableError(str(cause), line)
    unsafe = re.search(r"UnsafeTypesError: (.*)", text) or re.search(r"(The operator \S+ gets [^\n]*)", text)
    if unsafe:
        return NotCompilableError(unsafe[1].strip(), line)
    lines = [one.strip() for one in text.splitlines() if one.strip()]
    useful = [one for one in lines if not one.startswith(_NOISE)]
    reason = useful[0] if useful else type(error).__name__
    if "f-string" in text:
        return NotCompilableError("it makes a text. Compiled code computes with numbers", line)
    field_ = re.search(r"Field '([^']*)' was not found", text)
    if field_:
        return NotCompilableError(f"it reads {field_[1]!r}, which is no column of numbers", line)
    unknown = re.search(r"No implementation of function Function\(<([^\n]*)>\) found", text)
    if unknown:
        given = re.search(r">>> .*?\(([^\n]*)\)", text)
        name = re.sub(r"^(built-in function|intrinsic|function|ufunc|class) | at 0x\w+$|'", "", unknown[1])
        name = {"getitem": "the index [...]", "eq": "operator ==", "ne": "operator !="}.get(name, name)
        kinds = f" for ({_plain_types(given[1])})" if given else ""
        return NotCompilableError(f"compiled code does not know {name}{kinds}", line)
    known = re.search(r"Unknown attribute '(\w+)' of type (\w+)", text)
    if known:
        reason = f"numba does not know the attribute {known[1]!r}" + (" of a row" if known[2] == "Record" else "")
    return NotCompilableError(f"numba says: {reason}" if not known else reason, line)


def _plain_types(text: str) -> str:
    """Return numba's names of types in plain words."""
    text = re.sub(r"Record\([^()]*(\([^()]*\)[^()]*)*\)", "row", text)
    text = re.sub(r"(Literal\[str\]\([^()]*\)|unicode_type)", "text", text)
    return shortened(re.sub(r"Literal\[(\w+)\]\([^()]*\)", r"\1", text))


def _of_other_error(error: Exception) -> NotCompilableError:
    """Return the reason of an error that is none of numba's classes."""
    text = str(error) or type(error).__name__
    line = re.search(r"\((\d+)\)\s*$", text)
    opcode = re.search(r"opcode \((\w+)\)", text)
    lowering = re.search(r"No definition for lowering <[\w-]+ function (\w+)>\(([^\n]*)\) ->", text)
    if lowering is not None:
        name = {"eq": "==", "ne": "!="}.get(lowering[1], lowering[1])
        return NotCompilableError(f"compiled code does not know operator {name} for ({_plain_types(lowering[2])})")
    reason = "it makes a text. Compiled code computes with numbers" if "f-string" in text else f"numba says: {text}"
    if opcode is not None:
        reason = f"it uses what numba does not know ({opcode[1]})"
        if opcode[1].startswith(("FORMAT", "BUILD_STRING", "CONVERT")):
            reason = "it makes a text. Compiled code computes with numbers"
        elif "GLOBAL" in opcode[1] or "DEREF" in opcode[1]:
            reason = "it assigns a global variable, or a variable of an outer function. Return the value instead"
    return NotCompilableError(reason, int(line[1]) if line is not None else None)


def _error(func: Any, error: NotCompilableError) -> FunctionNotCompilableError:
    code = func.__code__
    line = error.line or code.co_firstlineno
    source = linecache.getline(code.co_filename, line).strip()
    place = f"{code.co_filename}, line {line}" + (f": {shortened(source)}" if source else "")
    return FunctionNotCompilableError(
        f"The function {func.__name__!r} cannot be compiled: {error.reason.rstrip('.')}.\n{place}\n"
        "Without engine='numba' the call runs any function."
    )
