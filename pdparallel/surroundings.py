"""Surroundings: what a function finds around it beside its arguments, in a worker the same as where the call is made.

A worker process lives longer than a call, and began with other options, another folder, another environment than those
that hold now where the call is made.  So each task says what holds there::

    parent   around()  what holds in this thread; mostly the same bytes as for the call before  -- in each task -->
    worker   within()  what differs is set before the function is loaded, for it may be imported by sys.path; a worker
                       of pdparallel's own keeps it until a call says otherwise, one of another pool gets its own back

The filters of warnings are those of the caller only while the function runs: to load it warns of nothing, because the
caller has imported before what it imports.

What lies in other libraries (a global of a module, the state of a context variable) is not known here: an initializer
sets it.
"""

from __future__ import annotations

import contextlib
import decimal
import functools
import locale
import logging
import os
import pickle
import platform
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import dill
import numpy as np
import pandas as pd

__all__ = ["THREAD_VARIABLES", "Whereabouts", "around", "decided_as_around", "within"]

#: What libraries read when they are loaded; a worker has its own.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip

#: Types that any process reads as they are.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))

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


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _enter(wanted: str | None) -> Undo | None:
    """Go to the folder; undone after each task, so that no worker keeps a folder from being removed."""
    here = _folder()
    if wanted is not None and wanted != here:
        os.chdir(wanted)
    if here is None:
        return None

    def back() -> None:  # also from where the function went
        if _folder() != here:
            os.chdir(here)

    return back


class Whereabouts:
    """Where an initializer went: each task ends in the folder in which it found its process, and the next one returns.

    Parameters
    ----------
    call : callable
        Calls the initializer.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        before = _folder()
        call()
        after = _folder()
        self._folder = None if after == before else after

    def again(self) -> None:
        """Go where the initializer went; where the call was made this process is there still, or went on."""
        if _depth and self._folder is not None:
            os.chdir(self._folder)


def _path() -> list[str]:
    return [entry for entry in sys.path if isinstance(entry, str)]


def _put_path(wanted: list[str]) -> None:
    sys.path[:] = wanted


def _apply_path(wanted: list[str], stays: bool) -> Undo | None:
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
    if not _same(now, before):  # to copy them takes ten times as long
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
    if _same(here, wanted):
        return None
    known, before = dict(_flat(here)), {}
    for key, value in _flat(wanted):
        if key in known and not _same(known[key], value):
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

_PARTS: dict[str, _Part] = {
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


# The parent's side

_latest: tuple[list[Any], dict[str, Any], bytes] | None = None


def around() -> bytes:
    """What holds in this thread, for :func:`within`."""
    global _latest
    now = {name: part.read() for name, part in _PARTS.items()}
    now["folder"], now["path"] = _folder(), _path()
    filters = list(warnings.filters)
    latest = _latest
    if latest is not None and latest[0] == filters and _same(latest[1], now):
        return latest[2]
    written = _portable(now)
    written["carried"] = [name for name, value in written.items() if not _same(value, now[name])]
    written["filters"] = [_in_words(entry) for entry in filters]
    written["machine"] = platform.node()
    data = pickle.dumps(written, protocol=5)
    _latest = filters, now, data
    return data


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # an option may be anything
        return False


class _Carried(NamedTuple):
    """A function or another object that is an option, by value where a worker cannot import it."""

    data: bytes


def _portable(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, without those that cannot travel."""
    found = {}
    for key, value in values.items():
        with contextlib.suppress(Exception):
            found[key] = _one_portable(value)
    return found


def _one_portable(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if type(value) is dict:
        return _portable(value)
    if type(value) in (tuple, list):
        return type(value)(map(_one_portable, value))
    return _Carried(dill.dumps(value, protocol=5, byref=False, recurse=True))


def _unpacked(values: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of :func:`_portable`."""
    found = {}
    for key, value in values.items():
        with contextlib.suppress(Exception):  # of a module that is not here
            found[key] = _one_unpacked(value)
    return found


def _one_unpacked(value: Any) -> Any:
    if type(value) is _Carried:
        return dill.loads(value.data)
    if type(value) is dict:
        return _unpacked(value)
    if type(value) in (tuple, list):
        return type(value)(map(_one_unpacked, value))
    return value


# The worker's side

_depth = 0
_lock = threading.Lock()

#: What holds in this process because a call said so: of which call, its bytes, and the parts.
_standing: tuple[str, bytes, dict[str, Any]] = ("", b"", {})


def _begin_after_fork() -> None:
    global _lock, _depth
    _lock, _depth = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


class Around:
    """What is around one task.

    Parameters
    ----------
    filters : list, optional
        Those of warnings, in words; None where they stay as they are.
    call_id : str
        Of which call the task is.

    Attributes
    ----------
    problems : list of str
        What could not be set.
    """

    def __init__(self, filters: list[Any] | None = None, call_id: str = "") -> None:
        self._filters = filters
        self._call_id = call_id
        self.problems: list[str] = []

    def could_not(self, text: str) -> None:
        """Note a problem, once a call."""
        global _told
        if _told[0] != self._call_id:
            _told = self._call_id, set()
        if text not in _told[1]:
            _told[1].add(text)
            self.problems.append(text)

    @contextlib.contextmanager
    def judging(self, objects: list[Any]) -> Iterator[None]:
        """Let warnings be judged as in the parent.

        Parameters
        ----------
        objects : list
            Among which the categories are that cannot be imported.
        """
        global _judged_by
        if self._filters is None:
            yield
            return
        with warnings.catch_warnings():
            _judged_by = _filters(self._filters, objects)
            warnings.filters[:] = _judged_by  # type: ignore[index]  # the stubs know of no list
            # What was told once is the parent's to know.
            getattr(warnings, "onceregistry", {}).clear()
            try:
                yield
            finally:
                _judged_by = None


#: What could not be set, and of which call that was said.
_told: tuple[str, set[str]] = ("", set())

#: The filters of the caller, while they judge.
_judged_by: list[Any] | None = None


def decided_as_around(text: str, category: type[Warning], module: str | None, lineno: int) -> bool:
    """Whether a warning is shown by a filter of the caller's, who then may have seen it already.

    Else the function has set a filter of its own, by which it is shown in any case.
    """
    if _judged_by is None:
        return True
    for entry in warnings.filters:
        _, message, kind, where, line = entry
        if (
            (message is None or _matches(message, text))
            and issubclass(category, kind)
            and (where is None or _matches(where, module or ""))
            and line in (0, lineno)
        ):
            return entry in _judged_by
    return True


def _matches(pattern: Any, text: str) -> bool:
    return text == pattern if isinstance(pattern, str) else pattern.match(text) is not None


@functools.lru_cache(maxsize=4)
def _parts(data: bytes) -> dict[str, Any]:
    parts: dict[str, Any] = pickle.loads(data)
    return parts


@contextlib.contextmanager
def within(data: bytes, call_id: str, stays: bool, lasting: bool) -> Iterator[Around]:
    """Let hold here what holds around a call, for the length of one of its tasks.

    Parameters
    ----------
    data : bytes
        What :func:`around` said; empty where nothing is to change.
    call_id : str
        Of which call.
    stays : bool
        Whether this is a worker of pdparallel's own, which may keep it.
    lasting : bool
        Whether the worker was prepared by an initializer, which may have changed what does not differ from before.
    """
    global _depth, _standing
    if not data:
        yield Around()
        return
    with _lock:
        _depth += 1
        first = _depth == 1
    try:
        if not first:  # of the threads of a process one decides what holds for all
            yield Around()
            return
        with warnings.catch_warnings(), contextlib.ExitStack() as undone:
            warnings.simplefilter("ignore")
            call, before, parts = _standing if stays else ("", b"", {})
            if data != before:
                parts = _parts(data)
            known = _standing[2] if stays and lasting else {}
            place = Around(parts["filters"], call_id)
            here = parts["machine"] == platform.node()
            if here:
                _do(place, undone, "folder", _enter, parts.get("folder"), [])
            if (call, before) != (call_id, data):
                undo = contextlib.ExitStack() if stays else undone
                changed = _changed(parts, known)
                if here and "path" in changed:  # others may be imported by it
                    _do(place, undo, "path", lambda wanted: _apply_path(wanted, stays), changed["path"], [])
                for name, part in _PARTS.items():
                    if name in changed and (here or not part.of_machine):
                        _do(place, undo, name, part.apply, changed[name], parts["carried"])
                if stays:
                    undo.pop_all()
                    _standing = call_id, data, parts
            yield place
    finally:
        with _lock:
            _depth -= 1


def _changed(wanted: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """What is not known to hold already, of a dict in it only the keys that differ."""
    changed = {}
    for key, value in wanted.items():
        if key not in known or type(value) is not type(known[key]):
            changed[key] = value
        elif value != known[key]:
            changed[key] = _changed(value, known[key]) if type(value) is dict else value
    return changed


def _do(
    place: Around, undone: contextlib.ExitStack, name: str, apply: Callable[[Any], Undo | None], wanted: Any,
    carried: list[str],
) -> None:  # fmt: skip
    """Apply a part; what cannot be had does not hinder a function that may not need it."""
    try:
        undo = apply(_one_unpacked(wanted) if name in carried else wanted)
    except Exception as error:
        place.could_not(
            f"the {_WORDS.get(name, name)} of this process could not be set in the workers "
            f"({type(error).__name__}: {error}); the function runs without"
        )
    else:
        if undo is not None:
            undone.callback(_quietly, undo)


#: How parts are named to users.
_WORDS = {
    "folder": "current folder", "path": "sys.path", "pandas": "options of pandas", "digits": "limit of digits",
    "errors": "np.errstate", "call on error": "np.seterrcall", "printing": "print options of NumPy",
    "decimal": "context of decimal", "levels": "levels of loggers", "recursion": "recursion limit",
}  # fmt: skip


def _quietly(undo: Undo) -> None:
    with contextlib.suppress(Exception):  # the folder from which the worker came may be gone
        undo()


# Filters of warnings, which name classes that the worker may not have


def _in_words(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    action, message, category, module, lineno = entry
    return action, _pattern(message), (category.__module__, category.__qualname__), _pattern(module), lineno


def _pattern(pattern: Any) -> Any:
    return (pattern.pattern, pattern.flags) if isinstance(pattern, re.Pattern) else pattern


def _out_of_words(entry: tuple[Any, ...], objects: list[Any]) -> tuple[Any, ...] | None:
    """A filter; None where its category is of a module that nobody here has imported, and so nobody warns by it."""
    action, message, (module, name), where, lineno = entry
    category = _category(module, name, objects)
    if category is None:
        return None
    return action, _compiled(message), category, _compiled(where), lineno


#: Filters in words, and what they are where all their categories are known to all.
_known_filters: tuple[list[Any], list[Any]] = ([], [])


def _filters(words: list[Any], objects: list[Any]) -> list[Any]:
    """The filters, but for those of categories that nobody here has."""
    global _known_filters
    if words is _known_filters[0]:
        return _known_filters[1]
    found = [_out_of_words(entry, objects) for entry in words]
    if all(entry is not None and entry[2] not in objects for entry in found):
        _known_filters = words, found
    return [entry for entry in found if entry is not None]


def _compiled(pattern: Any) -> Any:
    return re.compile(*pattern) if isinstance(pattern, tuple) else pattern


def _category(module: str, name: str, objects: list[Any]) -> type[Warning] | None:
    for one in objects:
        if isinstance(one, type) and issubclass(one, Warning) and (one.__module__, one.__qualname__) == (module, name):
            return one
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Warning) else None
