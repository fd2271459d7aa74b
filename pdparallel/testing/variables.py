"""The variables that a function can change between calls, and a way to reset and restore them.

A worker has the function as it was when the call began.  To do the same here, each run gets copies of the variables
that the function and its helpers use.  At the end the original objects, which no run changed, are set again.
"""

from __future__ import annotations

import builtins
import copy
import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from pdparallel.testing.equality import assert_same
from pdparallel.transport.modules import is_of_library
from pdparallel.transport.pickler import places_of, travels_by_value
from pdparallel.typing import Func

__all__ = ["Variables", "alike"]

#: Placeholder for a variable that is not set.
_NOTHING = object()


class Variables:
    """Variables of a function, which the end of a ``with`` block restores.

    >>> seen = []
    >>> with Variables(lambda value: seen.append(value)) as variables:
    ...     variables.fresh()(1)
    ...     print(seen, variables.changed())
    ...
    [1] ["global variable 'seen'"]
    >>> seen
    []
    """

    def __init__(self, func: Func) -> None:
        self._func = func
        self._current = func
        self._places = list(_places_of(func, set()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._places:
            place.put(place.value)

    def fresh(self) -> Func:
        """Reset each variable to a copy of its first value, and return the function."""
        memo: dict[int, Any] = {}
        for place in self._places:
            place.put(_copied(place.value, memo))
        self._current = self._func if isinstance(self._func, types.FunctionType) else _copied(self._func, memo)
        return self._current

    def changed(self) -> list[str]:
        """Return descriptions of the variables that have another value than at first."""
        names = [place.name for place in self._places if not _is_same(place.get(), place.value)]
        own = _own(self._func)
        if own is not None and not _is_same(_own(self._current), own):
            names.append(f"what the {type(self._func).__name__} itself holds")
        return names


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Variable with its description, its first value, and functions that get and set it."""

    name: str
    value: Any
    get: Callable[[], Any]
    put: Callable[[Any], None]


def _places_of(func: Any, seen: set[int]) -> Iterator[_Place]:
    if id(func) in seen:
        return
    seen.add(id(func))
    if isinstance(func, functools.partial):
        yield from _places_of(func.func, seen)
    elif isinstance(func, types.MethodType):
        yield from _places_of(func.__func__, seen)
    elif isinstance(func, types.FunctionType):
        # A function that is serialized by value is the user's, even if its __module__ names a library.
        if not is_of_library(func.__module__) or travels_by_value(func):
            yield from _places_of_function(func, seen)
    elif not isinstance(func, (type, types.BuiltinFunctionType)):
        yield from _places_of(_method_of_calls(type(func)), seen)
        yield from _places_of(getattr(func, "__wrapped__", None), seen)


def _method_of_calls(kind: type) -> Any:
    return next((vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base)), None)


def _places_of_function(func: types.FunctionType, seen: set[int]) -> Iterator[_Place]:
    for what, place, name in places_of(func):
        if not name:
            yield from _place(what, *_of_attribute(place, "cell_contents"), seen)
        elif name in place or not hasattr(builtins, name):
            yield from _place(what, *_of_key(place, name), seen)
    for attribute in ("__defaults__", "__kwdefaults__"):
        if getattr(func, attribute):
            yield from _place("a default value", *_of_attribute(func, attribute), seen)
    yield from _place("an attribute of the function", *_of_dict(vars(func)), seen)


def _place(name: str, get: Callable[[], Any], put: Callable[[Any], None], seen: set[int]) -> Iterator[_Place]:
    value = get()
    if isinstance(value, (types.ModuleType, type, types.BuiltinFunctionType)):
        return
    if isinstance(value, (types.FunctionType, types.MethodType)):
        yield from _places_of(value, seen)
        return
    yield _Place(name, value, get, put)


_Access = tuple[Callable[[], Any], Callable[[Any], None]]


def _of_attribute(obj: Any, name: str) -> _Access:
    def get() -> Any:
        try:
            return getattr(obj, name)
        except ValueError:  # an empty cell
            return _NOTHING

    def put(value: Any) -> None:
        if value is not _NOTHING:
            setattr(obj, name, value)
        elif get() is not _NOTHING:
            delattr(obj, name)

    return get, put


def _of_key(space: dict[str, Any], name: str) -> _Access:
    def put(value: Any) -> None:
        if value is _NOTHING:
            space.pop(name, None)
        else:
            space[name] = value

    return lambda: space.get(name, _NOTHING), put


def _of_dict(attributes: dict[str, Any]) -> _Access:
    def put(value: dict[str, Any]) -> None:
        attributes.clear()
        attributes.update(value)

    return lambda: dict(attributes), put


def _own(func: Any) -> Any:
    """Return the state of a callable object, bound method or partial; None if there is none."""
    if isinstance(func, functools.partial):
        return func.args, func.keywords
    if isinstance(func, types.MethodType):
        return None if isinstance(func.__self__, type) else getattr(func.__self__, "__dict__", None)
    return None if isinstance(func, (types.FunctionType, type)) else getattr(func, "__dict__", None)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    if value is _NOTHING:
        return value
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # for example a connection or a generator
        return value


def _is_same(now: Any, before: Any) -> bool:
    return now is before or (now is not _NOTHING and before is not _NOTHING and alike(now, before))


def alike(one: Any, other: Any) -> bool:
    """Return whether two objects are the same in every respect; True if they cannot be compared.

    >>> alike([1, float("nan")], [1, float("nan")]), alike(1, 1.0), alike(object(), object())
    (True, False, True)
    """
    try:
        assert_same(one, other)
    except AssertionError:
        return type(one) is type(other) and not _can_be_compared(one)
    except Exception:  # the objects' __eq__ may raise any error
        return True
    return True


def _can_be_compared(value: Any) -> bool:
    """Return whether a copy of an object is equal to the object."""
    try:
        assert_same(copy.deepcopy(value), value)
    except Exception:
        return False
    return True
