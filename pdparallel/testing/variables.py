"""Variables: what a function could change and keep from one call to the next, so that a test can put it back.

A worker has the function as it was when the call began.  In this process that takes copies: before each run the
function finds a copy of each variable that it or its helpers read or write, and in the end the variables themselves,
which nothing has touched.
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
from pdparallel.transport.pickler import global_names, travels_by_value
from pdparallel.typing import Func

__all__ = ["Variables", "alike"]

#: Stands for a variable that is not set.
_NOTHING = object()


class Variables:
    """Those of a function, for the length of a ``with`` block.

    >>> seen = []
    >>> with Variables(lambda value: seen.append(value)) as variables:
    ...     variables.fresh()(1)
    ...     print(seen, variables.changed())
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
        """The function, with each variable as it was at first."""
        memo: dict[int, Any] = {}
        for place in self._places:
            place.put(_copied(place.value, memo))
        self._current = self._func if isinstance(self._func, types.FunctionType) else _copied(self._func, memo)
        return self._current

    def changed(self) -> list[str]:
        """The names of those that have another value than at first, as a user would name them."""
        names = [place.name for place in self._places if not _is_same(place.get(), place.value)]
        own = _own(self._func)
        if own is not None and not _is_same(_own(self._current), own):
            names.append(f"what the {type(self._func).__name__} itself holds")
        return names


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a variable is kept, its name in words, and its value at first."""

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
        # What cannot be imported is the user's, whatever module it says to be of.
        if not is_of_library(func.__module__) or travels_by_value(func):
            yield from _places_of_function(func, seen)
    elif not isinstance(func, (type, types.BuiltinFunctionType)):
        yield from _places_of(_method_of_calls(type(func)), seen)
        yield from _places_of(getattr(func, "__wrapped__", None), seen)


def _method_of_calls(kind: type) -> Any:
    return next((vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base)), None)


def _places_of_function(func: types.FunctionType, seen: set[int]) -> Iterator[_Place]:
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        yield from _place(f"closure variable {name!r}", *_of_cell(cell), seen)
    space = func.__globals__
    for name in global_names(func.__code__):
        if name in space or not hasattr(builtins, name):
            yield from _place(f"global variable {name!r}", *_of_key(space, name), seen)
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


def _of_cell(cell: types.CellType) -> _Access:
    def get() -> Any:
        try:
            return cell.cell_contents
        except ValueError:
            return _NOTHING

    def put(value: Any) -> None:
        if value is not _NOTHING:
            cell.cell_contents = value
        elif get() is not _NOTHING:
            del cell.cell_contents

    return get, put


def _of_key(space: dict[str, Any], name: str) -> _Access:
    def put(value: Any) -> None:
        if value is _NOTHING:
            space.pop(name, None)
        else:
            space[name] = value

    return lambda: space.get(name, _NOTHING), put


def _of_attribute(obj: Any, name: str) -> _Access:
    return lambda: getattr(obj, name), functools.partial(setattr, obj, name)


def _of_dict(attributes: dict[str, Any]) -> _Access:
    def put(value: dict[str, Any]) -> None:
        attributes.clear()
        attributes.update(value)

    return lambda: dict(attributes), put


def _own(func: Any) -> Any:
    """What a callable holds that is no plain function; None of one that holds nothing."""
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
    except Exception:  # a connection, a generator: there is only the one
        return value


def _is_same(now: Any, before: Any) -> bool:
    return now is before or (now is not _NOTHING and before is not _NOTHING and alike(now, before))


def alike(one: Any, other: Any) -> bool:
    """Whether two objects are the same in every respect, as far as that can be told.

    >>> alike([1, float("nan")], [1, float("nan")]), alike(1, 1.0), alike(object(), object())
    (True, False, True)
    """
    try:
        assert_same(one, other)
    except AssertionError:
        return type(one) is type(other) and not _can_be_compared(one)
    except Exception:  # whatever an __eq__ of its own may raise
        return True
    return True


def _can_be_compared(value: Any) -> bool:
    """Whether a copy of an object is the same as the object."""
    try:
        assert_same(copy.deepcopy(value), value)
    except Exception:
        return False
    return True
