"""Wrappers around pandas' own methods, so that existing code and libraries run on all cores without a change.

A wrapper runs a call if the accessor has the same call.  It passes every other call to pandas' method: calls from
pandas and pdparallel, and calls that are not for each row, value, group or window.  ``restore`` puts the former methods
back.  A wrapper that somebody still holds then only calls pandas.
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

#: Packages whose calls go to pandas. pdparallel itself calls pandas to make rows and to build results.
_NOT_FROM = frozenset(("pandas", "pdparallel"))

_lock = threading.RLock()
_in_force: list[Accelerated] = []
_of_the_block: ContextVar[Accelerated | None] = ContextVar("pdparallel_accelerated", default=None)


class Accelerated:
    """Acceleration that is active. It ends with :meth:`restore`, or at the end of the ``with`` block.

    Parameters
    ----------
    options : mapping
        The options of all accelerated calls.

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
        """The options of all accelerated calls.

        Examples
        --------
        >>> import pdparallel
        >>> with pdparallel.accelerate(n_workers=2) as accelerated:
        ...     dict(accelerated.options)
        ...
        {'n_workers': 2}
        """
        return self._options

    def restore(self) -> None:
        """End this acceleration. When the last one ends, pandas has its own methods again.

        A second call does nothing.

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

    def __exit__(self, *_: object) -> None:
        _of_the_block.reset(self._tokens.pop())
        self.restore()

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
        return f"<pdparallel.accelerate({given}), {'in force' if self in _in_force else 'ended'}>"


@show_options(but=("checkpoint",))
@trim_tracebacks
@by_name("pdparallel.accelerate")
def accelerate(**options: Unpack[OptionsDict]) -> Accelerated:
    """Run pandas' own ``apply`` and ``map`` on all cores, without a change of existing code.

    It changes ``apply`` and ``map`` of frames and Series, ``apply`` of windows, and ``apply``, ``agg``, ``transform``
    and ``filter`` of groups. It changes all calls of the process, also those of libraries, but not pandas' own calls.

    Parameters
    ----------
    **options
        Any of :class:`pdparallel.Options`, for all these calls.

    Returns
    -------
    Accelerated
        An object for a ``with`` block, which restores pandas at its end. It also has a method ``restore()``.

    Raises
    ------
    InvalidOptionError
        Names the option, its value, and the allowed values. Then pandas does not change.

    See Also
    --------
    restore : Ends every acceleration.

    Notes
    -----
    A call that would not become faster stays in this process, as always with ``engine="auto"``. Results are the same as
    without acceleration.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [1, 2, 3]})
    >>> with pdparallel.accelerate(n_workers=2):
    ...     df.apply(lambda row: row["a"] * 2, axis=1).tolist()
    ...
    [2, 4, 6]
    """
    given = checked(options)
    if given.get("checkpoint") is not None:
        raise InvalidOptionError(
            "checkpoint", given["checkpoint"], "None to accelerate", "A folder keeps one call, and here are many calls."
        )
    return Accelerated(given)


def restore() -> None:
    """Give pandas its own methods back, also after several calls of :func:`accelerate`.

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
        while _in_force:
            _in_force[-1].restore()


def _options() -> Mapping[str, Any] | None:
    """Return the options of the ``with`` block, else of the latest acceleration; None if there is none."""
    block = _of_the_block.get()
    if block is not None and block in _in_force:
        return block._options
    latest = _in_force[-1:]  # a copy, because another thread may end the acceleration
    return latest[0]._options if latest else None


# Wrappers

#: Each wrapped method: class, name, attribute before (None if the class inherits it), wrapper.
_before: list[tuple[type, str, Any, Any]] = []


def _wrap() -> None:
    # Look up all methods before the first is replaced: a class may inherit one from another wrapped class.
    found = [(kind, name, make(name, getattr(kind, name), *more)) for kind, name, make, *more in _WRAPPERS]
    for kind, name, wrapper in found:
        _before.append((kind, name, vars(kind).get(name), wrapper))
        setattr(kind, name, wrapper)


def _unwrap() -> None:
    while _before:
        kind, name, before, wrapper = _before.pop()
        if vars(kind).get(name) is not wrapper:
            continue  # another library replaced the wrapper; if it still calls ours, that calls pandas
        if before is None:
            delattr(kind, name)
        else:
            setattr(kind, name, before)


def _run_call(name: str, original: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method that calls a function; ``run`` gets object, options and arguments.

    ``run`` makes the call, or returns NotImplemented to pass it to pandas.
    """
    frame_of, stays = sys._getframe, _stays

    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            # First and from a dict, because pandas' own calls pass here too, and a small call takes some 50 us.
            if not stays[frame_of(1).f_globals.get("__name__")]:
                options = _options()
                # A subclass with its own method calls this one with super(). pdparallel would call that method again.
                if options is not None and getattr(type(self), name, None) is wrapper:
                    result = run(self, options, *args, **kwargs)
                    if result is not NotImplemented:
                        return result
            return original(self, *args, **kwargs)
        except BaseException as error:
            # Not with trim_tracebacks: its frame would be between this one and the caller's, which frame_of(1) reads.
            remove_own_frames(error)
            raise

    return wrapper


class _Stays(dict[Any, bool]):
    """Cache by module name: whether calls from that module go to pandas."""

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
    # apply_frame itself passes strings, lists and ufuncs to pandas, so goes_to_pandas is not called twice.
    is_called = callable(func) and not is_replaced(func)
    if not is_called or by_row != "compat" or engine is not None or more or "engine_kwargs" in kwargs:
        return NotImplemented
    try:
        number = axis_number(axis)
        check_result_type(result_type)
    except ValueError:  # pandas raises its own error
        return NotImplemented
    # Not through the accessor, which would validate all arguments again.
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
    if kwargs and (PANDAS_2 or "engine" in kwargs):  # pandas 2 passes no keyword arguments to the function
        return NotImplemented
    return apply.apply_series(s, func, (), kwargs, na_action, "map", resolve(options))


def _method_of_groups(method: str) -> Callable[..., Any]:
    def run(grouped: Any, options: Mapping[str, Any], func: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not _is_function(func):
            return NotImplemented
        groups = GroupByPar[Any, Any, Any, Any](grouped, options)
        groups._checks_options = False
        return getattr(groups, method)(func, *args, **kwargs)

    return run


# Windows: a window object of pandas does not keep its arguments, so a wrapper records them when it is made

#: Recorded arguments of window objects.
_made: weakref.WeakKeyDictionary[Any, Windowing] = weakref.WeakKeyDictionary()


def _record_window(kind: str, original: Callable[..., Any], first: str) -> Callable[..., Any]:
    """Wrap ``rolling`` or ``expanding``, and record its arguments; ``first`` is the name of the first."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        window = original(self, *args, **kwargs)
        if _options() is not None and not _stays[sys._getframe(1).f_globals.get("__name__")]:
            given = dict(signature.bind(self, *args, **kwargs).arguments)
            del given["self"]
            # groupby(...).rolling takes ``*args`` in pandas 2; only the first is common as a positional argument.
            unnamed = given.pop("args", ())
            given |= {**given.pop("kwargs", {}), **dict(zip([first], unnamed, strict=False))}
            if len(unnamed) <= 1:
                _made[window] = Windowing(self, kind, given)
        return window

    return wrapper


def _record_key(_: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``window[key]`` (which ``window.column`` calls, too), and record the key."""

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
        # pandas 3.1 renames RollingGroupby to RollingGroupBy.
        getattr(pd.api.typing, f"{kind}GroupBy", None) or getattr(pd.api.typing, f"{kind}Groupby")
        for kind in ("Rolling", "Expanding")
    ),
)

#: Class of pandas, name of a method, and the function that makes its wrapper, with further arguments.
_WRAPPERS: list[tuple[Any, ...]] = [
    (pd.DataFrame, "apply", _run_call, _apply_of_frame),
    (pd.DataFrame, "map", _run_call, _map_of_frame),
    (pd.Series, "apply", _run_call, _apply_of_series),
    (pd.Series, "map", _run_call, _map_of_series),
    *(
        (kind, name, _run_call, _method_of_groups(name))
        for kind in GROUPED
        for name in ("apply", "transform", "filter", "agg", "aggregate")
    ),
    *((kind, "apply", _run_call, _apply_of_windows) for kind in _WINDOWS),
    *((kind, "rolling", _record_window, "window") for kind in (pd.DataFrame, pd.Series, *GROUPED)),
    *((kind, "expanding", _record_window, "min_periods") for kind in (pd.DataFrame, pd.Series, *GROUPED)),
    *((kind, "__getitem__", _record_key) for kind in _WINDOWS),
]
