"""Checks of option values: each returns the value, or raises an error that names the fix."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import inspect
import logging
import math
import multiprocessing
import numbers
import operator
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from pdparallel.core.cpu_count import WINDOWS_MAX_WORKERS
from pdparallel.core.mistakes import format_value, unknown_engine, unknown_value
from pdparallel.core.words import ENGINE_NAMES
from pdparallel.errors import InvalidOptionError

__all__ = [
    "CHECKS",
    "ENVIRONMENT_PREFIX",
    "from_text",
    "not_in_environment",
]

#: Start of the names of environment variables that set options.
ENVIRONMENT_PREFIX = "PDPARALLEL_"

_START_METHODS = ("forkserver", "spawn", "fork")
_SERIALIZERS = ("dill", "cloudpickle")
_ERRORS = ("raise", "coerce", "return")
_PROGRESS = ("text", "notebook", "log")


def _or_not_text(name: str, values: str) -> str:
    """Return ``values``, or nothing for an environment variable, which holds only text."""
    return "" if name.startswith(ENVIRONMENT_PREFIX) else values


def _whole_number(least: int, none: bool = True, of_none: str = "") -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        allowed = f"a whole number of at least {least}" + _or_not_text(name, f", or None{of_none}" if none else "")
        if value is None and none:
            return None
        if isinstance(value, (bool, np.bool_)):
            raise InvalidOptionError(name, value, allowed)
        try:
            number = operator.index(value)
        except TypeError:
            raise InvalidOptionError(name, value, allowed) from None
        if number < least:
            raise InvalidOptionError(name, value, allowed)
        return number

    return check


_threads = _whole_number(1)
_number_of_workers = _whole_number(1, of_none=" for all cores")
_chunk_size = _whole_number(1, of_none=" to let pdparallel choose")
_seed = _whole_number(0)
_times = _whole_number(0, none=False)
_max_concurrency = _whole_number(1, none=False)


def _workers(name: str, value: Any) -> Any:
    number = _number_of_workers(name, value)
    if os.name == "nt" and number is not None and number > WINDOWS_MAX_WORKERS:
        raise InvalidOptionError(
            name, value, f"at most {WINDOWS_MAX_WORKERS}" + _or_not_text(name, ", or None"),
            "On Windows one process cannot wait for more workers.",
        )  # fmt: skip
    return number


def _seconds(name: str, value: Any) -> Any:
    if value is None:
        return None
    number = _real(value)
    if not 0 < number < math.inf:
        allowed = "a number of seconds above 0" + _or_not_text(name, ", or None for no limit")
        raise InvalidOptionError(name, value, allowed)
    return number


def _real(value: Any) -> float:
    """Return a number or a timedelta as a float of seconds, and NaN for anything else."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        return float(value) if is_number else math.nan
    except OverflowError:
        return math.inf


def _wait(name: str, value: Any) -> Any:
    number = _real(value)
    if not 0 <= number < math.inf:
        raise InvalidOptionError(name, value, "a number of seconds of at least 0")
    return number


#: Seconds of the units in which a rate may be given.
_UNIT_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
}


def _rate(name: str, value: Any) -> Any:
    if value is None:
        return None
    number = math.nan if isinstance(value, datetime.timedelta) else _real(value)
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:/|per)\s*([a-z]+)\s*", value.casefold())
        if found and found[2] in _UNIT_SECONDS:
            number = float(found[1]) / _UNIT_SECONDS[found[2]]
    if not 0 < number < math.inf:
        allowed = "a number of calls per second above 0, or a text such as '5/s', '600/min' or '1000/hour'"
        raise InvalidOptionError(name, value, allowed + _or_not_text(name, ", or None for no limit"))
    return number


def _retry_on(name: str, value: Any) -> Any:
    allowed = "an exception class, a tuple of them, or a function of the exception that returns True or False"
    if name.startswith(ENVIRONMENT_PREFIX):
        raise InvalidOptionError(name, value, "retry_on= in the program", "A variable cannot hold a class.")
    if callable(value) and not isinstance(value, type):
        if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
            raise InvalidOptionError(name, value, "a plain function, not a coroutine function")
        return value
    classes = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for one in classes:
        if isinstance(one, str):
            text = f"Give the class itself, without quotes: {name}={one.strip() or 'ValueError'}."
            raise InvalidOptionError(name, value, allowed, text)
        if isinstance(one, BaseException):
            raise InvalidOptionError(name, value, allowed, f"Give the class itself: {name}={type(one).__name__}.")
        if not isinstance(one, type):
            raise InvalidOptionError(name, value, allowed)
        if not issubclass(one, Exception):
            is_exit = issubclass(one, BaseException)
            why = "ends the call in any case" if is_exit else "is no exception class"
            text = f"{one.__name__} {why}. {name}=Exception is the most general class."
            raise InvalidOptionError(name, value, allowed, text)
    return classes


def _yes_or_no(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    raise InvalidOptionError(name, value, _or_not_text(name, "True, False, or None") or "True or False")


def _one_of(*choices: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, str) and value in choices:
            return value
        raise unknown_value(name, value, choices)

    return check


def _engine(name: str, value: Any) -> Any:
    # The registry of engines validates objects further, because it knows their kinds.
    if isinstance(value, str):
        if value not in ENGINE_NAMES and "://" not in value:
            allowed = "one of " + ", ".join(map(repr, ENGINE_NAMES)) + _or_not_text(name, ", an executor or a pool")
            raise unknown_engine(name, value, f"{allowed}, or the address of a Dask scheduler")
        if value == "ray":
            _installed(name, value, "ray", "ray")
        elif value == "numba":
            _installed(name, value, "numba", "numba")
        elif value == "dask" or "://" in value:
            _installed(name, value, "distributed", "dask")
        return value
    allowed = "one of " + ", ".join(map(repr, ENGINE_NAMES))
    allowed += ", or an object with submit() (executors), apply_async() (pools) or apipe() (pathos)"
    if not any(hasattr(value, method) for method in ("submit", "apply_async", "apipe", "scheduler_address")):
        raise InvalidOptionError(name, value, allowed)
    if isinstance(value, type):
        text = f"{name}={value.__name__} is a class. Give an object of it: {name}={value.__name__}(...)."
        raise InvalidOptionError(name, value, allowed, message=text)
    return value


def _installed(name: str, value: Any, module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise InvalidOptionError(
            name, value, "an engine that is installed",
            message=f"{name}={value!r} needs {module}, which is not installed: pip install 'pdparallel[{extra}]'",
        )  # fmt: skip


def _start_method(name: str, value: Any) -> Any:
    if value is None:
        return None
    here = [method for method in _START_METHODS if method in multiprocessing.get_all_start_methods()]
    if value not in here:
        raise unknown_value(name, value, here, _or_not_text(name, ", or None"))
    return value


def _progress(name: str, value: Any) -> Any:
    if isinstance(value, (bool, logging.Logger, logging.LoggerAdapter)):
        return value
    if value in _PROGRESS if isinstance(value, str) else callable(value) and not isinstance(value, type):
        return value
    allowed = "one of True, False, " + ", ".join(map(repr, _PROGRESS))
    allowed += _or_not_text(name, ", a logging.Logger, or a function of (done, total)")
    raise InvalidOptionError(name, value, allowed)


def _check(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, str) and value == "exact"):
        return value
    number = math.nan if isinstance(value, datetime.timedelta) else _real(value)
    if not 0 < number < 1:
        allowed = "'exact', or a relative tolerance between 0 and 1" + _or_not_text(name, ", or None for no check")
        raise InvalidOptionError(name, value, allowed)
    return number


def _desc(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, str) and value.strip() and value.isprintable()):
        return value
    raise InvalidOptionError(name, value, "a text of one line" + _or_not_text(name, ", or None"))


def _serializer(name: str, value: Any) -> Any:
    _one_of(*_SERIALIZERS)(name, value)
    if value == "cloudpickle" and importlib.util.find_spec("cloudpickle") is None:
        raise InvalidOptionError(
            name, value, "'dill'",
            message=f"{name}={value!r} needs cloudpickle, which is not installed: pip install cloudpickle",
        )  # fmt: skip
    return value


def _folder(name: str, value: Any) -> Any:
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path:
        raise InvalidOptionError(name, value, "the path of a folder, or None")
    return path


def _initializer(name: str, value: Any) -> Any:
    if value is None or callable(value):
        return value
    if name.startswith(ENVIRONMENT_PREFIX):
        raise InvalidOptionError(name, value, "initializer= in the program", "A variable cannot hold a function.")
    raise InvalidOptionError(name, value, "a function, or None", "Each worker calls it once.")


def _initargs(name: str, value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(value)
    if name.startswith(ENVIRONMENT_PREFIX):
        raise InvalidOptionError(name, value, "initargs= in the program", "A variable cannot hold a tuple.")
    raise InvalidOptionError(
        name, value, "a tuple or list of arguments", f"For one argument: {name}=({format_value(value)},)."
    )


def not_in_environment(name: str, value: Any) -> InvalidOptionError:
    return InvalidOptionError(
        name, value, "columns= to the accessor of a frame: df.par(columns=['a', 'b']).apply_rows(func)",
        "It belongs to one call on one frame.",
    )  # fmt: skip


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "engine": _engine,
    "n_workers": _workers,
    "max_concurrency": _max_concurrency,
    "chunk_size": _chunk_size,
    "start_method": _start_method,
    "progress": _progress,
    "desc": _desc,
    "errors": _one_of(*_ERRORS),
    "retry_on": _retry_on,
    "retries": _times,
    "retry_wait": _wait,
    "rate_limit": _rate,
    "timeout": _seconds,
    "threads_per_worker": _threads,
    "serializer": _serializer,
    "checkpoint": _folder,
    "seed": _seed,
    "initializer": _initializer,
    "initargs": _initargs,
    "capture_output": _yes_or_no,
    "check": _check,
}


#: Options that are whole numbers, and options that are other numbers.
_WHOLE_NUMBERS = frozenset(
    ("n_workers", "max_concurrency", "chunk_size", "retries", "threads_per_worker", "seed")
)  # fmt: skip
_NUMBERS = frozenset(("retry_wait", "rate_limit", "timeout", "check"))


def from_text(name: str, text: str) -> Any:
    """Return the value of an option that an environment variable sets, not yet checked."""
    if name in _WHOLE_NUMBERS:
        return int(text) if text.isdecimal() else text
    if name in _NUMBERS:
        with contextlib.suppress(ValueError):
            return float(text)
    if name in ("progress", "capture_output") and text.lower() in ("1", "true", "yes", "0", "false", "no"):
        return text.lower() in ("1", "true", "yes")
    return text
