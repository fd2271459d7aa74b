"""Hint that a function mostly waits, so that many more calls at once would make its call faster."""

from __future__ import annotations

import functools
import inspect
import math
import threading
import time
import types
import warnings
import weakref
from typing import Any, NamedTuple

import pandas as pd

from pdparallel.core.call import Call
from pdparallel.core.cpu_count import gil_is_off, usable_cores
from pdparallel.core.format import seconds, share
from pdparallel.core.options import Options
from pdparallel.errors import PerformanceHint
from pdparallel.execution.collector import ResultCollector
from pdparallel.transport.functions import level_of_the_user, user_function
from pdparallel.typing import Func
from pdparallel.worker.run_task import inside_worker
from pdparallel.worker.waiting import knows_delay

__all__ = ["COROUTINE", "MANY_AT_ONCE", "Advice", "Asked", "WaitingHint", "advice_for"]

#: Seconds of a call above which a hint is worth a line.
HINT_SECONDS = 5.0

#: Smallest share of its time that the function of a hint waits.
HINT_SHARE = 0.8

#: Smallest share of the call's time that was measured. The first chunk of a call is not.
MEASURED_SHARE = 0.5

#: Calls at once that the advice names: threads, or coroutines.
MANY_AT_ONCE = 32

#: Processes for each core that the advice names, if one interpreter cannot do all the computing of many threads.
PROCESSES_OF_A_CORE = 4

#: Engines that can gain: others are the user's own decision about the number of calls at once.
ENGINES = ("auto", "process", "pathos", "thread")

#: The other way, in words.
COROUTINE = "make it a coroutine function (async def)"

#: Code of the functions that had their hint.
_hinted: weakref.WeakSet[Any] = weakref.WeakSet()
_hinted_lock = threading.Lock()


class Advice(NamedTuple):
    """Engine and number of workers for a function that waits."""

    engine: str
    n_workers: int

    def example(self, verb: str, unit: str, data: object = None) -> str:
        """Return the call of the user with this advice: ``df.par(engine='thread', n_workers=32).apply_rows(func)``."""
        options = f"engine={self.engine!r}, n_workers={self.n_workers}"
        if unit == "item":
            return "pdparallel." + f"{verb}(func, items, {options})"
        first, dot, last = verb.rpartition(".")
        chain = f"{first}(...).{last}" if dot else verb
        return f"{'s' if isinstance(data, pd.Series) else 'df'}.par({options}).{chain}(func)"


def advice_for(waiting: float, options: Options) -> Advice | None:
    """Return what helps a function that waits for this share of its time; None if the call has as many workers."""
    at_once = MANY_AT_ONCE if gil_is_off() else min(MANY_AT_ONCE, 1 / max(1 - waiting, 1 / MANY_AT_ONCE))
    # A thread cannot be ended, and random numbers with a seed let only one thread compute.
    in_threads = options.timeout is None and options.seed is None and at_once >= 2 * options.workers
    advice = Advice("thread", MANY_AT_ONCE)
    if not in_threads:
        advice = Advice("process", PROCESSES_OF_A_CORE * usable_cores().number)
    return advice if advice.n_workers > options.workers else None


class Asked(NamedTuple):
    """The parts of a call that the hint names."""

    verb: str
    unit: str
    func: Func
    data: object = None


class WaitingHint:
    """Watch over a call, which gives the hint at its end if the function waited."""

    __slots__ = ("_began", "_computed", "_options")

    def __init__(self, options: Options) -> None:
        self._options = options
        # All threads together: each one also waits for the GIL, and compiled code may compute in more of them.
        self._computed = time.process_time() if options.engine == "thread" else 0.0
        self._began = time.perf_counter()

    def give(self, call: Call, collector: ResultCollector, before: float = 0.0) -> None:
        """Give the hint if it helps; the call is done, and began ``before`` seconds earlier."""
        took = time.perf_counter() - self._began + before
        if took <= HINT_SECONDS:
            return
        parts = math.ceil(max(call.n, collector.units) / (self._options.chunk_size or 1))
        asked = Asked(call.verb, call.unit, call.work.func, call.data)
        self.judge(asked, took, parts if call.plan is None else len(call.plan), collector.measured, collector.waited)

    def judge(self, asked: Asked, took: float, parts: int, measured: float, waited: float) -> None:
        """Give the hint if the function waited for most of a call, and if more workers would share its parts."""
        options = self._options
        if took <= HINT_SECONDS or measured < MEASURED_SHARE * took or waited < HINT_SHARE * measured:
            return
        if not isinstance(options.engine, str) or options.engine not in ENGINES or parts < 2 * options.workers:
            return
        if options.n_workers is not None and (options.n_workers == 1 or options.engine == "thread"):
            return  # the user chose how many calls are made at once
        if options.engine == "thread" and time.process_time() - self._computed > (1 - HINT_SHARE) * took:
            return
        if options.workers > usable_cores().number and not knows_delay():
            return  # workers that share a core take long, too
        advice = advice_for(waited / measured, options)
        if advice is None or inside_worker() or not _is_new(asked.func):
            return
        more = "workers at once help" if advice.engine == "thread" else "workers than cores help"
        warnings.warn(
            f"The function waited {share(waited / measured)} of its time in this call of {seconds(took)}, probably for "
            f"a network, disk or database. More {more}: {advice.example(asked.verb, asked.unit, asked.data)}, "
            f"or {COROUTINE}.",
            PerformanceHint, stacklevel=level_of_the_user(),
        )  # fmt: skip


def _is_new(func: Func) -> bool:
    """Return True the first time that it gets a plain function with this code."""
    code = _code_of(func)
    if getattr(code, "co_flags", 0) & inspect.CO_COROUTINE:
        return False  # it waits as it should
    with _hinted_lock:
        is_new = code not in _hinted
        _hinted.add(code)
    return is_new


def _code_of(func: Any) -> Any:
    """Return the code of the user's function; its type if it has none."""
    func = user_function(func)
    while isinstance(func, (functools.partial, types.MethodType, types.FunctionType)):
        if isinstance(func, functools.partial):
            func = func.func
        elif isinstance(func, types.MethodType):
            func = func.__func__
        elif isinstance(wrapped := func.__dict__.get("__wrapped__"), types.FunctionType):
            func = wrapped  # a decorator has the same code around each function
        else:
            return func.__code__
    return getattr(type(func).__call__, "__code__", type(func))
