"""Report on this machine: the settings that pdparallel chooses, their reasons, and a test of the worker pool.

Most questions about a parallel call need these facts. ``python -m pdparallel doctor`` prints them.

>>> print(Report("pool", [Fact("start method", "spawn", "the only one of this platform")]).text())
pool
  start method  spawn  the only one of this platform
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from typing import NamedTuple, TextIO

import pandas as pd

from pdparallel.api.accessor import par
from pdparallel.core.cpu_count import load, machine_available, memory_limit, usable_cores
from pdparallel.core.options import Options, get_options, resolve
from pdparallel.engines.registry import shutdown
from pdparallel.testing.equality import assert_same
from pdparallel.transport.shared_memory import Arena

__all__ = ["Fact", "Report", "examine", "memory", "run", "try_pool", "versions"]

#: Number of rows in the test of the pool: enough for every worker to start.
ROWS_TO_TRY = 1_000


class Fact(NamedTuple):
    """A finding and its reason in words."""

    name: str
    found: str
    why: str = ""


class Report(NamedTuple):
    """Facts under a heading; ``works`` is False if something is broken."""

    heading: str
    facts: list[Fact]
    works: bool = True

    def text(self) -> str:
        """Return the facts as aligned columns."""
        names = max((len(fact.name) for fact in self.facts), default=0)
        found = max((len(fact.found) for fact in self.facts if fact.why), default=0)
        lines = (f"  {fact.name:{names}}  {fact.found:{found}}  {fact.why}".rstrip() for fact in self.facts)
        return "\n".join([self.heading, *lines])


def run(out: TextIO | None = None) -> bool:
    """Print all reports; return True if a pool works here."""
    out = sys.stdout if out is None else out
    for report in (examine(), versions()):
        print(report.text(), end="\n\n", file=out, flush=True)
    print("Trying out a pool of processes ...", file=out, flush=True)
    tried = try_pool()
    print(tried.text(), file=out, flush=True)
    return tried.works


def examine() -> Report:
    """Report the settings of calls: workers, start method, transport of data, memory, options."""
    options, cores = resolve(), usable_cores()
    why = "one for each core" if options.n_workers is None else "n_workers was set"
    facts = [Fact("cores", str(cores.number), cores.why), Fact("workers", str(options.workers), why)]
    facts += [*_load(), _start_method(options), _transport(), memory(), _options_set()]
    return Report("What pdparallel found", facts)


def versions() -> Report:
    """Report the versions of Python and of the important packages."""
    python = f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform(terse=True)})"
    names = ("pdparallel", "pandas", "numpy", "dill", "pathos", "pyarrow")
    return Report("Versions", [Fact("Python", python), *(Fact(name, _version(name)) for name in names)])


def try_pool() -> Report:
    """Start a pool of processes, call a lambda in it twice, and compare with pandas."""
    k = 3
    df = pd.DataFrame({"a": range(ROWS_TO_TRY), "b": 0.5})
    expected = df.apply(lambda row: row["a"] * row["b"] + k, axis=1)
    times = []
    shutdown()  # a warm pool would falsify the time of the first call
    try:
        for _ in range(2):
            began = time.perf_counter()
            got = par(df)(engine="process").apply_rows(lambda row: row["a"] * row["b"] + k)
            times.append(time.perf_counter() - began)
            assert_same(got, expected)
    except AssertionError as error:
        fault = Fact("wrong result", str(error).replace("\n", "\n    "))
        return Report("A pool of processes gives a WRONG result here", [fault], works=False)
    except Exception as error:  # a sandbox, an unusual platform or a broken installation may raise anything
        notes = "".join(f"\n    {note}" for note in getattr(error, "__notes__", ()))
        facts = [
            Fact("error", f"{type(error).__name__}: {error}{notes}"),
            Fact("try", 'df.par(engine="thread") or df.par(engine="serial"), which start no process'),
        ]
        return Report("A pool of processes does NOT work here", facts, works=False)
    finally:
        shutdown()
    cold, warm = times
    facts = [
        Fact("first call", f"{cold:.3f} s", "starts the workers, which import pandas"),
        Fact("warm call", f"{warm:.3f} s", "the workers stay for the next calls, until they are idle for minutes"),
        Fact("function", "a lambda", "with a variable from around it (a closure); such functions are sent by value"),
        Fact("result", "right", f"the same {ROWS_TO_TRY:,} rows as from pandas"),
    ]
    return Report("A pool of processes works here", facts)


def _load() -> list[Fact]:
    tasks = load()
    if tasks is None:
        return []
    why = "tasks that wanted a core in the last minute"
    if tasks > (os.cpu_count() or 1) / 2:
        why += ": others use the cores too, so times will vary"
    return [Fact("load", f"{tasks:.1f}", why)]


def _start_method(options: Options) -> Fact:
    if options.start_method is not None:
        why = "start_method was set"
    elif options.method == "forkserver":
        why = "forked from a clean process that has pandas loaded: quick, and safe beside threads"
    else:
        why = "each worker is a new Python, which is the only safe way on this platform"
    return Fact("start method", options.method, why)


def _transport() -> Fact:
    """Report how data reaches the workers, by creating shared memory with one byte."""
    try:
        arena = Arena([memoryview(b"x")])
    except Exception as error:
        return Fact("data travels", "NO WAY", f"no file can be made: {type(error).__name__}: {error}")
    in_memory = arena.ref.path.startswith("/proc/")
    arena.close()
    if in_memory:
        return Fact("data travels", "in memory", "written once to a memfd, which all workers map; /dev/shm is not used")
    folder = tempfile.gettempdir()
    lack = "/proc shows no open files of this process" if hasattr(os, "memfd_create") else "this platform has no memfd"
    free = shutil.disk_usage(folder).free
    return Fact("data travels", "by file", f"a temporary file in {folder} ({_size(free)} free), since {lack}")


def memory(root: str | os.PathLike[str] = "/") -> Fact:
    """Report the memory that this process may use, and the reason."""
    total, limit = _machine_memory(), memory_limit(root)
    if limit is not None and (total is None or limit < total):
        return Fact("memory", _size(limit), "cgroup limit" + (f" ({_size(total)} in the machine)" if total else ""))
    if total is None:
        return Fact("memory", "unknown", "this platform does not tell")
    available = machine_available(root)
    return Fact("memory", _size(total), "all of the machine" + (f"; {_size(available)} available" if available else ""))


def _machine_memory() -> int | None:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
    return size if size > 0 else None


def _options_set() -> Fact:
    """Report the options that the environment or ``set_options`` changed."""
    defaults = Options()
    given = {name: value for name, value in get_options().items() if value != getattr(defaults, name)}
    text = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return Fact("options set", text or "none", "" if text else "all have their defaults; see pdparallel.Options")


def _version(package: str) -> str:
    if package == "pdparallel":
        import pdparallel

        return pdparallel.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _size(number: int) -> str:
    gigabytes = number / 2**30
    return f"{gigabytes:.1f} GiB" if gigabytes >= 1 else f"{number / 2**20:.0f} MiB"
