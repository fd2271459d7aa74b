"""Replication of the caller's process state in workers: options, environment, folder, sys.path, warning filters.

A worker lives longer than a call and starts with other settings than the caller has now. So each task contains them::

    parent   around()  settings of this thread, mostly the same bytes as for the last call     -- in each task -->
    worker   within()  sets what differs before it loads the function, because sys.path may be needed to import it.
                       Our own workers keep it until another call differs; those of other pools restore their own.

The caller's warning filters apply only while the function runs. Loading it shows no warnings, because the caller has
imported the same modules before. State of other libraries is not replicated: an initializer sets it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import platform
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from pdparallel.transport.pickler import ByValuePickler
from pdparallel.transport.reducers import PROTOCOL
from pdparallel.worker import settings

__all__ = ["InitializerFolder", "capture_state", "current_filters", "is_shown_by_callers_filter", "within"]

#: Types that any process can unpickle.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))


class InitializerFolder:
    """The folder to which an initializer changed; each task leaves it, and the next one returns to it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        before = settings.folder()
        call()
        after = settings.folder()
        self._folder = None if after == before else after

    def again(self) -> None:
        """Change to the initializer's folder, except in the process of the call, which never left it."""
        if _depth and self._folder is not None:
            os.chdir(self._folder)


# The parent's side

_latest: tuple[list[Any], dict[str, Any], bytes] | None = None


def capture_state() -> bytes:
    """Return the settings of this thread as bytes for :func:`within`."""
    global _latest
    now = {name: part.read() for name, part in settings.PARTS.items()}
    now["folder"], now["path"] = settings.folder(), settings.path()
    judging = list(current_filters())
    latest = _latest
    if latest is not None and latest[0] == judging and settings.same(latest[1], now):
        return latest[2]
    lost: list[str] = []
    written = _portable(now, lost)
    written["carried"] = [name for name, value in written.items() if not settings.same(value, now[name])]
    written["filters"] = [_portable_filter(entry) for entry in judging]
    written["machine"], written["lost"] = platform.node(), lost
    data = pickle.dumps(written, protocol=5)
    _latest = judging, now, data
    return data


class _Carried(NamedTuple):
    """A pickled option that is no plain value, by value if a worker cannot import it."""

    data: bytes


def _portable(value: Any, lost: list[str], *names: str) -> Any:
    """Return a value that can be serialized, without the keys that cannot; add a sentence to ``lost`` for each key."""
    if type(value) in _PLAIN:
        return value
    if type(value) in (tuple, list):
        return type(value)(_portable(one, lost, *names) for one in value)
    if type(value) is not dict:
        data = io.BytesIO()
        ByValuePickler(data, protocol=PROTOCOL).dump(value)
        return _Carried(data.getvalue())
    found = {}
    for key, one in value.items():
        try:
            found[key] = _portable(one, lost, *names, key)
        except Exception as error:
            what = f"{key!r} of the {_WORDS.get(names[0], names[0])}" if names else f"the {_WORDS.get(key, key)}"
            lost.append(f"{what} cannot be sent to workers ({type(error).__name__}: {error})")
    return found


def _unpacked(value: Any) -> Any:
    """Return the value that :func:`_portable` serialized, without the keys that cannot be loaded here."""
    if type(value) is _Carried:
        return pickle.loads(value.data)
    if type(value) in (tuple, list):
        return type(value)(map(_unpacked, value))
    if type(value) is not dict:
        return value
    found = {}
    for key, one in value.items():
        with contextlib.suppress(Exception):  # its module is missing here
            found[key] = _unpacked(one)
    return found


# The worker's side

_depth = 0
_lock = threading.Lock()

#: The settings that a worker of ours keeps: the id of the call that set them, their bytes, and the parts.
_standing: tuple[str, bytes, dict[str, Any]] = ("", b"", {})


def _begin_after_fork() -> None:
    global _lock, _depth
    _lock, _depth = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


class Around:
    """The settings of one task in a worker, and the problems with them."""

    def __init__(self, filters: list[Any] | None = None, call_id: str = "") -> None:
        self._filters = filters
        self._call_id = call_id
        self.problems: list[str] = []

    def could_not(self, text: str) -> None:
        """Note a problem once for each call."""
        global _told
        if _told[0] != self._call_id:
            _told = self._call_id, set()
        if text not in _told[1]:
            _told[1].add(text)
            self.problems.append(text)

    def judging(self, objects: list[Any]) -> AbstractContextManager[None]:
        """Apply the parent's warning filters; ``objects`` contains the categories that cannot be imported."""
        return contextlib.nullcontext() if self._filters is None else _with_filters(self._filters, objects)


#: The id of the last call with problems, and the problems that it reported.
_told: tuple[str, set[str]] = ("", set())


@functools.lru_cache(maxsize=4)
def _parts(data: bytes) -> dict[str, Any]:
    parts: dict[str, Any] = pickle.loads(data)
    return parts


@contextlib.contextmanager
def within(data: bytes, call_id: str, stays: bool, lasting: bool) -> Iterator[Around]:
    """Apply the settings of a call during one of its tasks; a worker of ours (``stays``) keeps them."""
    global _depth, _standing
    if not data:
        yield Around()
        return
    with _lock:
        _depth += 1
        first = _depth == 1
    try:
        if not first:  # another thread has set them for the whole process
            yield Around()
            return
        with warnings.catch_warnings(), contextlib.ExitStack() as undone:
            warnings.simplefilter("ignore")
            call, before, parts = _standing if stays else ("", b"", {})
            if data != before:
                parts = _parts(data)
            # After an initializer only changed parts are set, because it may have set the others differently.
            known = _standing[2] if stays and lasting else {}
            place = Around(parts["filters"], call_id)
            for sentence in parts["lost"]:
                place.could_not(f"{sentence}; the function runs without")
            here = parts["machine"] == platform.node()
            if here:
                _do(place, undone, "folder", settings.enter, parts.get("folder"), [])
            if (call, before) != (call_id, data):
                undo = contextlib.ExitStack() if stays else undone
                changed = _changed(parts, known)
                if here and "path" in changed:  # first, because other parts may be imported by it
                    _do(place, undo, "path", lambda wanted: settings.apply_path(wanted, stays), changed["path"], [])
                for name, part in settings.PARTS.items():
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
    """Return the parts of ``wanted`` that differ from ``known``; of a dict only the keys that differ."""
    changed = {}
    for key, value in wanted.items():
        if key not in known or type(value) is not type(known[key]):
            changed[key] = value
        elif value != known[key]:
            changed[key] = _changed(value, known[key]) if type(value) is dict else value
    return changed


def _do(
    place: Around, undone: contextlib.ExitStack, name: str, apply: Callable[[Any], settings.Undo | None], wanted: Any,
    carried: list[str],
) -> None:  # fmt: skip
    """Apply a part; note a failure as a problem, because the function may not need it."""
    try:
        undo = apply(_unpacked(wanted) if name in carried else wanted)
    except Exception as error:
        place.could_not(
            f"the {_WORDS.get(name, name)} of this process could not be set in the workers "
            f"({type(error).__name__}: {error}); the function runs without"
        )
    else:
        if undo is not None:
            undone.callback(_quietly, undo)


#: Names of parts in messages to users.
_WORDS = {
    "folder": "current folder", "path": "sys.path", "pandas": "options of pandas", "digits": "limit of digits",
    "errors": "np.errstate", "call on error": "np.seterrcall", "printing": "print options of NumPy",
    "decimal": "context of decimal", "levels": "levels of loggers", "recursion": "recursion limit",
}  # fmt: skip


def _quietly(undo: settings.Undo) -> None:
    with contextlib.suppress(Exception):  # the worker's earlier folder may be gone
        undo()


# Warning filters: they are sent by name, because a worker may not have their classes

#: The caller's filters while they apply; else None.
_judged_by: list[Any] | None = None


def current_filters() -> list[Any]:
    """Return the current warning filters; from Python 3.14 on a context may have its own, without a public name."""
    of_context = getattr(warnings, "_get_filters", None)
    filters: Any = warnings.filters if of_context is None else of_context()
    return filters  # type: ignore[no-any-return]


def is_shown_by_callers_filter(text: str, category: type[Warning], module: str | None, lineno: int) -> bool:
    """Return True if a filter of the caller, not one that the function set, decides about a warning."""
    if _judged_by is None:
        return True
    for entry in current_filters():
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


@contextlib.contextmanager
def _with_filters(words: list[Any], objects: list[Any]) -> Iterator[None]:
    """Apply the parent's filters, which are given by name."""
    global _judged_by
    with warnings.catch_warnings():
        _judged_by = _filters(words, objects)
        current_filters()[:] = _judged_by
        # The parent knows which warnings of "once" were shown.
        getattr(warnings, "onceregistry", {}).clear()
        try:
            yield
        finally:
            _judged_by = None


def _portable_filter(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    action, message, category, module, lineno = entry
    return action, _pattern(message), (category.__module__, category.__qualname__), _pattern(module), lineno


def _pattern(pattern: Any) -> Any:
    return (pattern.pattern, pattern.flags) if isinstance(pattern, re.Pattern) else pattern


#: Cache: the last filters by name, and the filters themselves if no category came with the task.
_known_filters: tuple[list[Any], list[Any]] = ([], [])


def _filters(words: list[Any], objects: list[Any]) -> list[Any]:
    """Rebuild the filters, except those whose category is not imported here, so that nothing warns with it."""
    global _known_filters
    if words is _known_filters[0]:
        return _known_filters[1]
    found = [
        (action, _compiled(message), _category(module, name, objects), _compiled(where), line)
        for action, message, (module, name), where, line in words
    ]
    known = [entry for entry in found if entry[2] is not None]
    if len(known) == len(found) and all(entry[2] not in objects for entry in found):
        _known_filters = words, known
    return known


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
