"""Whether the numbers that a function returns are Python's or NumPy's, read from its typed code."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
from numba import types
from numba.core import ir

from pdparallel.engines import numba_checked as checked

__all__ = ["NUMPY", "PYTHON", "UNIT", "returned_origins", "without_whole"]

#: Python's number, NumPy's number, or as in the unit that the function gets.
PYTHON, NUMPY, UNIT = "python", "numpy", "unit"

#: Start of the origin of an integer that compiled code makes a float.
WHOLE = "whole "

_NOTHING: frozenset[str] = frozenset()
_PYTHON, _NUMPY, _ANY = frozenset((PYTHON,)), frozenset((NUMPY,)), frozenset((PYTHON, NUMPY))

#: Functions whose results are Python's numbers.
_OF_PYTHON = frozenset((
    *(one for one in checked.OF_FLOATS if getattr(one, "__module__", "") == "math"),
    *(checked.SUBSTITUTES[id(one)] for one in (
        math.sqrt, math.sin, math.cos, math.tan, math.asin, math.acos, math.atan, math.sinh, math.cosh, math.tanh,
        math.asinh, math.acosh, math.atanh, math.exp, math.expm1, math.log1p, math.log10, math.log2, math.floor,
        math.ceil, math.trunc, builtins.int, builtins.float, math.log, math.pow,
    )),
    bool, len, range, checked.COMPARISONS[checked.CONTAINS],
))  # fmt: skip

#: Functions whose results are NumPy's numbers.
_OF_NUMPY = frozenset(checked.METHODS.values())

#: Functions whose results are one of their arguments, or like them.
_LIKE_ARGUMENTS = frozenset((zip, tuple, slice))

_OPERATORS = frozenset((*checked.OF_ARITHMETIC, *checked.COMPARISONS.values()))


def returned_origins(dispatcher: Any, arguments: list[frozenset[str]], depth: int = 0) -> list[frozenset[str]]:
    """Return the origins of each value that a compiled function returns; for a list, of all its values."""
    found: dict[str, Any] = {}
    (made, *more) = dispatcher.overloads.values()
    if more or depth > 5:
        return [_ANY]
    blocks, kinds = made.type_annotation.blocks, made.type_annotation.typemap
    returned: list[Any] = []
    changed = True
    while changed:
        changed = False
        returned = []
        for block in blocks.values():
            for statement in block.body:
                if isinstance(statement, ir.Return):
                    returned.append(found.get(statement.value.name, _NOTHING))
                if not isinstance(statement, ir.Assign):
                    continue
                for name, origin in _assigned(statement, block, kinds, found, arguments, depth):
                    now = _union(found.get(name, _NOTHING), origin)
                    changed = changed or now != found.get(name, _NOTHING)
                    found[name] = now
    whole: Any = _NOTHING
    for one in returned:
        whole = _union(whole, one)
    return list(whole) if isinstance(whole, tuple) else [whole]


def without_whole(origin: Any) -> frozenset[str]:
    """Return the origins of the values that Python does not compute again."""
    return frozenset(one for one in _flat(origin) if not one.startswith(WHOLE))


def _assigned(statement: Any, block: Any, kinds: Any, found: Any, arguments: Any, depth: int) -> Any:
    value, target = statement.value, statement.target.name
    if isinstance(value, ir.Arg):
        return [(target, arguments[value.index] if value.index < len(arguments) else _PYTHON)]
    if isinstance(value, (ir.Const, ir.Global, ir.FreeVar)):
        return [(target, _of_constant(value.value))]
    if isinstance(value, ir.Var) or (isinstance(value, ir.Expr) and value.op == "cast"):
        source = value if isinstance(value, ir.Var) else value.value
        return [(target, _as(found.get(source.name, _NOTHING), kinds[source.name], kinds[target]))]
    if not isinstance(value, ir.Expr):
        return [(target, _ANY)]
    if value.op == "call":
        called = kinds.get(value.func.name)
        if isinstance(called, types.BoundFunction) and isinstance(called.this, types.List):
            of = next((
                one.value.value.name for one in block.find_insts(ir.Assign)
                if one.target.name == value.func.name and isinstance(one.value, ir.Expr)
            ), "")  # fmt: skip
            given = _of_all(value.args, found)
            return [(of, given), (target, found.get(of, _NOTHING))]
        return [(target, _of_call(value, called, target, kinds, found, depth))]
    if value.op == "build_tuple":
        return [(target, tuple(found.get(one.name, _NOTHING) for one in value.items))]
    if value.op in ("unary", "getiter", "iternext", "pair_first", "exhaust_iter", "getattr", "build_list"):
        if value.op == "unary":
            return [(target, _PYTHON)]  # not x
        sources = value.items if value.op == "build_list" else [value.value]
        return [(target, _of_all(sources, found) if value.op == "build_list" else found.get(sources[0].name, _NOTHING))]
    if value.op in ("getitem", "static_getitem"):
        of = found.get(value.value.name, _NOTHING)
        if isinstance(of, tuple):
            at = value.index if value.op == "static_getitem" else None
            return [(target, of[at] if isinstance(at, (int, slice)) else _flat(of))]
        return [(target, of)]
    return [(target, _PYTHON if value.op == "pair_second" else _ANY)]


def _of_call(call: Any, called: Any, target: str, kinds: Any, found: Any, depth: int) -> Any:
    function = called.dispatcher if isinstance(called, types.Dispatcher) else getattr(called, "typing_key", None)
    names = [*call.args, *(one for _, one in call.kws)]
    if function in _OF_PYTHON:
        return _PYTHON
    if function in _OPERATORS:
        result = _flat(found.get(names[0].name, _NOTHING))
        for one in names[1:]:
            result = _combined(result, _flat(found.get(one.name, _NOTHING)))
        return result
    if function in _OF_NUMPY or isinstance(called, types.BoundFunction) or _is_numpy(function):
        return _NUMPY
    if function is checked.SUBSTITUTES[id(builtins.round)]:
        return _flat(found.get(names[0].name, _NOTHING)) if len(names) > 1 else _PYTHON
    if function is abs:
        return found.get(names[0].name, _NOTHING)
    if function is enumerate:
        return (_PYTHON, _of_all(names, found))
    if function in (min, max):
        result = kinds[target]
        return _NOTHING.union(*(_flat(_as(found.get(one.name, _NOTHING), kinds[one.name], result)) for one in names))
    if function in _LIKE_ARGUMENTS:
        return _of_all(names, found)
    if isinstance(called, types.Dispatcher) and not call.kws and not call.vararg:
        given = [found.get(one.name, _NOTHING) for one in names]
        each = returned_origins(function, given, depth + 1)
        return tuple(each) if len(each) > 1 else each[0]
    return _ANY


def _as(origin: Any, source: Any, target: Any) -> Any:
    """Return the origin of a value in another type. Python computes the units that return an integer as float."""
    if isinstance(origin, tuple) and isinstance(target, types.BaseTuple) and isinstance(source, types.BaseTuple):
        return tuple(map(_as, origin, source.types, target.types))
    if isinstance(target, types.Float) and isinstance(source, types.Integer) and not isinstance(origin, tuple):
        return frozenset(WHOLE + one.removeprefix(WHOLE) for one in origin)
    return origin


def _is_numpy(function: Any) -> bool:
    return isinstance(function, np.ufunc) or str(getattr(function, "__module__", "")).partition(".")[0] == "numpy"


def _of_constant(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_of_constant, value))
    return _NUMPY if isinstance(value, (np.ndarray, np.generic)) else _PYTHON


def _of_all(variables: Any, found: Any) -> frozenset[str]:
    return _NOTHING.union(*(_flat(found.get(one.name, _NOTHING)) for one in variables))


def _flat(origin: Any) -> frozenset[str]:
    return _NOTHING.union(*map(_flat, origin)) if isinstance(origin, tuple) else origin


def _union(one: Any, other: Any) -> Any:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return tuple(map(_union, one, other))
    if not one or not other:
        return one or other
    return _flat(one) | _flat(other)


def _combined(left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    """Return the origins of the result of an operator."""
    found = {
        NUMPY if NUMPY in (one, other) else UNIT if UNIT in (one, other) else PYTHON for one in left for other in right
    }
    return frozenset(found) if left and right else _NOTHING
