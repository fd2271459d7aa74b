"""Public: every name that users may write or hold, for the tests of what is said about them."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator

import pdparallel
import pdparallel.testing
from pdparallel.api.accelerate import Accelerated
from pdparallel.api.accessor import FramePar, SeriesPar
from pdparallel.api.background import Background, Running
from pdparallel.api.groupby import GroupByPar
from pdparallel.api.imap import Results
from pdparallel.api.resample import ResamplePar
from pdparallel.api.rolling import WindowPar
from pdparallel.execution.records import Observer
from pdparallel.testing import saboteurs

#: What users get from a call, and do not import.
HANDED_OUT = (
    Accelerated, Background, FramePar, GroupByPar, ResamplePar, Results, Running, SeriesPar, WindowPar,
)  # fmt: skip

#: Methods with a public name that this package calls, and nobody else.
OUR_OWN = {f"pdparallel.Profile.{name}" for name in vars(Observer)} | {"pdparallel.api.background.Running.end"}


def module_names(module: types.ModuleType) -> Iterator[str]:
    for name in module.__all__:
        found = getattr(module, name)
        if not isinstance(found, types.ModuleType):
            yield f"{module.__name__}.{name}"
            if inspect.isclass(found):
                yield from members(found, f"{module.__name__}.{name}")


def members(cls: type, path: str) -> Iterator[str]:
    """Its public methods and properties, as far as they are written here, and what calling it does."""
    for name in dir(cls):
        found = inspect.getattr_static(cls, name)
        found = found.fget if isinstance(found, property) else found
        by_us = inspect.isfunction(found) and found.__module__.startswith("pdparallel")
        calls = name == "__call__" and cls in HANDED_OUT
        if by_us and (calls or not name.startswith("_")) and f"{path}.{name}" not in OUR_OWN:
            yield f"{path}.{name}"


def everything_public() -> list[str]:
    names = [name for module in (pdparallel, pdparallel.testing, saboteurs) for name in module_names(module)]
    for cls in HANDED_OUT:
        path = f"{cls.__module__}.{cls.__name__}"
        names += [path, *members(cls, path)]
    return sorted(set(names))
