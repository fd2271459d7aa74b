"""Settings: what of a process a function may depend on, as it is read here and set there: options, environment, folder.

Each is a :class:`Part`, which can be read, and can be set to what was read elsewhere, and undone.
"""

from __future__ import annotations

import contextlib
import decimal
import functools
import locale
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

__all__ = ["PARTS", "THREAD_VARIABLES", "Undo", "apply_path", "enter", "folder", "path", "same"]

#: What libraries read when they are loaded; a worker has its own.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip

Undo = Callable[[], Any]


class _Part(NamedTuple):
    """One of the things that are around a function.

    Attributes
    ----------
    read : callable
        What holds here, as something that can be compared.
    apply : callable
        Given what is to hold: sets what differs, and returns what undoes it, or None where there is nothing to undo.
    of_machine : bool
        Whether it means nothing on another machine.
    """

    read: Callable[[], Any]
    apply: Callable[[Any], Undo | None]
    of_machine: bool = False


def _setting(read: Callable[[], Any], put: Callable[[Any], Any], of_machine: bool = False) -> _Part:
    """A part that is read and set as a whole."""

    def apply(wanted: Any) -> Undo | None:
        here = read()
        if here == wanted:
            return None
        put(wanted)
        return functools.partial(put, here)

    return _Part(read, apply, of_machine)


def _put_all(put: Callable[[str, Any], None], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        put(key, value)


# The environment

_Environment = dict[Any, Any]


def _environment() -> _Environment:
    # To go through the mapping that is written in Python would take as long as all else here.
    return dict(getattr(os.environ, "_data", os.environ))


_at_first = _environment()

#: Variables that were seen to differ from what this process began with: a worker may have begun at any time since.
_touched: set[Any] = set()

#: The environment when it was looked at last, and what came of it.
_seen: tuple[_Environment, _Environment] = (_at_first, {})


def _environment_now() -> _Environment:
    """The variables that are not, or once were not, what they were when this process began."""
    global _seen
    now = _environment()
    before, found = _seen
    if now != before:
        _touched.update(key for key in now.keys() | _at_first.keys() if now.get(key) != _at_first.get(key))
        found = {os.fsdecode(key): _text(now.get(key)) for key in _touched}
        _seen = now, found
    return found


def _text(value: Any) -> str | None:
    return None if value is None else os.fsdecode(value)


def _apply_environment(wanted: Mapping[str, str | None]) -> Undo | None:
    before = {}
    for key, value in wanted.items():
        if key not in THREAD_VARIABLES and os.environ.get(key) != value:
            before[key] = os.environ.get(key)
            _put_variable(key, value)
    if not before:
        return None

    def undo() -> None:
        _put_all(_put_variable, before)
        if "TZ" in before and hasattr(time, "tzset"):
            time.tzset()

    return undo


def _put_variable(key: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(key, None)
    else:
        os.environ[key] = value


def _apply_zone(wanted: tuple[str, str]) -> Undo | None:
    """The zone of local time, which follows its variable when it is asked to; undone with it."""
    if time.tzname != wanted and hasattr(time, "tzset"):
        time.tzset()
    return None


# Folders


def folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def enter(wanted: str | None) -> Undo | None:
    """Go to the folder; undone after each task, so that no worker keeps a folder from being removed."""
    here = folder()
    if wanted is not None and wanted != here:
        os.chdir(wanted)
    if here is None:
        return None

    def back() -> None:  # also from where the function went
        if folder() != here:
            os.chdir(here)

    return back


def path() -> list[str]:
    return [entry for entry in sys.path if isinstance(entry, str)]


def _put_path(wanted: list[str]) -> None:
    sys.path[:] = wanted


def apply_path(wanted: list[str], stays: bool) -> Undo | None:
    before = list(sys.path)
    if not stays:  # who made the pool may have added entries there
        wanted = [*wanted, *(entry for entry in before if entry not in wanted)]
    if before == wanted:
        return None
    _put_path(wanted)
    return functools.partial(_put_path, before)


# pandas


#: The options when they were looked at last.
_options: dict[str, Any] = {}


def _pandas_options() -> dict[str, Any]:
    global _options
    now, before = _known_to_pandas(), _options
    if not same(now, before):  # to copy them takes ten times as long
        before = _options = _copied(now)
    return before


def _known_to_pandas() -> dict[str, Any]:
    """All options at once: to ask for each by name would take a millisecond."""
    known: dict[str, Any] = getattr(pd.options, "d", {})
    return known


def _copied(options: dict[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if type(value) is dict else value for key, value in options.items()}


def _flat(options: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if type(value) is dict:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _apply_pandas_options(wanted: dict[str, Any]) -> Undo | None:
    here = _known_to_pandas()
    if same(here, wanted):
        return None
    known, before = dict(_flat(here)), {}
    for key, value in _flat(wanted):
        if key in known and not same(known[key], value):
            before[key] = known[key]
            _put_option(key, value)

    return functools.partial(_put_all, _put_option, before)


def _put_option(key: str, value: Any) -> None:
    with contextlib.suppress(Exception):  # what this pandas does not allow
        pd.set_option(key, value)


# NumPy and decimal


def _print_options() -> dict[str, Any]:
    return dict(np.get_printoptions())


def _put_print_options(wanted: dict[str, Any]) -> None:
    np.set_printoptions(**wanted)


def _put_errors(wanted: dict[str, Any]) -> None:
    np.seterr(**wanted)


def _decimal() -> tuple[Any, ...]:
    _, (prec, rounding, least, most, capitals, clamp, _, traps) = decimal.getcontext().__reduce__()
    return prec, rounding, least, most, capitals, clamp, tuple(trap.__name__ for trap in traps)


def _put_decimal(wanted: tuple[Any, ...]) -> None:
    context = decimal.getcontext()
    *numbers, traps = wanted
    context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp = numbers
    for kind in context.traps:
        context.traps[kind] = kind.__name__ in traps


# Logging


def _levels() -> tuple[int, dict[str, int]]:
    """Below which level all is disabled, and the levels of the loggers that have one of their own."""
    manager = logging.root.manager
    some = [(name, getattr(logger, "level", 0)) for name, logger in list(manager.loggerDict.items())]
    levels = {name: level for name, level in some if level}
    levels[""] = logging.root.level
    return manager.disable, levels


#: Loggers that have a level because a call said so.
_leveled: set[str] = set()


def _apply_levels(wanted: tuple[int, dict[str, int]]) -> Undo | None:
    disable, levels = wanted
    here = _levels()
    mine = {name: level for name, level in here[1].items() if name in levels or name in _leveled}
    if (here[0], mine) == wanted:
        return None
    _put_levels(disable, {**dict.fromkeys(_leveled, logging.NOTSET), **levels})
    _leveled.update(levels)
    before = {name: here[1].get(name, logging.NOTSET) for name in _leveled}

    def undo() -> None:
        _put_levels(here[0], before)
        _leveled.clear()

    return undo


def _put_levels(disable: int, levels: dict[str, int]) -> None:
    logging.disable(disable)
    for name, level in levels.items():
        logger = logging.getLogger(name)
        if logger.level != level:
            logger.setLevel(level)


# All of them

PARTS: dict[str, _Part] = {
    "environment": _Part(_environment_now, _apply_environment, of_machine=True),
    "zone": _Part(lambda: time.tzname, _apply_zone, of_machine=True),
    "locale": _setting(
        functools.partial(locale.setlocale, locale.LC_ALL), functools.partial(locale.setlocale, locale.LC_ALL),
        of_machine=True,
    ),
    "recursion": _setting(sys.getrecursionlimit, sys.setrecursionlimit),
    "digits": _setting(sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    "pandas": _Part(_pandas_options, _apply_pandas_options),
    "errors": _setting(np.geterr, _put_errors),
    "call on error": _setting(np.geterrcall, np.seterrcall),
    "printing": _setting(_print_options, _put_print_options),
    "decimal": _setting(_decimal, _put_decimal),
    "levels": _Part(_levels, _apply_levels),
}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # an option may be anything
        return False
