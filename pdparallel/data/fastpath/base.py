"""Common parts of lazy objects, which materialize in place: they become the pandas object, class included.

A lazy object is an instance of a subclass of ``pd.Series`` or ``pd.DataFrame``, made without pandas' inner parts.
Its attribute ``_lazy`` has the data for the most frequent questions. Any other access ends in pandas' own methods,
which find the inner parts missing. Then the object materializes, and all references to it see a plain object::

    row["a"], len(group), group["x"].sum()        the lazy object answers
    anything else -> ._mgr is missing -> __getattr__ -> a plain pandas object
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
    "also_lazy",
    "applied",
    "dict_of",
    "is_lazy",
    "is_wide",
    "keep",
    "look_for_methods",
    "materialize_in_place",
    "materialized",
    "missing_attribute",
    "new",
    "no_arguments",
    "own_dict",
    "reduced",
    "relabel",
    "set_class",
    "stands_for",
    "with_reductions",
]  # fmt: skip

#: Create an object without its inner parts.
new = object.__new__

#: Set the class of an object.
set_class = vars(object)["__class__"].__set__

#: Return the ``__dict__`` of an object without materializing it.
dict_of: Callable[[Any], dict[str, Any]] = next(
    vars(kind)["__dict__"] for kind in pd.Series.__mro__ if "__dict__" in vars(kind)
).__get__

#: Set an attribute of a lazy object without materializing it.
keep = object.__setattr__

#: For each lazy class, the function that materializes an object in place and returns it.
_plain: dict[type, Callable[[Any], Any]] = {}

#: Returned in place of an answer that only pandas knows.
NOT_HANDLED: Any = object()


def _references() -> int:
    fresh = object()
    return getrefcount(fresh)


#: ``sys.getrefcount`` of an object with a single reference, a local name.
FRESH = _references()


def materialize_in_place(lazy: Any, real: Any, kind: type, **own: Any) -> None:
    """Turn a lazy object into the pandas object ``real``, in place; ``own`` overrides attributes of ``real``."""
    parts = dict_of(lazy)
    parts.clear()
    set_class(lazy, kind)
    parts.update(real.__dict__)
    parts.update(own)
    flags = real.flags  # flags refer to their object
    parts["_flags"] = type(flags)(lazy, allows_duplicate_labels=flags.allows_duplicate_labels)


def relabel(unit: Any, index: pd.Index, columns: pd.Index | None = None) -> None:
    """Give a Series or frame other labels in place, also fewer or more; its values are lost."""
    if columns is None:
        materialize_in_place(unit, pd.Series(np.nan, index=index, name=unit.name), type(unit))
    else:
        named = {"name": unit.__dict__["name"]} if "name" in unit.__dict__ else {}
        materialize_in_place(unit, pd.DataFrame(index=index, columns=columns), type(unit), **named)


def missing_attribute(obj: Any, name: str) -> Any:
    """Look an attribute up in an object that has materialized meanwhile: ``str`` of numbers raises in pandas, too."""
    return type(obj).__getattr__(obj, name)


def is_lazy(obj: Any) -> bool:
    """Return whether an object is lazy and has not materialized yet."""
    return type(obj) in _plain


def materialized(value: Any) -> Any:
    """Return the value; materialize it if it is lazy."""
    if is_lazy(value):
        _plain[type(value)](value)
    return value


#: The ``__dict__`` of lazy classes, which materializes the object.
own_dict = property(lambda obj: dict_of(materialized(obj)))


def stands_for(kind: Any, real: Any, plain: Callable[[Any], Any]) -> None:
    """Register a lazy class with the name and the methods of a pandas class; ``plain`` materializes an object."""
    _plain[kind] = plain
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(kind, name, getattr(real, name))
    # ``type(row)(...)`` makes a plain object.
    kind.__new__ = lambda cls, *args, **kwargs: real(*args, **kwargs)
    _hand_over(kind, real, dir(real))
    _placeholders.append((kind, real))


def also_lazy(kind: type) -> type:
    """Register a subclass of a lazy class, and return it."""
    _plain[kind] = _plain[kind.__base__]  # type: ignore[index]
    return kind


def _hand_over(kind: type, real: type, names: Iterable[str]) -> None:
    """Let the methods and accessors that a lazy class does not define materialize the object."""
    accessors = real._accessors  # type: ignore[attr-defined]
    for name in names:
        if name not in vars(kind):
            found = next((vars(base)[name] for base in real.__mro__ if name in vars(base)), None)
            is_public_method = isinstance(found, FunctionType) and not name.startswith("_")
            if is_public_method or name in accessors or _is_the_users(found):
                setattr(kind, name, _PlainFirst(name, real))


def _is_the_users(found: Any) -> bool:
    """Return whether a method or property of a pandas class was added by the user."""
    func = found.fget if isinstance(found, property) else found
    return isinstance(func, FunctionType) and not func.__module__.startswith("pandas.")


#: Lazy classes, each with its pandas class.
_placeholders: list[tuple[type, type]] = []
#: Number of attributes of each pandas class at the last :func:`look_for_methods`.
_looked_through: list[int] = []


def look_for_methods() -> None:
    """Find methods and accessors that users have added to pandas classes since the last call."""
    found = [len(vars(real)) for _, real in _placeholders]
    if found != _looked_through:
        for kind, real in _placeholders:
            _hand_over(kind, real, list(vars(real)))
        _looked_through[:] = found


class _PlainFirst:
    """Descriptor that materializes the object: the method may pass it to a function, as ``pipe`` does."""

    def __init__(self, name: str, real: type) -> None:
        self._name = name
        self._real = real

    def __get__(self, obj: Any, kind: Any = None) -> Any:
        return getattr(self._real if obj is None else materialized(obj), self._name)


def applied(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a NumPy ufunc with materialized inputs, because pandas checks the types of all inputs."""
    if "out" in kwargs:
        kwargs["out"] = tuple(map(materialized, kwargs["out"]))
    call: Callable[..., Any] = getattr(ufunc, method)
    return call(*map(materialized, inputs), **kwargs)


def agree(found: Any, expected: Any) -> None:
    """Raise AssertionError if two pandas objects differ in anything that a function can see."""
    for ask in (type, lambda one: one.attrs, lambda one: one.flags, lambda one: getattr(one, "name", None)):
        if ask(found) != ask(expected):
            raise AssertionError(f"{ask(found)!r} instead of {ask(expected)!r}")
    if not (found.equals(expected) and found.axes[0].identical(expected.axes[0]) and vars(found).keys() >= {"_mgr"}):
        raise AssertionError(f"{found!r} instead of {expected!r}")


def _scalars_are_plain() -> bool:
    """Return whether pandas gives NumPy scalars, which ``future.python_scalars`` of pandas 3.1 changes."""
    try:
        return not pd.get_option("future.python_scalars")
    except KeyError:  # an OptionError: this pandas has no such option
        return True


class Tested:
    """Check whether lazy objects of a kind work: they depend on private names of pandas. It runs once per process."""

    def __init__(self, test: Callable[[], None]) -> None:
        self._test = test
        self._works: bool | None = None
        self._lock = threading.RLock()

    def __call__(self) -> bool:
        """Return whether the check has passed and pandas gives NumPy scalars."""
        return _scalars_are_plain() and (self._tested() if self._works is None else self._works)

    def _tested(self) -> bool:
        with self._lock:
            if self._works is None:
                self._works = True  # the test itself needs lazy objects
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


#: Dtypes that pandas sums in the dtype itself.
_WIDE = (np.dtype(np.float64), np.dtype(np.int64))

#: Arguments that NumPy's function of the same name passes to a method, all of them None.
_NUMPYS = {"axis", "dtype", "out"}

#: Annotated because NumPy's own annotations differ between its versions.
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
    """Return the variance in two passes, as pandas does; NaN if only pandas knows it."""
    n = len(numbers)
    if n < 2 or _asks_bottleneck():
        return np.nan
    away = _add(numbers, dtype=np.float64) / n - numbers
    return _add(away**2, dtype=np.float64) / (n - 1)


def _asks_bottleneck() -> bool:
    """Return whether pandas lets bottleneck compute a variance, which sums in another order."""
    return _has_bottleneck and bool(pd.get_option("compute.use_bottleneck"))


_has_bottleneck = find_spec("bottleneck") is not None


def is_wide(dtype: Any) -> bool:
    """Return whether :func:`reduced` supports a dtype."""
    return dtype in _WIDE


def reduced(numbers: np.ndarray, name: str) -> Any:
    """Return the result of the Series method of this name; :data:`NOT_HANDLED` if only pandas knows it."""
    if numbers.dtype in _WIDE and len(numbers):
        with np.errstate(all="ignore"):
            value = _REDUCE[name](numbers)
        if isfinite(value):  # pandas skips missing values, and warns of an overflow
            return value
    return NOT_HANDLED


def no_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a method was called without arguments, also by NumPy's function of the same name."""
    if not kwargs:
        return not args
    return not args and _NUMPYS.issuperset(kwargs) and all(value is None for value in kwargs.values())


def with_reductions(kind: type, names: Iterable[str], answer: Callable[..., Any]) -> None:
    """Add reductions of Series to a lazy class; ``answer`` gets object, name, args and kwargs."""
    for name in names:
        setattr(kind, name, _reduction(name, answer))


def _reduction(name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(getattr(pd.Series, name))
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return answer(self, name, args, kwargs)

    return method


class Locator:
    """``iloc``, ``loc``, ``iat`` or ``at`` of a lazy object: reads one scalar, else materializes the object."""

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
