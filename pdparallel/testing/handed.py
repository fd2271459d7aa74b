"""The arguments that a call passes to a function, recorded as copies."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import pandas as pd

from pdparallel.api.accessor import par
from pdparallel.core.options import forcing
from pdparallel.errors import InvalidOptionError
from pdparallel.typing import Func

__all__ = ["UnitInput", "Verb", "handed", "here", "name_of", "named"]

#: The name of a method; or a function that takes an accessor and a function, and makes the call.
Verb: TypeAlias = str | Callable[[Any, Func], Any]

_WORDS = {"apply_rows": "row", "apply_cols": "column", "map": "value", "apply_chunks": "chunk"}

#: Number of chunks for a test of ``apply_chunks``.
CHUNKS = 10


class UnitInput(NamedTuple):
    """Argument of a call: a function that makes a copy of it, and its label."""

    copy: Callable[[], Any]
    label: Any


class _EnoughError(BaseException):
    """Raised to end a call when it has enough units. No Exception, so that no ``errors=`` catches it."""


def handed(func: Func, data: Any, call: Verb | None, most: int, seed: int | None) -> tuple[list[UnitInput], str]:
    """Record the first arguments that a call passes to a function, and return them with the word for their kind."""
    # Each argument also goes to the function, because its return may decide what comes next.
    if not isinstance(data, (pd.DataFrame, pd.Series)):
        if call is not None:
            raise InvalidOptionError("call", call, "None with items, which the function gets one by one")
        return [UnitInput(_copies(item), item) for item in itertools.islice(data, most)], "item"
    if call is None:
        call = "apply_rows" if isinstance(data, pd.DataFrame) else "map"
    size = max(1, -(-len(data) // CHUNKS)) if call == "apply_chunks" else None
    ask = _asking(call, data)
    word = _WORDS.get(call, "unit") if isinstance(call, str) else "unit"
    found: list[UnitInput] = []

    def keep(unit: Any, *args: Any, **kwargs: Any) -> Any:
        if len(found) >= most:
            raise _EnoughError
        label = len(found) if word == "chunk" else _label(unit, len(found))
        found.append(UnitInput(_copies(unit), label))
        return func(unit, *args, **kwargs)

    keep.__name__ = getattr(func, "__name__", "<function>")  # pandas reads the name
    try:
        with here(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask(par(data.copy())(errors="coerce", chunk_size=size, seed=seed), keep)
    except _EnoughError:
        pass
    except Exception:
        if not found:
            raise
    return found, word


def here() -> contextlib.AbstractContextManager[None]:
    """Make calls of a ``with`` block run in this process without serialization, whatever other options say."""
    return forcing({"engine": "serial", "timeout": None, "checkpoint": None, "initializer": None, "initargs": ()})


def _asking(call: Verb, data: Any) -> Callable[[Any, Func], Any]:
    if not isinstance(call, str) and callable(call):
        return call
    if call not in _WORDS or not hasattr(par(data), call):
        raise InvalidOptionError(
            "call", call, "one of " + ", ".join(map(repr, _WORDS)) + ", or a function of accessor and function",
            "Such as lambda par, func: par.groupby('key').apply(func).",
        )  # fmt: skip
    return lambda accessor, func: getattr(accessor, call)(func)


def _label(unit: Any, number: int) -> Any:
    return getattr(unit, "name", number) if isinstance(unit, (pd.DataFrame, pd.Series)) else unit


def _copies(unit: Any) -> Callable[[], Any]:
    """Return a function that copies a unit; the copies share nothing with it or with each other."""
    name = name_of(unit)
    try:
        data = pickle.dumps(unit, protocol=5)
        pickle.loads(data)
    except Exception:
        kept = copy.deepcopy(unit)
        return lambda: copy.deepcopy(kept)
    return lambda: named(pickle.loads(data), name)


def name_of(unit: Any) -> Any:
    """Return the name that pandas gives to a group, which a copy of a frame loses; None for other objects."""
    return vars(unit).get("name") if isinstance(unit, pd.DataFrame) else None


def named(unit: Any, name: Any) -> Any:
    """Give a unit the name of a group, and return it."""
    if name is not None:
        object.__setattr__(unit, "name", name)
    return unit
