"""Function that runs first on a worker of a cluster, which may lack pdparallel or have other versions."""

from __future__ import annotations

import builtins
import importlib
import platform
import sys
import types
from collections.abc import Callable
from typing import Any

from pdparallel.errors import WorkerStartError

__all__ = ["KIND", "answer_of", "by_value", "on_worker", "wanted"]

#: Name of the tasks on the cluster's dashboard.
KIND = "pdparallel-chunk"


def wanted() -> dict[str, str]:
    """Return the versions of this process, which every worker must have."""
    here = {name: str(importlib.import_module(name).__version__) for name in ("pandas", "pdparallel")}
    return {"Python": "{}.{}".format(*sys.version_info), **here}


def on_worker(versions: dict[str, str], module: str, *parts: Any) -> Any:
    """Compare the versions, then pass the parts of a task to ``run`` of the engine's module."""
    # Serialized by value. It uses only the standard library before the comparison, because pdparallel may be missing.
    import importlib
    import platform
    import sys

    found = {"Python": "{}.{}".format(*sys.version_info)}
    for name in versions:
        if name not in found:
            try:
                found[name] = str(importlib.import_module(name).__version__)
            except ImportError:
                found[name] = ""
    if found != versions:
        return {"machine": platform.node(), "found": found}
    return importlib.import_module(module).run(*parts)


def by_value(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a copy of a function that every pickler serializes by value, like a function of a notebook."""
    copy = types.FunctionType(func.__code__, {"__builtins__": builtins, "__name__": "__main__"}, name)
    copy.__module__, copy.__qualname__ = "__main__", name
    return copy


def answer_of(returned: Any, where: str) -> bytes:
    """Return the answer of :func:`on_worker`, or raise an error that names the versions that differ."""
    if isinstance(returned, bytes):
        return returned
    here, there = wanted(), returned["found"]
    differ = [
        f"{name} {there[name]} instead of {version}" if there[name] else f"no {name}"
        for name, version in here.items()
        if there[name] != version
    ]
    install = " ".join(f"{name}=={version}" for name, version in here.items() if name != "Python")
    machine = returned["machine"]
    place = where if machine == platform.node() else f"{where} on {machine}"
    raise WorkerStartError(
        f"A worker of {place} has {' and '.join(differ)}, so its results may differ from pandas here. Give all "
        f"workers Python {here['Python']}, and there: pip install {install}"
    )
