"""Operators and functions for compiled code that give Python's result, or raise.

A row for which they raise is computed by Python. So integers do not wrap, a square root of a negative number has its
own exception, and the last digit of a power is that of Python.
"""

from __future__ import annotations

import builtins
import ctypes
import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import literal_unroll, types
from numba.core import cgutils
from numba.core.typing import signature
from numba.extending import intrinsic, overload, register_jitable

__all__ = [
    "ALLOWED",
    "ALLOWED_METHODS",
    "ARITHMETIC",
    "COMPARISONS",
    "CONTAINS",
    "METHODS",
    "OF_ARITHMETIC",
    "OF_FLOATS",
    "OF_NARROW",
    "OF_WHOLE",
    "REFUSED",
    "SUBSTITUTES",
    "UnsafeTypesError",
    "is_exact_power",
    "is_integer",
    "is_large",
    "is_least",
    "is_unlike_integer",
    "raise_if",
]

#: Largest integer up to which all integers are floats.
_LARGEST_EXACT = 1 << 53

_LEAST = -(1 << 63)

_PLAIN = (types.int64, types.float64, types.boolean)


class UnsafeTypesError(Exception):
    """Error that an operator has types for which compiled code and Python differ."""


class _NeedsPythonError(ArithmeticError):
    """Error that Python must compute this row."""


def _plain(kind: Any) -> Any:
    return kind.literal_type if isinstance(kind, types.Literal) else kind


def _name(kind: Any) -> str:
    return "bool" if kind == types.boolean else str(_plain(kind))


#: Operators that have a meaning for bools.
_OF_BITS = ("&", "|", "^")


def _check_operands(symbol: str, kinds: tuple[Any, ...], compares: bool) -> None:
    """Refuse operands for which compiled code has other rules than Python or NumPy."""
    kinds = tuple(map(_plain, kinds))
    arrays = [kind.dtype for kind in kinds if isinstance(kind, types.Array)]
    numbers = [kind for kind in (*arrays, *kinds) if isinstance(kind, (types.Number, types.Boolean))]
    if len(numbers) < len(kinds):
        return
    narrow = next((kind for kind in numbers if kind not in _PLAIN), None)
    if narrow is not None and not (compares and len(set(numbers)) == 1):
        raise UnsafeTypesError(
            f"The operator {symbol} gets a {_name(narrow)}. Compiled code has other rules for such narrow or unsigned "
            f"numbers. Convert it first, as in float(row['x']) or df.astype('float64')"
        )
    if arrays and (symbol in ("<<", ">>") or (symbol in ("//", "%") and types.float64 in numbers)):
        raise UnsafeTypesError(f"The operator {symbol} gets an array. Compiled code has other rules for that")
    if not compares and symbol not in _OF_BITS and all(kind == types.boolean for kind in numbers):
        raise UnsafeTypesError(
            f"The operator {symbol} gets only bools. Python and NumPy have other rules for that. Convert them first, "
            "as in int(row['x'])"
        )


def raise_if(context: Any, builder: Any, when: Any) -> None:
    """Let Python compute the row if a bit is set."""
    with cgutils.if_unlikely(builder, when):
        context.call_conv.return_user_exc(builder, _NeedsPythonError, ("Python computes this row",))


def is_large(builder: Any, value: Any) -> Any:
    """Return whether an integer is beyond those that are all floats."""
    most = value.type(_LARGEST_EXACT)
    return builder.or_(
        builder.icmp_signed(">", value, most), builder.icmp_signed("<", value, value.type(-_LARGEST_EXACT))
    )


def is_least(builder: Any, value: Any) -> Any:
    """Return whether an integer is the least one, which has no negative."""
    return builder.icmp_signed("==", value, value.type(_LEAST))


def _is_beyond(builder: Any, value: Any) -> Any:
    most = value.type(float(_LARGEST_EXACT))
    return builder.or_(
        builder.fcmp_ordered(">", value, most), builder.fcmp_ordered("<", value, value.type(-float(_LARGEST_EXACT)))
    )


def is_unlike_integer(builder: Any, value: Any) -> Any:
    """Return whether a float may differ from the result of the same operation with integers."""
    bits = builder.bitcast(value, ir.IntType(64))
    return builder.or_(_is_beyond(builder, value), is_least(builder, bits))  # the bits of -0.0


def is_integer(builder: Any, value: Any) -> Any:
    """Return whether a float is whole; one with more than 53 bits is."""
    bits = ir.IntType(64)
    near = builder.sitofp(builder.fptosi(value, bits), value.type)
    return builder.or_(_is_beyond(builder, value), builder.fcmp_ordered("==", near, value))


def _overflow(name: str) -> Callable[..., Any]:
    def check(context: Any, builder: Any, args: list[Any]) -> Any:
        both = getattr(builder, name)(*args)
        raise_if(context, builder, builder.extract_value(both, 1))
        return builder.extract_value(both, 0)

    return check


def _of_minus_one(context: Any, builder: Any, args: list[Any]) -> None:
    least = builder.icmp_signed("==", args[0], args[0].type(_LEAST))
    raise_if(context, builder, builder.and_(least, builder.icmp_signed("==", args[1], args[1].type(-1))))


def _of_large(context: Any, builder: Any, args: list[Any]) -> None:
    raise_if(context, builder, builder.or_(*(is_large(builder, value) for value in args)))


def _of_shift(context: Any, builder: Any, args: list[Any]) -> None:
    by = args[1]
    outside = builder.or_(builder.icmp_signed("<", by, by.type(0)), builder.icmp_signed(">", by, by.type(62)))
    raise_if(context, builder, outside)


def _of_left_shift(context: Any, builder: Any, args: list[Any]) -> None:
    _of_shift(context, builder, args)
    value, by = args
    raise_if(context, builder, builder.icmp_signed("!=", builder.ashr(builder.shl(value, by), by), value))


#: What is checked for two integers. A check that returns a value has computed the result.
_OF_INTEGERS: dict[Any, Callable[..., Any]] = {
    operator.add: _overflow("sadd_with_overflow"),
    operator.sub: _overflow("ssub_with_overflow"),
    operator.mul: _overflow("smul_with_overflow"),
    operator.truediv: _of_large,
    operator.floordiv: _of_minus_one,
    operator.mod: _of_minus_one,
    operator.lshift: _of_left_shift,
    operator.rshift: _of_shift,
}

_SYMBOLS = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/", operator.floordiv: "//",
    operator.mod: "%", operator.lshift: "<<", operator.rshift: ">>", operator.lt: "<", operator.le: "<=",
    operator.gt: ">", operator.ge: ">=", operator.eq: "==", operator.ne: "!=", operator.neg: "-", operator.pos: "+",
    operator.invert: "~", operator.pow: "**", operator.and_: "&", operator.or_: "|", operator.xor: "^",
}  # fmt: skip


def _integers(kinds: tuple[Any, ...]) -> bool:
    return all(_plain(kind) in (types.int64, types.boolean) for kind in kinds)


def _binary(op: Any, compares: bool) -> Any:
    symbol = _SYMBOLS[op]

    def checked(typingctx: Any, left: Any, right: Any) -> Any:
        kinds = (left, right)
        _check_operands(symbol, kinds, compares)
        found = typingctx.resolve_function_type(op, kinds, {})
        if found is None:
            return None

        # The operands keep their own types, so that the checks see integers as integers.
        own = tuple(map(_plain, kinds)) if all(_plain(kind) in _PLAIN for kind in kinds) else found.args

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if _integers(own) and not compares:
                whole = [context.cast(builder, value, kind, types.int64) for value, kind in zip(args, own, strict=True)]
                result = _OF_INTEGERS[op](context, builder, whole) if op in _OF_INTEGERS else None
                if result is not None:
                    return result
            elif compares and set(own) == {types.int64, types.float64}:
                raise_if(context, builder, is_large(builder, args[own.index(types.int64)]))
            cast = [context.cast(builder, *one) for one in zip(args, own, found.args, strict=True)]
            return context.get_function(op, found)(builder, cast)

        return signature(found.return_type, *own), generate

    checked.__name__ = f"operator {symbol}"  # for numba's errors
    return intrinsic(checked)


def _unary(op: Any) -> Any:
    symbol = _SYMBOLS[op]

    def checked(typingctx: Any, value: Any) -> Any:
        _check_operands(symbol, (value,), compares=False)
        found = typingctx.resolve_function_type(op, (value,), {})
        if found is None:
            return None

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if op is operator.neg and sig.args[0] == types.int64:
                raise_if(context, builder, builder.icmp_signed("==", args[0], args[0].type(_LEAST)))
            return context.get_function(op, sig)(builder, args)

        return signature(found.return_type, *found.args), generate

    checked.__name__ = f"operator {symbol}"
    return intrinsic(checked)


# Powers. The compiler knows ``pow`` and computes x**2 as x*x, which differs in the last digit for one of 900 numbers.


def _pow_of_c() -> Any:
    library = ctypes.CDLL("ucrtbase") if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)(("pow", library))


_c_pow = _pow_of_c()


@numba.njit(nogil=True)
def _power_of_floats(base: float, exponent: float) -> float:
    result = _c_pow(base, exponent)
    if not math.isfinite(result):
        fine = math.isinf(result) and not (math.isfinite(base) and math.isfinite(exponent))
        if not fine and not (math.isnan(base) or math.isnan(exponent)):
            raise _NeedsPythonError("Python computes this row")
    return result


@numba.njit(nogil=True)
def _power_of_integers(base: int, exponent: int) -> int:
    if exponent < 0 or exponent > 64:
        raise _NeedsPythonError("Python computes this row")
    result = 1
    for _ in range(exponent):
        result = ARITHMETIC_MUL(result, base)
    return result


def is_exact_power() -> bool:
    """Return whether the ``pow`` that compiled code calls is Python's own."""
    values = (-0.09859288505163252, 0.251639190604869, 1.1323708379991686, 948.0, 0.3961379930381753, 7.1)
    return all(_c_pow(abs(base), by) == abs(base) ** by for base in values for by in (2.0, 3.0, 0.5, -1.0, 0.1))


@intrinsic(prefer_literal=True)
def _power(typingctx: Any, base: Any, exponent: Any) -> Any:
    kinds = (_plain(base), _plain(exponent))
    _check_operands("**", kinds, compares=False)
    if not all(kind in _PLAIN for kind in kinds):
        raise UnsafeTypesError("The operator ** gets an array. Compiled code computes the power in another way")
    whole = _integers(kinds)
    function, kind = (_power_of_integers, types.int64) if whole else (_power_of_floats, types.float64)
    inner = typingctx.resolve_function_type(_type_of(function), (kind, kind), {})

    # NumPy computes np.int64(5) ** 2.0 in another way than np.float64(5) ** 2.0, and so with the integer behind.
    by_python = not whole and any(
        _plain(one) == types.int64 and not isinstance(one, types.Literal) for one in (base, exponent)
    )

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if by_python:
            raise_if(context, builder, ir.Constant(ir.IntType(1), 1))
        cast = [context.cast(builder, value, own, kind) for value, own in zip(args, sig.args, strict=True)]
        return context.get_function(_type_of(function), inner)(builder, cast)

    # numba keeps one implementation for each signature, so a constant must stay one there.
    own = tuple(one if isinstance(one, types.IntegerLiteral) else _plain(one) for one in (base, exponent))
    return signature(kind, *own), generate


def _type_of(function: Any) -> Any:
    return numba.typeof(function)


#: Checked form of each operator of arithmetic, for one and for two operands.
ARITHMETIC: dict[Any, Any] = {
    **{op: _binary(op, False) for op in (*_OF_INTEGERS, operator.and_, operator.or_, operator.xor)},
    **{op: _unary(op) for op in (operator.neg, operator.pos, operator.invert)},
    operator.pow: _power,
}

ARITHMETIC_MUL = ARITHMETIC[operator.mul]

#: Checked form of each comparison.
COMPARISONS: dict[Any, Any] = {
    op: _binary(op, True) for op in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
}

_EQUAL = COMPARISONS[operator.eq]


def _contains(container: Any, value: Any) -> Any:
    raise NotImplementedError("only for compiled code")


_contains.__qualname__ = "operator in"


@overload(_contains)
def _choose_contains(container, value):  # type: ignore[no-untyped-def] # numba compares signatures
    if isinstance(container, (types.UniTuple, types.List, types.Set, types.Array)):
        return lambda container, value: _contains_one(container, value)
    if isinstance(container, types.Tuple):
        return lambda container, value: _contains_in_tuple(container, value)
    return None


@numba.njit(nogil=True)
def _contains_one(container: Any, value: Any) -> bool:
    if value != value:  # Python finds a NaN that is the same object
        raise _NeedsPythonError("Python computes this row")
    for one in container:  # noqa: SIM110 - compiled
        if _EQUAL(one, value):
            return True
    return False


@numba.njit(nogil=True)
def _contains_in_tuple(container: Any, value: Any) -> bool:
    if value != value:
        raise _NeedsPythonError("Python computes this row")
    for one in literal_unroll(container):  # noqa: SIM110 - compiled
        if _EQUAL(one, value):
            return True
    return False


@numba.njit(nogil=True)
def _is_in(container: Any, value: Any) -> Any:
    return _contains(container, value)


CONTAINS = operator.contains
COMPARISONS[CONTAINS] = _is_in


# Functions


def _checked_math(function: Any) -> Any:
    """Return a function of :mod:`math` that raises where Python's raises."""

    @numba.njit(nogil=True)
    def checked(value: float) -> float:
        result = function(1.0 * value)
        if not math.isfinite(result) and not math.isnan(value) and (math.isnan(result) or math.isfinite(value)):
            raise _NeedsPythonError("Python computes this row")
        return result

    return checked


def _checked_whole(function: Any) -> Any:
    """Return a function that makes an integer, and raises if that has more than 64 bits."""

    @numba.njit(nogil=True)
    def of_float(value: Any) -> int:
        if not -9.2e18 < value < 9.2e18:
            raise _NeedsPythonError("Python computes this row")
        return int(function(value))

    def stub(value: Any) -> Any:
        raise NotImplementedError("only for compiled code")

    stub.__qualname__ = f"{function.__name__}()".replace("_same", "int")  # for numba's errors

    @overload(stub)
    def choose(value):  # type: ignore[no-untyped-def] # numba compares signatures
        if _plain(value) == types.int64:
            return lambda value: value
        return lambda value: of_float(value)

    @numba.njit(nogil=True)
    def checked(value: Any) -> int:
        whole: int = stub(value)
        return whole

    return checked


@register_jitable
def _same(value: Any) -> Any:
    return value


@numba.njit(nogil=True)
def _float(value: Any) -> float:
    return value * 1.0


@numba.njit(nogil=True)
def _round_to_whole(value: Any) -> int:
    if not -9.2e18 < value < 9.2e18:
        raise _NeedsPythonError("Python computes this row")
    return int(round(value))  # noqa: RUF046 - compiled


@numba.njit(nogil=True)
def _round_to_digits(value: float, ndigits: int) -> float:
    if not 0 <= ndigits <= 15:
        raise _NeedsPythonError("Python computes this row")
    scale = 1.0
    for _ in range(ndigits):
        scale *= 10.0
    moved = value * scale
    # Near a half, Python looks at all digits of the number, and NumPy does not.
    if not abs(moved) < 1e15 or abs(abs(moved - np.floor(moved)) - 0.5) < 1e-3:
        raise _NeedsPythonError("Python computes this row")
    return math.copysign(np.rint(moved) / scale, value)


def _rounded(value: Any, ndigits: Any = None) -> Any:
    raise NotImplementedError("only for compiled code")


@overload(_rounded)
def _choose_rounded(value, ndigits=None):  # type: ignore[no-untyped-def] # numba compares signatures
    if _plain(value) == types.boolean:
        raise UnsafeTypesError("round() gets a bool. Python and NumPy have other rules for that")
    if ndigits is None or isinstance(ndigits, (types.Omitted, types.NoneType)):
        if _plain(value) == types.int64:
            return lambda value, ndigits=None: value
        return lambda value, ndigits=None: _round_to_whole(value)
    if _plain(value) not in _PLAIN:
        raise UnsafeTypesError(
            f"round() gets a {_name(value)}, for which NumPy has other rules. Convert it first, as in float(row['x'])"
        )
    if _plain(value) == types.int64:
        return lambda value, ndigits=None: _same_if_fine(value, ndigits)
    return lambda value, ndigits=None: _round_to_digits(value, ndigits)


@numba.njit(nogil=True)
def _same_if_fine(value: int, ndigits: int) -> int:
    if ndigits < 0:
        raise _NeedsPythonError("Python computes this row")
    return value


@numba.njit(nogil=True)
def _round(value: Any, ndigits: Any = None) -> Any:
    return _rounded(value, ndigits)


@numba.njit(nogil=True)
def _log(value: Any, base: Any = None) -> float:
    if not value > 0 and not math.isnan(value):
        raise _NeedsPythonError("Python computes this row")
    if base is None:
        return math.log(1.0 * value)
    if not base > 0 or base == 1:
        raise _NeedsPythonError("Python computes this row")
    return math.log(1.0 * value) / math.log(1.0 * base)


@numba.njit(nogil=True)
def _math_pow(base: Any, exponent: Any) -> float:
    return _power_of_floats(1.0 * base, 1.0 * exponent)


# Sums of arrays, in the order of NumPy: eight partial sums for each block of at most 128 values.


@numba.njit(nogil=True)
def _pairwise(values: Any, start: int, n: int) -> float:
    if n < 8:
        result = -0.0
        for at in range(start, start + n):
            result += values[at]
        return result
    if n <= 128:
        even = n - n % 8
        parts = (
            values[start], values[start + 1], values[start + 2], values[start + 3],
            values[start + 4], values[start + 5], values[start + 6], values[start + 7],
        )  # fmt: skip
        a, b, c, d, e, f, g, h = parts
        for at in range(start + 8, start + even, 8):
            a += values[at]
            b += values[at + 1]
            c += values[at + 2]
            d += values[at + 3]
            e += values[at + 4]
            f += values[at + 5]
            g += values[at + 6]
            h += values[at + 7]
        result = ((a + b) + (c + d)) + ((e + f) + (g + h))
        for at in range(start + even, start + n):
            result += values[at]
        return result
    half = n // 2
    half -= half % 8
    return _pairwise(values, start, half) + _pairwise(values, start + half, n - half)


@numba.njit(nogil=True)
def _sum_of_floats(values: Any) -> float:
    return 0.0 + _pairwise(values, 0, len(values))


@numba.njit(nogil=True)
def _mean_of_floats(values: Any) -> float:
    return _sum_of_floats(values) / len(values) if len(values) else math.nan


@numba.njit(nogil=True)
def _var_of_floats(values: Any, ddof: int) -> float:
    if len(values) <= ddof:
        raise _NeedsPythonError("Python computes this row")
    apart = values - _mean_of_floats(values)
    return _sum_of_floats(apart * apart) / (len(values) - ddof)


def _of_array(name: str, of_floats: Any, of_others: Any = None) -> Any:
    """Return a function of an array of floats; ``of_others`` is for arrays of integers and bools."""

    def stub(values: Any) -> Any:
        raise NotImplementedError("only for compiled code")

    @overload(stub)
    def choose(values):  # type: ignore[no-untyped-def] # numba compares signatures
        is_array = isinstance(values, types.Array) and values.ndim == 1
        if is_array and values.dtype == types.float64:
            return lambda values: of_floats(values)
        if is_array and of_others is not None and values.dtype in (types.int64, types.boolean):
            return lambda values: of_others(values)
        raise UnsafeTypesError(f"{name}() gets {values}. Compiled code has it for arrays of float64")

    @numba.njit(nogil=True)
    def compiled(values: Any) -> Any:
        return stub(values)

    return compiled


@numba.njit(nogil=True)
def _plain_sum(values: Any) -> Any:
    return values.sum()


_sum = _of_array("sum", _sum_of_floats, _plain_sum)
_mean = _of_array("mean", _mean_of_floats)


def _of_deviations(name: str, is_root: bool) -> Any:
    def stub(values: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0) -> Any:
        raise NotImplementedError("only for compiled code")

    @overload(stub)
    def choose(values, axis=None, dtype=None, out=None, ddof=0):  # type: ignore[no-untyped-def] # as above
        if not (isinstance(values, types.Array) and values.ndim == 1 and values.dtype == types.float64):
            raise UnsafeTypesError(f"{name}() gets {values}. Compiled code has it for arrays of float64")
        if is_root:
            return lambda values, axis=None, dtype=None, out=None, ddof=0: math.sqrt(_var_of_floats(values, ddof))
        return lambda values, axis=None, dtype=None, out=None, ddof=0: _var_of_floats(values, ddof)

    @numba.njit(nogil=True)
    def compiled(values: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0) -> Any:
        return stub(values, axis, dtype, out, ddof)

    return compiled


_var, _std = _of_deviations("var", False), _of_deviations("std", True)

#: What stands in compiled code for a method of an array.
METHODS: dict[str, Any] = {"sum": _sum, "mean": _mean, "var": _var, "std": _std}

#: Methods of arrays that give the same in compiled code.
ALLOWED_METHODS = frozenset(("min", "max", "argmin", "argmax", "any", "all", "copy", "item"))

#: What stands in compiled code for a function, by the id of the function.
SUBSTITUTES: dict[int, Any] = {
    **{
        id(function): _checked_math(function)
        for function in (
            math.sqrt, math.sin, math.cos, math.tan, math.asin, math.acos, math.atan, math.sinh, math.cosh, math.tanh,
            math.asinh, math.acosh, math.atanh, math.exp, math.expm1, math.log1p, math.log10, math.log2,
        )
    },
    **{id(function): _checked_whole(function) for function in (math.floor, math.ceil, math.trunc)},
    id(builtins.int): _checked_whole(_same),
    id(builtins.float): _float,
    id(builtins.round): _round,
    id(np.sum): _sum,
    id(np.mean): _mean,
    id(np.var): _var,
    id(np.std): _std,
    id(math.log): _log,
    id(math.pow): _math_pow,
}  # fmt: skip

#: The checked operators of arithmetic.
OF_ARITHMETIC = frozenset(ARITHMETIC.values())

#: Functions that give the same for an integer and for a float of its value, and return no integer as float.
OF_FLOATS = frozenset((
    *(SUBSTITUTES[id(one)] for one in (
        math.sqrt, math.sin, math.cos, math.tan, math.asin, math.acos, math.atan, math.sinh, math.cosh, math.tanh,
        math.asinh, math.acosh, math.atanh, math.exp, math.expm1, math.log1p, math.log10, math.log2, math.floor,
        math.ceil, math.trunc, builtins.int, builtins.float, math.log, math.pow,
    )),
    bool, math.atan2, math.copysign, math.fabs, math.isnan, math.isinf, math.isfinite, math.degrees, math.radians,
    np.isnan, np.isinf, np.isfinite, np.sqrt, np.float64,
))  # fmt: skip

#: Functions that take numbers of all types.
OF_NARROW = frozenset((*OF_FLOATS - {np.sqrt, np.isnan, np.isinf, np.isfinite}, *OF_ARITHMETIC))

#: Functions that give the same for both, and may return an integer as float.
OF_WHOLE = frozenset((abs, min, max, SUBSTITUTES[id(builtins.round)]))

#: Functions that give the same in compiled code.
ALLOWED: frozenset[int] = frozenset(map(id, (
    bool, range, len, enumerate, zip, min, max, abs, tuple, slice,
    math.atan2, math.copysign, math.fabs, math.isnan, math.isinf, math.isfinite, math.degrees, math.radians,
    np.sqrt, np.square, np.abs, np.fabs, np.floor, np.ceil, np.trunc, np.rint, np.isnan, np.isinf, np.isfinite,
    np.min, np.max, np.argmin, np.argmax, np.any, np.all, np.fmin, np.fmax, np.copysign,
    np.float64,
)))  # fmt: skip

#: Advice for functions that compiled code computes in another way, by their names.
REFUSED: dict[str, str] = {
    "math.hypot": "Write math.sqrt(x * x + y * y)",
    "sum": "Write the sum as x + y + z",
    "np.sin": "Use math.sin", "np.cos": "Use math.cos", "np.tan": "Use math.tan", "np.exp": "Use math.exp",
    "np.log": "Use math.log", "np.log10": "Use math.log10", "np.log2": "Use math.log2", "np.log1p": "Use math.log1p",
    "np.expm1": "Use math.expm1", "np.arctan2": "Use math.atan2", "np.arctan": "Use math.atan",
    "np.arcsin": "Use math.asin", "np.arccos": "Use math.acos", "np.tanh": "Use math.tanh", "np.power": "Use **",
    "np.sign": "Compare with 0", "np.maximum": "Use max", "np.minimum": "Use min",
    "np.where": "Use 'a if condition else b'",
    "np.clip": "Use min(max(x, low), high)",
}  # fmt: skip
