"""Acceleration: pandas' own methods sent through us, so that existing code and libraries gain unchanged.

While it is in force the methods of pandas are wrapped.  A wrapper sends on what the accessor would do in the same
words, and leaves everything else to pandas: what pandas itself and this package call, and what pandas would not call
for each row, value, group or window.  Afterwards each class has what it had before; whoever still holds a wrapper holds
pandas' own method with it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self, Unpack

import pandas as pd

from pdparallel.api.groupby import GROUPED, GroupByPar
from pdparallel.api.rolling import WindowPar
from pdparallel.compat import PANDAS_2
from pdparallel.core.mistakes import by_name
from pdparallel.core.options import checked, resolve, show_options
from pdparallel.core.tracebacks import remove_own_frames, trim_tracebacks
from pdparallel.core.validation import axis_number, check_result_type, goes_to_pandas, is_called_by_map
from pdparallel.errors import InvalidOptionError
from pdparallel.operations import apply
from pdparallel.operations.groupby import is_replaced
from pdparallel.operations.rolling import Windowing
from pdparallel.typing import OptionsDict, UnitFormat

__all__ = ["Accelerated", "accelerate", "restore"]

#: Whose calls stay in pandas: its own, and ours, who call it to hand out rows and to shape results.
_NOT_FROM = frozenset(("pandas", "pdparallel"))

_lock = threading.RLock()
_in_force: list[Accelerated] = []
_of_the_block: ContextVar[Accelerated | None] = ContextVar("pdparallel_accelerated", default=None)


class Accelerated:
    """Acceleration in force; ends with :meth:`restore`, or with the ``with`` block.

    Parameters
    ----------
    options : mapping
        For all calls that are sent through us.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> accelerated = pdparallel.accelerate(n_workers=2)
    >>> pd.Series([1, 2]).map(lambda value: value * 2).tolist()
    [2, 4]
    >>> accelerated.restore()
    >>> accelerated
    <pdparallel.accelerate(n_workers=2), ended>
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._tokens: list[Token[Accelerated | None]] = []
        with _lock:
            if not _in_force:
                _wrap()
            _in_force.append(self)

    @property
    def options(self) -> Mapping[str, Any]:
        """The options for the calls.

        Examples
        --------
        >>> import pdparallel
        >>> with pdparallel.accelerate(n_workers=2) as accelerated:
        ...     dict(accelerated.options)
        {'n_workers': 2}
        """
        return self._options

    def restore(self) -> None:
        """End it; pandas is as it was when nothing else accelerates it. A second time does nothing.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> before = pd.Series.map
        >>> accelerated = pdparallel.accelerate()
        >>> pd.Series.map is before
        False
        >>> accelerated.restore()
        >>> pd.Series.map is before
        True
        """
        with _lock:
            if self in _in_force:
                _in_force.remove(self)
                if not _in_force:
                    _unwrap()

    def __enter__(self) -> Self:
        self._tokens.append(_of_the_block.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _of_the_block.reset(self._tokens.pop())
        self.restore()

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
        return f"<pdparallel.accelerate({given}), {'in force' if self in _in_force else 'ended'}>"


@show_options(but=("checkpoint",))
@trim_tracebacks
@by_name("pdparallel.accelerate")
def accelerate(**options: Unpack[OptionsDict]) -> Accelerated:
    """Send pandas' own ``apply`` and ``map`` through us, so that existing code runs on all cores, unchanged.

    It changes ``apply`` and ``map`` of frames and Series, ``apply`` of windows, and ``apply``, ``agg``, ``transform``
    and ``filter`` of groups. It holds for the whole process, also for calls of libraries, but not for calls that pandas
    itself makes.

    Parameters
    ----------
    **options
        Any of :class:`pdparallel.Options`, for all these calls.

    Returns
    -------
    Accelerated
        For a ``with`` block, which restores pandas at its end. It also has a method ``restore()``.

    Raises
    ------
    InvalidOptionError
        Names the option, its value, and the allowed values. Then pandas does not change.

    See Also
    --------
    restore : Ends all of it.

    Notes
    -----
    A call that would not gain stays in this process, as always with ``engine="auto"``. Results are those of pandas.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [1, 2, 3]})
    >>> with pdparallel.accelerate(n_workers=2):
    ...     df.apply(lambda row: row["a"] * 2, axis=1).tolist()
    [2, 4, 6]
    """
    given = checked(options)
    if given.get("checkpoint") is not None:
        raise InvalidOptionError(
            "checkpoint", given["checkpoint"], "None to accelerate", "A folder keeps one call, and here are many calls."
        )
    return Accelerated(given)


def restore() -> None:
    """Give pandas its own methods back, however often :func:`accelerate` was called.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> before = pd.DataFrame.apply
    >>> _ = pdparallel.accelerate()
    >>> pdparallel.restore()
    >>> pd.DataFrame.apply is before
    True
    """
    with _lock:
        if _in_force:
            _in_force.clear()
            _unwrap()


def _options() -> Mapping[str, Any] | None:
    """Those in force here: of the block around, else of what was begun last; None where nothing is in force."""
    block = _of_the_block.get()
    if block is not None and block in _in_force:
        return block._options
    try:
        return _in_force[-1]._options
    except IndexError:
        return None


# What is wrapped

#: What a class had under a name, or that it had nothing of its own there.
_NOTHING = object()
_before: list[tuple[type, str, Any, Any]] = []

#: Takes the object, options and arguments: what we do, or NotImplemented for what is pandas'.
_Way = Callable[..., Any]

#: Takes a method of pandas, gives what is put in its place.
_Wrapping = Callable[[Callable[..., Any]], Callable[..., Any]]


def _wrap() -> None:
    # All methods are looked up first: a class may have one from another that is wrapped, too.
    found = [(kind, name, _wrapper(name, getattr(kind, name), way)) for kind, names, way in _WAYS for name in names]
    found += [(kind, name, wrapping(getattr(kind, name))) for kind, name, wrapping in _NOTES]
    for kind, name, wrapper in found:
        _before.append((kind, name, vars(kind).get(name, _NOTHING), wrapper))
        setattr(kind, name, wrapper)


def _unwrap() -> None:
    while _before:
        kind, name, before, wrapper = _before.pop()
        if vars(kind).get(name) is not wrapper:
            continue  # somebody else has put something there; with what they hold of ours they call pandas
        if before is _NOTHING:
            delattr(kind, name)
        else:
            setattr(kind, name, before)


def _wrapper(name: str, original: Callable[..., Any], way: _Way) -> Callable[..., Any]:
    frame_of, stays = sys._getframe, _stays

    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            # Asked first, and of a dict: what pandas calls itself comes by here, too, and a small call is some 50 us.
            if not stays[frame_of(1).f_globals.get("__name__")]:
                options = _options()
                # A class with a method of its own calls this one from there: who hands out its rows calls that.
                if options is not None and getattr(type(self), name, None) is wrapper:
                    result = way(self, options, *args, **kwargs)
                    if result is not NotImplemented:
                        return result
            return original(self, *args, **kwargs)
        except BaseException as error:
            # Not by trim_tracebacks, whose frame would stand between this one and the caller's.
            remove_own_frames(error)
            raise

    return wrapper


class _Stays(dict[Any, bool]):
    """Whether what a module of that name calls stays in pandas."""

    def __missing__(self, name: Any) -> bool:
        stays = self[name] = isinstance(name, str) and name.partition(".")[0] in _NOT_FROM
        return stays


_stays = _Stays()


def _is_function(func: Any) -> bool:
    return callable(func) and not goes_to_pandas(func) and not is_replaced(func)


def _apply_of_frame(
    df: Any, options: Mapping[str, Any], func: Any = None, axis: Any = 0, raw: Any = False, result_type: Any = None,
    args: Any = (), by_row: Any = "compat", engine: Any = None, *more: Any, **kwargs: Any,
) -> Any:  # fmt: skip
    # What pandas does not call for each row is told from the others by the verb, which asks once.
    is_called = callable(func) and not is_replaced(func)
    if not is_called or by_row != "compat" or engine is not None or more or "engine_kwargs" in kwargs:
        return NotImplemented
    try:
        number = axis_number(axis)
        check_result_type(result_type)
    except ValueError:  # pandas says it in its own words
        return NotImplemented
    # Past the accessor, which would look at all of that once more.
    unit_format: UnitFormat = "row" if number else "column"
    return apply.apply_frame(df, func, number, args, kwargs, raw, result_type, "apply", unit_format, resolve(options))


def _map_of_frame(
    df: Any, options: Mapping[str, Any], func: Any = None, na_action: Any = None, *more: Any, **kwargs: Any
) -> Any:
    if not _is_function(func) or na_action not in (None, "ignore") or more:
        return NotImplemented
    return apply.map_frame(df, func, kwargs, na_action, resolve(options))


def _apply_of_series(
    s: Any,
    options: Mapping[str, Any],
    func: Any = None,
    *more: Any,
    args: Any = (),
    by_row: Any = "compat",
    **kwargs: Any,
) -> Any:
    if not _is_function(func) or by_row != "compat" or more or "convert_dtype" in kwargs:
        return NotImplemented
    return apply.apply_series(s, func, args, kwargs, None, "apply", resolve(options))


def _map_of_series(
    s: Any, options: Mapping[str, Any], func: Any = None, na_action: Any = None, *more: Any, **kwargs: Any
) -> Any:
    if not is_called_by_map(func) or na_action not in (None, "ignore") or more:
        return NotImplemented
    if kwargs and (PANDAS_2 or "engine" in kwargs):  # pandas 2 hands no others to the function
        return NotImplemented
    return apply.apply_series(s, func, (), kwargs, na_action, "map", resolve(options))


class _Groups(GroupByPar[Any, Any, Any, Any]):
    """Groups of a call in pandas' own words."""

    _checks_options = False


def _of_groups(method: str) -> _Way:
    def way(grouped: Any, options: Mapping[str, Any], func: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not _is_function(func):
            return NotImplemented
        return getattr(_Groups(grouped, options), method)(func, *args, **kwargs)

    return way


# Windows: pandas' object does not say what it was made from, so that is noted when it is made


#: Names of arguments that may come by place where pandas does not name them.
_FIRST: dict[str, tuple[str, ...]] = {"rolling": ("window",), "expanding": ("min_periods",)}

_made: weakref.WeakKeyDictionary[Any, Windowing] = weakref.WeakKeyDictionary()


def _noting(kind: str) -> _Wrapping:
    """A wrapper of ``rolling`` or ``expanding`` of what has rows."""

    def wrapping(original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            window = original(self, *args, **kwargs)
            if _options() is not None and not _stays[sys._getframe(1).f_globals.get("__name__")]:
                given = dict(signature.bind(self, *args, **kwargs).arguments)
                del given["self"]
                # Of groups pandas 2 takes any, of which the first is the one that everybody gives by place.
                unnamed = given.pop("args", ())
                given |= {**given.pop("kwargs", {}), **dict(zip(_FIRST[kind], unnamed, strict=False))}
                if len(unnamed) <= len(_FIRST[kind]):
                    _made[window] = Windowing(self, kind, given)
            return window

        return wrapper

    return wrapping


def _noting_key(original: Callable[..., Any]) -> Callable[..., Any]:
    """A wrapper of ``window[...]``, which is called for attributes, too."""

    @functools.wraps(original)
    def wrapper(self: Any, key: Any) -> Any:
        window, windowing = original(self, key), _made.get(self)
        if windowing is not None and _options() is not None:
            _made[window] = dataclasses.replace(windowing, keys=(*windowing.keys, key))
        return window

    return wrapper


def _apply_of_windows(
    window: Any, options: Mapping[str, Any], func: Any = None, raw: Any = False, engine: Any = None,
    engine_kwargs: Any = None, args: Any = None, kwargs: Any = None, *more: Any, **others: Any,
) -> Any:  # fmt: skip
    windowing = _made.get(window)
    if windowing is None or not callable(func) or goes_to_pandas(func) or more or others:
        return NotImplemented
    return WindowPar(windowing, options, window).apply(func, raw, engine, engine_kwargs, args, kwargs)


_WINDOWS = (
    pd.api.typing.Rolling,
    pd.api.typing.Expanding,
    *(
        # pandas 3.1 spells them anew
        getattr(pd.api.typing, f"{kind}GroupBy" if hasattr(pd.api.typing, f"{kind}GroupBy") else f"{kind}Groupby")
        for kind in ("Rolling", "Expanding")
    ),
)

#: Classes of pandas, names of methods, and what we do for them.
_WAYS: list[tuple[Any, tuple[str, ...], _Way]] = [
    (pd.DataFrame, ("apply",), _apply_of_frame),
    (pd.DataFrame, ("map",), _map_of_frame),
    (pd.Series, ("apply",), _apply_of_series),
    (pd.Series, ("map",), _map_of_series),
    *((kind, (method,), _of_groups(method)) for kind in GROUPED for method in ("apply", "transform", "filter")),
    *((kind, ("agg", "aggregate"), _of_groups("agg")) for kind in GROUPED),
    *((kind, ("apply",), _apply_of_windows) for kind in _WINDOWS),
]

#: The same for what only has to be noted.
_NOTES: list[tuple[Any, str, _Wrapping]] = [
    *((kind, name, _noting(name)) for kind in (pd.DataFrame, pd.Series, *GROUPED) for name in ("rolling", "expanding")),
    *((kind, "__getitem__", _noting_key) for kind in _WINDOWS),
]
