"""Becoming: how a lazy object becomes the very object of pandas that it stands for, in place, class included.

A lazy object is an instance of a subclass of ``pd.Series`` or ``pd.DataFrame`` that was made without its inner parts.
Under ``_lazy`` it keeps what it needs to answer the questions that functions ask most.  Whatever else is asked, in the
end by pandas' own methods, finds the inner parts missing; at that moment it becomes the object that pandas would have
handed out, and whoever has it by then has that one::

    row["a"], len(group), group["x"].sum()        answered here
    anything else -> ._mgr is missing -> __getattr__ -> a plain object of pandas
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from math import isfinite
from sys import getrefcount
from types import FunctionType
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.errors import PerformanceHint

__all__ = [
    "FRESH",
    "NOT_HANDLED",
    "Locator",
    "Tested",
    "agree",
    "applied",
    "dict_of",
    "is_lazy",
    "is_wide",
    "keep",
    "look_for_methods",
    "materialize_in_place",
    "materialized",
    "missed",
    "new",
    "no_arguments",
    "own_dict",
    "reduced",
    "relabel",
    "stands_for",
    "with_reductions",
]  # fmt: skip

#: Makes an object without its parts.
new = object.__new__

_set_class = vars(object)["__class__"].__set__

#: The attributes of an object, also of a lazy one, whose ``__dict__`` is that of pandas' own.
dict_of: Callable[[Any], dict[str, Any]] = next(
    vars(kind)["__dict__"] for kind in pd.Series.__mro__ if "__dict__" in vars(kind)
).__get__

#: Sets an attribute of a lazy object, which by itself would become pandas' own for that.
keep = object.__setattr__

#: How a lazy object of each class becomes pandas' own.
_plain: dict[type, Callable[[Any], Any]] = {}

#: What stands for an answer that only pandas has.
NOT_HANDLED: Any = object()


def _references() -> int:
    fresh = object()
    return getrefcount(fresh)


#: What ``sys.getrefcount`` says of an object that a single local name refers to.
FRESH = _references()


def materialize_in_place(lazy: Any, real: Any, kind: type, **own: Any) -> None:
    """Let a lazy object be one of pandas', in place."""
    parts = dict_of(lazy)
    parts.clear()
    _set_class(lazy, kind)
    parts.update(real.__dict__)
    parts.update(own)
    flags = real.flags  # which know their object
    parts["_flags"] = type(flags)(lazy, allows_duplicate_labels=flags.allows_duplicate_labels)


def relabel(unit: Any, index: pd.Index, columns: pd.Index | None = None) -> None:
    """Let a Series or frame have other labels, also fewer or more, in place; its values are gone."""
    if columns is None:
        materialize_in_place(unit, pd.Series(np.nan, index=index, name=unit.name), type(unit))
    else:
        named = {"name": unit.__dict__["name"]} if "name" in unit.__dict__ else {}
        materialize_in_place(unit, pd.DataFrame(index=index, columns=columns), type(unit), **named)


def missed(obj: Any, name: str) -> Any:
    """An attribute that a lazy object has become pandas' own over, as ``str`` of numbers: pandas has none either."""
    return type(obj).__getattr__(obj, name)


def is_lazy(obj: Any) -> bool:
    """Whether an object is lazy, and has not become one of pandas' yet."""
    return type(obj) in _plain


def materialized(value: Any) -> Any:
    """A value, which is pandas' own now if it was lazy."""
    if is_lazy(value):
        _plain[type(value)](value)
    return value


#: The ``__dict__`` of a lazy object: that of the one that it stands for.
own_dict = property(lambda obj: dict_of(materialized(obj)))


def stands_for(kind: Any, real: Any, plain: Callable[[Any], Any]) -> None:
    """Let a lazy class pass for one of pandas'."""
    _plain[kind] = plain
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(kind, name, getattr(real, name))
    # What ``type(row)(...)`` makes, of somebody who got at the class after all.
    kind.__new__ = lambda cls, *args, **kwargs: real(*args, **kwargs)
    _hand_over(kind, real, dir(real))
    _stand_ins.append((kind, real))


def _hand_over(kind: type, real: type, names: Iterable[str]) -> None:
    """Let the methods and accessors that a lazy class does not answer itself get pandas' own object."""
    accessors = real._accessors  # type: ignore[attr-defined]
    for name in names:
        if name not in vars(kind):
            found = next((vars(base)[name] for base in real.__mro__ if name in vars(base)), None)
            is_public_method = isinstance(found, FunctionType) and not name.startswith("_")
            if is_public_method or name in accessors or _is_the_users(found):
                setattr(kind, name, _PlainFirst(name, real))


def _is_the_users(found: Any) -> bool:
    """Whether a method or property of a class of pandas is none of pandas' own."""
    func = found.fget if isinstance(found, property) else found
    return isinstance(func, FunctionType) and not func.__module__.startswith("pandas.")


#: Lazy classes, each with that of pandas; and how many attributes the latter had when they were looked through.
_stand_ins: list[tuple[type, type]] = []
_looked_through: list[int] = []


def look_for_methods() -> None:
    """Find the methods and accessors that were put on pandas' classes since, as their users do."""
    found = [len(vars(real)) for _, real in _stand_ins]
    if found != _looked_through:
        for kind, real in _stand_ins:
            _hand_over(kind, real, list(vars(real)))
        _looked_through[:] = found


class _PlainFirst:
    """A method that a lazy object becomes pandas' own for: it may hand the object to a function, as ``pipe`` does."""

    def __init__(self, name: str, real: type) -> None:
        self._name = name
        self._real = real

    def __get__(self, obj: Any, kind: Any = None) -> Any:
        return getattr(self._real if obj is None else materialized(obj), self._name)


def applied(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a ufunc of NumPy gives, for which pandas looks at the types of all that it gets."""
    if "out" in kwargs:
        kwargs["out"] = tuple(map(materialized, kwargs["out"]))
    call: Callable[..., Any] = getattr(ufunc, method)
    return call(*map(materialized, inputs), **kwargs)


def agree(found: Any, expected: Any) -> None:
    """Raise where two objects of pandas differ in what a function can see."""
    for ask in (type, lambda one: one.attrs, lambda one: one.flags, lambda one: getattr(one, "name", None)):
        if ask(found) != ask(expected):
            raise AssertionError(f"{ask(found)!r} instead of {ask(expected)!r}")
    if not (found.equals(expected) and found.axes[0].identical(expected.axes[0]) and vars(found).keys() >= {"_mgr"}):
        raise AssertionError(f"{found!r} instead of {expected!r}")


def _scalars_are_plain() -> bool:
    """Whether NumPy's scalars come out of pandas as they are, which ``future.python_scalars`` of pandas 3.1 changes."""
    try:
        return not pd.get_option("future.python_scalars")
    except KeyError:  # pandas' OptionError is one: there is no such option
        return True


class Tested:
    """Whether there may be lazy objects of a kind: they rest on names of pandas that are not public."""

    def __init__(self, test: Callable[[], None]) -> None:
        self._test = test
        self._works: bool | None = None
        self._lock = threading.RLock()

    def __call__(self) -> bool:
        """Whether the test has passed, and pandas hands out NumPy's scalars."""
        return _scalars_are_plain() and (self._tested() if self._works is None else self._works)

    def _tested(self) -> bool:
        with self._lock:
            if self._works is None:
                self._works = True  # meanwhile, for the test itself
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        self._test()
                except Exception as error:
                    self._works = False
                    warnings.warn(
                        f"pandas {pd.__version__} is newer than this pdparallel knows. Results are right, but each row "
                        f"and group takes longer ({type(error).__name__}: {error}).",
                        PerformanceHint,
                        stacklevel=2,
                    )
            return self._works


#: Dtypes whose sums pandas makes in the dtype itself.
_WIDE = (np.dtype(np.float64), np.dtype(np.int64))

#: What NumPy's functions of that name hand to a method besides: nothing, by name.
_NUMPYS = {"axis", "dtype", "out"}

#: NumPy's own annotations of it change with its versions.
_add: Callable[..., Any] = np.add.reduce

_REDUCE: dict[str, Callable[..., Any]] = {
    "sum": _add,
    "max": np.maximum.reduce,
    "min": np.minimum.reduce,
    "mean": lambda numbers: _add(numbers, dtype=np.float64) / len(numbers),
    "var": lambda numbers: _variance(numbers),
    "std": lambda numbers: np.sqrt(_variance(numbers)),
}


def _variance(numbers: np.ndarray) -> Any:
    """In two passes, as pandas does it."""
    n = len(numbers)
    if n < 2 or _asks_bottleneck():
        return np.nan
    away = _add(numbers, dtype=np.float64) / n - numbers
    return _add(away**2, dtype=np.float64) / (n - 1)


def _asks_bottleneck() -> bool:
    """Whether pandas has it do the sums of a variance, in another order."""
    return _has_bottleneck and bool(pd.get_option("compute.use_bottleneck"))


_has_bottleneck = find_spec("bottleneck") is not None


def is_wide(dtype: Any) -> bool:
    """Whether :func:`reduced` knows what pandas makes of numbers of a dtype."""
    return dtype in _WIDE


def reduced(numbers: np.ndarray, name: str) -> Any:
    """What the Series method of that name makes of numbers; :data:`NOT_HANDLED` for what only pandas knows."""
    if numbers.dtype in _WIDE and len(numbers):
        with np.errstate(all="ignore"):
            value = _REDUCE[name](numbers)
        if isfinite(value):  # what is missing makes all missing; and pandas is to warn of what overflows
            return value
    return NOT_HANDLED


def no_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a method was called with nothing, also as NumPy's function of that name says it."""
    if not kwargs:
        return not args
    return not args and _NUMPYS.issuperset(kwargs) and all(value is None for value in kwargs.values())


def with_reductions(kind: type, names: Iterable[str], answer: Callable[..., Any]) -> None:
    """Give a lazy class methods of Series that make one value of many."""
    for name in names:
        setattr(kind, name, _reduction(name, answer))


def _reduction(name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(getattr(pd.Series, name))
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return answer(self, name, args, kwargs)

    return method


class Locator:
    """``iloc`` and its like of a lazy object: reads one scalar by itself, and is pandas' own for all else."""

    def __init__(self, obj: Any, name: str, read: Callable[[Any, str, Any], Any]) -> None:
        self._obj = obj
        self._name = name
        self._read = read

    def __getitem__(self, key: Any) -> Any:
        if is_lazy(self._obj):
            value = self._read(self._obj._lazy, self._name, key)
            if value is not NOT_HANDLED:
                return value
        return self._pandas()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._pandas()[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pandas(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._pandas()(*args, **kwargs)

    def _pandas(self) -> Any:
        return getattr(materialized(self._obj), self._name)
