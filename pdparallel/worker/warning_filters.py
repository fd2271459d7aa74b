"""Filters: those of warnings, in words that travel and back, for they name classes that a worker may not have."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["current", "decided_as_around", "in_words", "judging"]

#: The filters of the caller, while they judge.
_judged_by: list[Any] | None = None


def current() -> list[Any]:
    """The filters that hold here: from Python 3.14 on they may be those of a context, which has no public name."""
    of_context = getattr(warnings, "_get_filters", None)
    filters: Any = warnings.filters if of_context is None else of_context()
    return filters  # type: ignore[no-any-return]


def decided_as_around(text: str, category: type[Warning], module: str | None, lineno: int) -> bool:
    """Whether a warning is shown by a filter of the caller's, who then may have seen it already.

    Else the function has set a filter of its own, by which it is shown in any case.
    """
    if _judged_by is None:
        return True
    for entry in current():
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
def judging(words: list[Any], objects: list[Any]) -> Iterator[None]:
    """Let warnings be judged as in the parent.

    Parameters
    ----------
    words : list
        The caller's filters, by :func:`in_words`.
    objects : list
        Among which the categories are that cannot be imported.
    """
    global _judged_by
    with warnings.catch_warnings():
        _judged_by = _filters(words, objects)
        current()[:] = _judged_by
        # What was told once is the parent's to know.
        getattr(warnings, "onceregistry", {}).clear()
        try:
            yield
        finally:
            _judged_by = None


def in_words(entry: tuple[Any, ...]) -> tuple[Any, ...]:
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
