"""Settings of a process on which a function may depend, such as options, environment and folder.

Each is a :class:`_Part`, which can be read in the parent, applied in a worker, and undone.
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
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

__all__ = ["PARTS", "THREAD_VARIABLES", "Undo", "apply_path", "enter", "folder", "path", "same"]

#: Environment variables that libraries read when they are loaded. Each worker has its own values.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip

Undo = Callable[[], Any]


class _Part(NamedTuple):
    """A setting of a process; ``apply`` returns a function that undoes it, or None if nothing changed."""

    read: Callable[[], Any]
    apply: Callable[[Any], Undo | None]
    of_machine: bool = False  # True if it has no meaning on another machine


def _setting(read: Callable[[], Any], put: Callable[[Any], Any], of_machine: bool = False) -> _Part:
    """Return a part that is read and set as a whole."""

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
    # To iterate over os.environ itself, a mapping in Python, takes as long as everything else here.
    return dict(getattr(os.environ, "_data", os.environ))


_at_first = _environment()

#: Variables that differed at some time from the start of this process. A worker may have started at that time.
_touched: set[Any] = set()

#: Cache: the environment at the last call, and the variables to send.
_seen: tuple[_Environment, _Environment] = (_at_first, {})


def _environment_now() -> _Environment:
    """Return the variables that differ, or differed at some time, from the start of this process."""
    global _seen
    now = _environment()
    before, found = _seen
    if now != before:
        _touched.update(key for key in now.keys() | _at_first.keys() if now.get(key) != _at_first.get(key))
        found = {os.fsdecode(key): os.fsdecode(now[key]) if key in now else None for key in _touched}
        _seen = now, found
    return found


def _apply_environment(wanted: Mapping[str, str | None]) -> Undo | None:
    wanted = {key: value for key, value in wanted.items() if key not in THREAD_VARIABLES}
    before = {key: os.environ.get(key) for key, value in wanted.items() if os.environ.get(key) != value}
    _put_all(_put_variable, {key: wanted[key] for key in before})
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
    """Make the local time zone follow the variable TZ; the undo of the environment reverts it."""
    if time.tzname != wanted and hasattr(time, "tzset"):
        time.tzset()
    return None


# Folders


def folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # the folder was removed
        return None


def enter(wanted: str | None) -> Undo | None:
    """Change to the folder; undone after each task, so that no worker blocks the removal of a folder."""
    here = folder()
    if wanted is not None and wanted != here:
        os.chdir(wanted)
    if here is None:
        return None

    def back() -> None:  # also if the function changed the folder
        if folder() != here:
            os.chdir(here)

    return back


def path() -> list[str]:
    return [entry for entry in sys.path if isinstance(entry, str)]


def _put_path(wanted: list[str]) -> None:
    sys.path[:] = wanted


def apply_path(wanted: list[str], stays: bool) -> Undo | None:
    before = list(sys.path)
    if not stays:  # the owner of the pool may have added entries
        wanted = [*wanted, *(entry for entry in before if entry not in wanted)]
    if before == wanted:
        return None
    _put_path(wanted)
    return functools.partial(_put_path, before)


# pandas


#: Cache: a copy of the options at the last call.
_options: dict[str, Any] = {}


def _pandas_options() -> dict[str, Any]:
    global _options
    now = _known_to_pandas()
    if not same(now, _options):  # a copy takes ten times as long as the comparison
        _options = _copied(now)
    return _options


def _known_to_pandas() -> dict[str, Any]:
    """Return all options at once, because asking for each by name takes a millisecond."""
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
    known = dict(_flat(here))
    changed = {key: value for key, value in _flat(wanted) if key in known and not same(known[key], value)}
    before = {key: known[key] for key in changed}
    _put_all(_put_option, changed)
    return functools.partial(_put_all, _put_option, before)


def _put_option(key: str, value: Any) -> None:
    with contextlib.suppress(Exception):  # a value that this pandas does not allow
        pd.set_option(key, value)


# decimal


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
#
# A worker creates no logger, because the library that creates it chooses class and level. A library may set levels
# while it is imported. The caller's process has imported it before, so the caller's current level takes precedence.
# A level that the function itself sets takes precedence over both.


def _levels() -> tuple[int, dict[str, int]]:
    """Return the level of ``logging.disable``, and the levels of all loggers, with 0 for those without a level."""
    manager = logging.root.manager
    some = [(name, getattr(logger, "level", None)) for name, logger in list(manager.loggerDict.items())]
    return manager.disable, {name: level for name, level in some if level is not None} | {"": logging.root.level}


_set_level: Any = logging.Logger.setLevel
_get_logger: Any = logging.Manager.getLogger


class _Held:
    """The levels of the caller's loggers, which this process keeps until the call ends."""

    def __init__(self, levels: dict[str, int]) -> None:
        self.levels = dict(levels)
        self.own: dict[str, int] = {}  # levels that the loggers have without this call
        self.inherited: set[str] = set()  # loggers with the level of an ancestor that is missing here
        known = {**logging.root.manager.loggerDict, "": logging.root}
        missing = []
        for name, level in levels.items():
            found = known.get(name)
            if found is None or getattr(found, "level", logging.NOTSET) == level:
                continue
            if isinstance(found, logging.Logger):
                self.put(found, level)
            else:  # a placeholder of logging: the logger is missing here, but has descendants
                missing.append(name)
        for name in missing:
            for below in _loggers_below(name):
                self.put_inherited(below)

    def put(self, logger: logging.Logger, level: int) -> None:
        """Set the level of a logger until the call ends."""
        if logger.level != level:
            self.own.setdefault(_name(logger), logger.level)
            _set_level(logger, level)

    def put_inherited(self, logger: logging.Logger) -> None:
        """Give a logger without a level that of its next ancestor, if that is missing here."""
        name = logger.name
        level = logging.NOTSET if logger.level else self._from_above(name)
        if level:
            self.inherited.add(name)
            self.put(logger, level)

    def _from_above(self, name: str) -> int:
        while "." in name:
            name = name.rpartition(".")[0]
            if _logger(name) is not None:
                break
            if level := self.levels.get(name):
                return level
        return logging.NOTSET

    def was_made(self, logger: logging.Logger) -> None:
        """Set the level of a logger that was created just now."""
        held = self.levels.get(logger.name)
        if held:
            for below in _loggers_below(logger.name):
                if below.name in self.inherited:
                    self.inherited.discard(below.name)
                    _set_level(below, logging.NOTSET)
        if held is not None:
            self.put(logger, held)
        self.put_inherited(logger)

    def was_set(self, logger: logging.Logger, before: int) -> None:
        """Handle a level that was set just now, by the function or by an import."""
        name = _name(logger)
        held = self.levels.get(name)
        self.inherited.discard(name)
        if held is None:
            return
        if _imports():
            self.own[name] = logger.level
            _set_level(logger, held)
            self.put_inherited(logger)
        else:
            self.own.setdefault(name, before)
            self.levels[name] = logger.level

    def let_go(self) -> None:
        """Restore the own level of each logger."""
        for name, level in self.own.items():
            logger = _logger(name)
            if logger is not None and logger.level != level:
                _set_level(logger, level)


_held: _Held | None = None


def _apply_levels(wanted: tuple[int, dict[str, int]]) -> Undo | None:
    global _held
    disable, levels = wanted
    before = logging.root.manager.disable
    _put_disabled(disable)
    if _held is not None:
        _held.let_go()
    _begin_to_hold()
    _held = _Held(levels)

    def undo() -> None:
        global _held
        if _held is not None:
            _held.let_go()
        _held = None
        _end_to_hold()
        _put_disabled(before)

    return undo


def _put_disabled(level: int) -> None:
    if logging.root.manager.disable != level:
        logging.disable(level)


def _begin_to_hold() -> None:
    global _set_level, _get_logger
    if logging.Logger.setLevel is not _set_level_and_hold:
        _set_level = logging.Logger.setLevel
        logging.Logger.setLevel = _set_level_and_hold  # type: ignore[method-assign]
    if logging.Manager.getLogger is not _get_logger_and_hold:
        _get_logger = logging.Manager.getLogger
        logging.Manager.getLogger = _get_logger_and_hold  # type: ignore[method-assign]


def _end_to_hold() -> None:
    if logging.Logger.setLevel is _set_level_and_hold:
        logging.Logger.setLevel = _set_level  # type: ignore[method-assign]
    if logging.Manager.getLogger is _get_logger_and_hold:
        logging.Manager.getLogger = _get_logger  # type: ignore[method-assign]


def _set_level_and_hold(self: logging.Logger, level: Any) -> None:
    """Replacement of ``Logger.setLevel``."""
    before = getattr(self, "level", logging.NOTSET)
    _set_level(self, level)
    if _held is not None and _logger(_name(self)) is self:
        _held.was_set(self, before)


def _get_logger_and_hold(self: logging.Manager, name: str) -> logging.Logger:
    """Replacement of ``Manager.getLogger``, which creates loggers."""
    made = _held is not None and not isinstance(self.loggerDict.get(name), logging.Logger)
    logger: logging.Logger = _get_logger(self, name)
    if made and _held is not None and _logger(name) is logger:
        _held.was_made(logger)
    return logger


def _imports() -> bool:
    """Return True if this thread imports a module for the function, or while it loads the function."""
    frame: FrameType | None = sys._getframe(3)  # the caller of the logging method
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] != _PACKAGE:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


_PACKAGE = __name__.partition(".")[0]


def _name(logger: logging.Logger) -> str:
    return "" if logger is logging.root else logger.name


def _logger(name: str) -> logging.Logger | None:
    """Return the logger with this name if it exists."""
    found = logging.root.manager.loggerDict.get(name) if name else logging.root
    return found if isinstance(found, logging.Logger) else None


def _loggers_below(name: str) -> list[logging.Logger]:
    some = list(logging.root.manager.loggerDict.items())
    return [found for key, found in some if isinstance(found, logging.Logger) and key.startswith(name + ".")]


# All of them

_locale = functools.partial(locale.setlocale, locale.LC_ALL)

PARTS: dict[str, _Part] = {
    "environment": _Part(_environment_now, _apply_environment, of_machine=True),
    "zone": _Part(lambda: time.tzname, _apply_zone, of_machine=True),
    "locale": _setting(_locale, _locale, of_machine=True),
    "recursion": _setting(sys.getrecursionlimit, sys.setrecursionlimit),
    "digits": _setting(sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    "pandas": _Part(_pandas_options, _apply_pandas_options),
    "errors": _setting(np.geterr, lambda wanted: np.seterr(**wanted)),
    "call on error": _setting(np.geterrcall, np.seterrcall),
    "printing": _setting(lambda: dict(np.get_printoptions()), lambda wanted: np.set_printoptions(**wanted)),
    "decimal": _setting(_decimal, _put_decimal),
    "levels": _Part(_levels, _apply_levels),
}


def same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # an option may be an object whose == fails
        return False
