"""Becoming: how a lean object becomes the very object of pandas that it stands for, in place, class included.

A lean object is an instance of a subclass of ``pd.Series`` or ``pd.DataFrame`` that was made without its inner parts.
Under ``_lean`` it keeps what it needs to answer the questions that functions ask most.  Whatever else is asked, in the
end by pandas' own methods, finds the inner parts missing; at that moment it becomes the object that pandas would have
handed out, and whoever has it by then has that one::

    row["a"], len(group), group["x"].sum()        answered here
    anything else -> ._mgr is missing -> __getattr__ -> a plain object of pandas
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dis import get_instructions
from importlib.util import find_spec
from math import isfinite
from sys import getrefcount
from types import CodeType
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.typing import Func

__all__ = [
    "ELSEWHERE", "FRESH", "Locator", "applied", "asks_for_the_type", "become", "code_of", "is_lean", "is_wide",
    "made_plain", "missed", "new", "no_arguments", "reduced", "relabel", "scalars_are_plain", "with_reductions",
]  # fmt: skip

#: Makes an object without its parts.
new = object.__new__

_set_class = vars(object)["__class__"].__set__

#: What stands for an answer that only pandas has.
ELSEWHERE: Any = object()


def _references() -> int:
    fresh = object()
    return getrefcount(fresh)


#: What ``sys.getrefcount`` says of an object that a single local name refers to.
FRESH = _references()


def become(lean: Any, real: Any, kind: type, **own: Any) -> None:
    """Let a lean object be one of pandas', in place.

    Parameters
    ----------
    lean : object
        Of a lean class, or already become.
    real : Series or DataFrame
        What it is to be from here on; nobody else has it.
    kind : type
        The class of that.
    **own
        Attributes that are its own, in the place of those of ``real``.
    """
    parts = lean.__dict__
    parts.clear()
    _set_class(lean, kind)
    parts.update(real.__dict__)
    parts.update(own)
    flags = real.flags  # which know their object
    parts["_flags"] = type(flags)(lean, allows_duplicate_labels=flags.allows_duplicate_labels)


def relabel(unit: Any, index: pd.Index, columns: pd.Index | None = None) -> None:
    """Let a Series or frame have other labels, also fewer or more, in place; its values are gone."""
    if columns is None:
        become(unit, pd.Series(np.nan, index=index, name=unit.name), type(unit))
    else:
        named = {"name": unit.__dict__["name"]} if "name" in unit.__dict__ else {}
        become(unit, pd.DataFrame(index=index, columns=columns), type(unit), **named)


def missed(obj: Any, name: str) -> Any:
    """An attribute that a lean object has become pandas' own over, as ``str`` of numbers: pandas has none either."""
    return type(obj).__getattr__(obj, name)


def is_lean(obj: Any) -> bool:
    """Whether an object is lean, and has not become one of pandas' yet."""
    return "_lean" in getattr(obj, "__dict__", ())


def made_plain(value: Any) -> Any:
    """A value, which is pandas' own now if it was lean."""
    if is_lean(value):
        value.flags  # noqa: B018 - which a lean one has none of
    return value


def applied(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a ufunc of NumPy gives, for which pandas looks at the types of all that it gets."""
    if "out" in kwargs:
        kwargs["out"] = tuple(map(made_plain, kwargs["out"]))
    call: Callable[..., Any] = getattr(ufunc, method)
    return call(*map(made_plain, inputs), **kwargs)


def scalars_are_plain() -> bool:
    """Whether NumPy's scalars come out of pandas as they are, which ``future.python_scalars`` of pandas 3.1 changes."""
    try:
        return not pd.get_option("future.python_scalars")
    except KeyError:  # pandas' OptionError is one: there is no such option
        return True


def code_of(func: Func) -> CodeType | None:
    """The code of a function of Python; None for what is none."""
    code = getattr(inspect.unwrap(func), "__code__", None)
    return code if isinstance(code, CodeType) else None


def asks_for_the_type(func: Func) -> bool:
    """Whether a function calls ``type(row)``, the one question that a lean object answers in another way."""
    code = code_of(func)
    if code is None or code.co_argcount == 0 or "type" not in code.co_names:
        return False
    row = code.co_varnames[0]
    steps = [step for step in get_instructions(code) if step.opname not in ("PRECALL", "PUSH_NULL", "CACHE")]
    return any(
        one.argval == "type" and two.argval == row and two.opname.startswith("LOAD_FAST") and three.opname == "CALL"
        for one, two, three in zip(steps, steps[1:], steps[2:], strict=False)
    )


#: Dtypes whose sums pandas makes in the dtype itself.
_WIDE = (np.dtype(np.float64), np.dtype(np.int64))

#: What NumPy's functions of that name hand to a method besides: nothing, by name.
_NUMPYS = {"axis", "dtype", "out"}

_REDUCE: dict[str, Callable[[np.ndarray], Any]] = {
    "sum": np.add.reduce,
    "max": np.maximum.reduce,
    "min": np.minimum.reduce,
    "mean": lambda numbers: np.add.reduce(numbers, dtype=np.float64) / len(numbers),
    "var": lambda numbers: _variance(numbers),
    "std": lambda numbers: np.sqrt(_variance(numbers)),
}


def _variance(numbers: np.ndarray) -> Any:
    """In two passes, as pandas does it."""
    n = len(numbers)
    if n < 2 or _asks_bottleneck():
        return np.nan
    away = np.add.reduce(numbers, dtype=np.float64) / n - numbers
    return np.add.reduce(away**2, dtype=np.float64) / (n - 1)


def _asks_bottleneck() -> bool:
    """Whether pandas has it do the sums of a variance, in another order."""
    return _has_bottleneck and bool(pd.get_option("compute.use_bottleneck"))


_has_bottleneck = find_spec("bottleneck") is not None


def is_wide(dtype: Any) -> bool:
    """Whether :func:`reduced` knows what pandas makes of numbers of a dtype."""
    return dtype in _WIDE


def reduced(numbers: np.ndarray, name: str) -> Any:
    """What the Series method of that name makes of numbers; :data:`ELSEWHERE` for what only pandas knows.

    By NumPy alone where nothing is missing, which is what pandas does; of the two dtypes that need no care.
    """
    if numbers.dtype in _WIDE and len(numbers):
        with np.errstate(all="ignore"):
            value = _REDUCE[name](numbers)
        if isfinite(value):  # what is missing makes all missing; and pandas is to warn of what overflows
            return value
    return ELSEWHERE


def no_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a method was called with nothing, also as NumPy's function of that name says it."""
    if not kwargs:
        return not args
    return not args and _NUMPYS.issuperset(kwargs) and all(value is None for value in kwargs.values())


def with_reductions(kind: type, names: Iterable[str], answer: Callable[..., Any]) -> None:
    """Give a lean class methods of Series that make one value of many.

    Parameters
    ----------
    kind : type
        The class.
    names : iterable of str
        Of the methods.
    answer : callable
        Takes the object, the name of the method and its arguments as a tuple and a dict.
    """
    for name in names:
        setattr(kind, name, _reduction(name, answer))


def _reduction(name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(getattr(pd.Series, name))
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return answer(self, name, args, kwargs)

    return method


class Locator:
    """``iloc`` and its like of a lean object: reads one scalar by itself, and is pandas' own for all else.

    Parameters
    ----------
    obj : object
        The lean one.
    name : {"iloc", "loc", "iat", "at"}
        Which.
    read : callable
        Takes what the object keeps under ``_lean``, the name and a key; :data:`ELSEWHERE` for what only pandas knows.
    plain : callable
        Lets the object become pandas' own, and gives it.
    """

    def __init__(self, obj: Any, name: str, read: Callable[[Any, str, Any], Any], plain: Callable[[Any], Any]) -> None:
        self._obj = obj
        self._name = name
        self._read = read
        self._plain = plain

    def __getitem__(self, key: Any) -> Any:
        lean = self._obj.__dict__.get("_lean")
        if lean is not None:
            value = self._read(lean, self._name, key)
            if value is not ELSEWHERE:
                return value
        return self._pandas()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._pandas()[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pandas(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._pandas()(*args, **kwargs)

    def _pandas(self) -> Any:
        obj = self._obj
        return getattr(self._plain(obj) if "_lean" in obj.__dict__ else obj, self._name)
