"""Report on a call before it runs: its cost, engine and speed-up, estimated from a few milliseconds of its units.

The real method creates the call, and an observer stops it before anything runs. So all options and unusual frames have
their usual meaning. The function then runs for a few units, and the usual code decides about engine and chunks::

    verb       -> Call, Options                    stopped by an observer, nothing has run
    worker     record: units from many places      seconds of a unit and of the function, and whether it waits
    pandas     apply, map: some of them again      seconds of a unit in pandas
    transport  function, units and returns         bytes, and seconds for sending
    placement  PoolDecision.evaluate               here or in workers, and why
    chunking   PendingRanges.next_size             units of a chunk
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from pdparallel.core.call import Call, Work
from pdparallel.core.chunking import CHUNK_MIN_TASKS, TASK_SECONDS, Chunk, PendingRanges
from pdparallel.core.cpu_count import gil_is_off, usable_cores
from pdparallel.core.format import LARGE_SHARE, MAIN_SHARE, few, seconds, share, size
from pdparallel.core.mistakes import unknown_value
from pdparallel.core.options import Options
from pdparallel.core.outcome import Outcome
from pdparallel.core.validation import check_func, goes_to_pandas
from pdparallel.diagnostics.explanation import Explanation, counted
from pdparallel.diagnostics.measure import MAX_OF_A_PLACE, bytes_of, fits_lazy_rows, sampled
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import FunctionNotSerializableError, InvalidOptionError
from pdparallel.execution import placement
from pdparallel.execution.compiled import Trial, trial
from pdparallel.execution.events import observing
from pdparallel.execution.placement import COLD_WORTH_SECONDS, COROUTINES, PoolDecision, Reason, transfer_cost
from pdparallel.execution.records import Observer, Record
from pdparallel.execution.waiting import COROUTINE, MANY_AT_ONCE, advice_for
from pdparallel.transport.functions import encode_work
from pdparallel.transport.narrow import narrowing
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.transport.task import Locality

__all__ = ["explain", "explain_verb"]

#: Number of measurements of the cost of sending. The smallest counts.
TRIES = 5


# The call


class _StopError(BaseException):
    """Exception that stops a method before it runs its call; no ``except Exception`` catches it."""


class _StopMethod(Observer):
    """Observer that keeps the call of a method and stops the method."""

    made: tuple[Call, Options] | None = None  # None if pandas does the call alone

    def begins(self, record: Record, call: Call, options: Options) -> None:
        self.made = call, options
        raise _StopError

    def to_pandas(self) -> None:
        raise _StopError


def explain_verb(
    par: Any, units: Mapping[str, str], func: Any, verb: Any, arguments: Mapping[str, Any], nothing: bool
) -> Explanation:
    """Explain ``par.<verb>(func, **arguments)``; ``nothing`` if the data is empty."""
    check_func(func)
    if goes_to_pandas(func):
        raise InvalidOptionError("func", func, "a Python function", "pandas itself runs all others.")
    if verb not in units:
        raise unknown_value("verb", verb, units)
    quiet = par(checkpoint=None, progress=False)
    return explain(verb, units[verb], lambda: getattr(quiet, verb)(func, **arguments), nothing)


def explain(verb: str, unit: str, ask: Callable[[], Any], nothing: bool = False) -> Explanation:
    """Explain the call that ``ask`` makes; ``nothing`` if it has no units."""
    method = _StopMethod()
    if not nothing:
        with contextlib.suppress(_StopError), observing(method, alone=True):
            ask()
    if method.made is None:
        return Explanation(verb=verb, unit=unit, units=0, reason="pandas does it alone, in this process")
    return _explained(*method.made)


def _explained(call: Call, options: Options) -> Explanation:
    problems: list[str] = []
    if options.engine == "asyncio":
        name, workers, locality = "asyncio", min(call.n, options.max_concurrency), Locality.PROCESS
        call = replace(call, work=replace(call.work, max_concurrency=1, rate=None))  # to measure single calls
    elif options.engine == "numba":
        name, workers, locality = "numba", options.workers, Locality.PROCESS
    else:
        with contextlib.closing(open_engine(options)) as engine:  # starts no worker before its first task
            name, workers, locality = engine.name, engine.n_workers, engine.locality
    bytes_function = _bytes_of_function(call.work, options, problems)
    found = Explanation(
        verb=call.verb, unit=call.unit, units=call.n, cores=usable_cores().number, bytes_function=bytes_function,
        engine="", advice=(MAKE_IN_WORKER,) if bytes_function is None else (),
    )  # fmt: skip
    found, outcome, pandas_fixed, _ = sampled(call, found, problems)
    found = replace(found, problem="; ".join(problems))
    if outcome is None:
        return found
    if locality is not Locality.PROCESS:
        # On a busy machine some measurements are too large.
        shared, here = map(min, zip(*(transfer_cost(call, outcome) for _ in range(TRIES)), strict=True))
        found = replace(found, travel_workers=shared, travel_parent=here)
    found = replace(found, engine=name, workers=workers, warm=is_warm(options), **bytes_of(call, outcome))
    compilation = _compilation(found, call, options, outcome)
    found = _with_plan(found, call, options, outcome)
    if name == "numba" and compilation is not None and not compilation.problem:
        took = compilation.compilation + _in_compiled_code(compilation, found)
        found = replace(found, seconds=took)
    if compilation is not None:
        found = replace(found, compiled=_compiled_in_words(compilation, found))
    seconds_pandas = call.n * found.pandas_cost + pandas_fixed
    speed_up = seconds_pandas / found.seconds
    found = replace(found, seconds_here=call.n * found.cost, seconds_pandas=seconds_pandas, speed_up=speed_up)
    more = _advice(found, call, options, outcome)
    return replace(found, limit=_limit(found, options), advice=(*found.advice, *more))


def _compilation(found: Explanation, call: Call, options: Options, outcome: Outcome) -> Trial | None:
    """Try to compile the function, if numba is installed and the function computes numbers from numbers."""
    is_asked = options.engine == "numba"
    if importlib.util.find_spec("numba") is None or not (is_asked or _makes_numbers_of_numbers(found, call, outcome)):
        return None
    return trial(call, options)


def _in_compiled_code(compilation: Trial, found: Explanation) -> float:
    """Return the expected seconds of compiled code, with those of the rows that Python checks."""
    return found.units * compilation.unit / found.cores + compilation.check


def _compiled_in_words(compilation: Trial, found: Explanation) -> str:
    if compilation.problem:
        return compilation.problem
    took = f"compiles in {seconds(compilation.compilation)}" if compilation.compilation else "is compiled"
    whole = seconds(_in_compiled_code(compilation, found))
    if found.engine != "numba" and _in_compiled_code(compilation, found) > found.seconds:
        return f"the function {took}, but engine='numba' is not faster for so few {found.unit}s"
    if found.engine == "numba":
        return f"the function {took}; then all {found.unit}s take about {whole}"
    return f"the function {took}; then df.par(engine='numba') takes about {whole} instead of {seconds(found.seconds)}"


def _bytes_of_function(work: Work, options: Options, problems: list[str]) -> int | None:
    try:
        return len(encode_work(work, SharedTable(), options.serializer))
    except FunctionNotSerializableError as error:
        problems.append(str(error))
        return None


# Expected engine, chunks and seconds


def _with_plan(found: Explanation, call: Call, options: Options, outcome: Outcome) -> Explanation:
    """Add the expected engine with its reason, workers, chunk size and seconds."""
    cost, n, name, workers = found.cost, call.n, found.engine, found.workers
    shared, here = found.travel_workers, found.travel_parent
    reason = COROUTINES if call.work.is_async and name == "asyncio" else "engine= names it"
    if options.engine == "auto" and (options.timeout is not None or options.initializer is not None):
        reason = "timeout= and initializer= need workers"
    elif options.engine == "auto":
        worth = PoolDecision(options, in_threads=lambda: call.work.unit_format != "row" or found.lazy is not False)
        worth.set_transfer_cost((shared, here))
        verdict = worth.evaluate(cost, n, lambda: found.warm, lambda: (call, outcome))
        if verdict is Reason.WORTH and found.bytes_function is None:
            verdict = Reason.CANNOT
        reason = verdict.value
        if verdict is Reason.THREADS:
            name, shared, here = "thread", 0.0, 0.0
        elif verdict is not Reason.WORTH:
            return replace(found, engine="here", workers=1, reason=reason, seconds=n * cost, chunk_size=n)
    if call.plan is not None:
        chunk_size = len(call.plan[len(call.plan) // 2])
    else:
        chunk_size = options.chunk_size or PendingRanges(n).next_size(workers, cost, 0.0)
    workers = min(workers, max(1, -(-n // chunk_size)))
    each = (cost + shared) / workers + here
    if name in ("serial", "numba"):
        took = n * cost
    elif name == "asyncio":
        chunk_size, took = 1, n * cost * max(1 - found.waiting, 1 / workers)
        if options.rate_limit is not None:
            took = max(took, n / options.rate_limit)
    elif name == "thread":
        took = _in_threads(found, workers)
    elif name == "process" and not found.warm:
        start = placement.COLD_WORTH_SECONDS / 2
        meanwhile = start / cost if options.engine == "auto" else 0.0
        took = start + max(n - meanwhile, 0.0) * each
    else:
        took = placement.ANSWER_SECONDS + n * each
    return replace(found, engine=name, workers=workers, reason=reason, chunk_size=chunk_size, seconds=took)


def _in_threads(found: Explanation, workers: int) -> float:
    """Return the expected seconds in threads: with the GIL one of them computes at a time, but all can wait at once."""
    return found.units * found.cost * max(0.0 if gil_is_off() else 1 - found.waiting, 1 / workers)


# Limit of the speed-up, and advice

#: Seconds of a call below which the function is light. Making a row takes about as long.
LIGHT = 20e-6

#: Smallest number of bytes in unread columns that deserves the advice to leave them out.
LARGE_BYTES = 1_000_000

#: Advice on a function that cannot be sent.
MAKE_IN_WORKER = "create the object that cannot be sent inside the function or in initializer=, or use engine='thread'"


def _limit(found: Explanation, options: Options) -> str:
    """Return the limit of the speed-up in words."""
    travels = found.travel_workers / found.workers + found.travel_parent
    whole = found.cost / found.workers + travels
    if found.engine == "numba":
        return f"{counted(found.workers, 'thread')} of compiled code" if not found.compiled.startswith("The") else ""
    if found.engine == "here":
        return "one core: this process does all the work"
    if found.engine == "serial" or found.workers == 1:
        return "one worker"
    if options.rate_limit is not None and found.seconds * options.rate_limit <= found.units:
        return f"rate_limit: {options.rate_limit:g} calls per second"
    if found.engine == "asyncio":
        if found.waiting * found.workers < found.workers - 1:
            return "one core: all coroutines share it while they do not wait"
        return f"max_concurrency: {found.workers} calls wait at once"
    if found.engine == "thread" and found.waiting < MAIN_SHARE and not gil_is_off():
        return "the GIL: one thread computes at a time, so threads are for functions that wait"
    if travels > LARGE_SHARE * whole:
        return f"sending: {share(travels / whole)} of the time"
    if found.engine == "process" and not found.warm and LARGE_SHARE * found.seconds < COLD_WORTH_SECONDS / 2:
        return "starting the workers; they already run in the next call"
    if found.waiting >= MAIN_SHARE:
        return f"{found.workers} workers, which mostly wait"
    if found.units < 2 * found.workers:
        return f"{counted(found.units, found.unit)}: {found.workers} workers cannot share them evenly"
    return f"{found.workers} workers, which share the work"


def _advice(found: Explanation, call: Call, options: Options, outcome: Outcome) -> Iterator[str]:
    """Yield changes that make the call faster, the most effective first."""
    if found.engine == "asyncio":
        if found.waiting < MAIN_SHARE:
            yield "the function computes more than it waits. df.par(engine='process') runs a loop in each worker"
    elif found.waiting >= MAIN_SHARE:
        yield from _of_waiting(found, call, options)
    elif found.function < LIGHT and _makes_numbers_of_numbers(found, call, outcome):
        yield (
            f"the function is light ({seconds(found.function)}) and computes numbers from numbers. An expression of "
            "whole columns is faster, for example df['a'] * 2 or np.where(...)"
        )
    if call.work.unit_format == "row" and isinstance(call.data, pd.DataFrame):
        yield from _of_rows(found, call.data)
    if found.engine not in ("here", "serial"):
        if (
            found.engine not in ("asyncio", "numba")
            and found.columns_read
            and found.columns_unread
            and isinstance(call.data, pd.DataFrame)
            and narrowing(call) is None
        ):
            yield from _of_columns(found, call, call.data)
        if options.chunk_size is not None and found.engine != "thread":
            yield from _of_chunk_size(found, options.chunk_size)


def _of_waiting(found: Explanation, call: Call, options: Options) -> Iterator[str]:
    """Yield the two ways to make more calls at once, with the time of the first."""
    advice, waits = advice_for(found.waiting, options), f"the function waits {share(found.waiting)} of its time"
    if advice is None:  # there are many workers
        yield f"{waits}. You can also {COROUTINE}, with max_concurrency= as the number of calls at once"
        return
    workers = min(advice.n_workers, found.units)
    if advice.engine == "thread":
        took = _in_threads(found, workers)
    else:
        took = found.units * found.cost * max((1 - found.waiting) / found.cores, 1 / workers)
    example = advice.example(call.verb, call.unit, call.data)
    yield f"{waits}. {example} takes about {seconds(took)}. Or {COROUTINE}, with max_concurrency={MANY_AT_ONCE}"


def _makes_numbers_of_numbers(found: Explanation, call: Call, outcome: Outcome) -> bool:
    data: Any = call.data
    if call.work.unit_format == "value":
        dtypes = [data.dtype]
    elif call.work.unit_format.startswith("row") and isinstance(data, pd.DataFrame):
        dtypes = list(data.dtypes if found.columns_read is None else data[list(found.columns_read)].dtypes)
    else:
        return False
    return (
        bool(dtypes)
        and all(is_numeric_dtype(dtype) and not is_bool_dtype(dtype) for dtype in dtypes)
        and all(isinstance(value, (int, float, np.number)) for value in outcome.returns)
    )


def _of_rows(found: Explanation, frame: pd.DataFrame) -> Iterator[str]:
    if not found.lazy and found.handing > LARGE_SHARE * found.cost:
        why = "the function does more than reading it" if fits_lazy_rows(frame) else "this frame needs it"
        yield (
            f"each row becomes a real Series, because {why} ({seconds(found.handing)} of {seconds(found.cost)}). "
            "rows='namedtuple' (row.a), 'tuple' or 'dict' (row['a']) avoids that"
        )
    elif found.lazy and found.function < LIGHT:
        share_read = 1.0 if found.columns_read is None else len(found.columns_read) / max(1, len(frame.columns))
        if share_read > MAIN_SHARE:
            yield "the function uses most columns. rows='tuple' or 'namedtuple' is faster to read than row['a']"


def _of_columns(found: Explanation, call: Call, frame: pd.DataFrame) -> Iterator[str]:
    read, rows = list(found.columns_read or ()), Outcome(Chunk(0, min(len(frame), MAX_OF_A_PLACE)), [])
    of_all, of_read = (bytes_of(replace(call, data=part), rows) for part in (frame, frame[read]))
    saved = (of_all["bytes_unit"] - of_read["bytes_unit"]) * call.n
    if saved > LARGE_BYTES:
        less = f"{size(saved)} less of {size(of_all['bytes_data'])}"
        yield (
            f"the function reads {few(read)} of {len(frame.columns)} columns. df.par(columns={read!r}) sends {less}"
            if len(read) <= 5
            else f"the function does not read {few(found.columns_unread or ())}. columns= without them sends {less}"
        )


def _of_chunk_size(found: Explanation, chunk_size: int) -> Iterator[str]:
    work, least = chunk_size * found.cost, CHUNK_MIN_TASKS * TASK_SECONDS
    if work < least:
        yield (
            f"a chunk of {counted(chunk_size, found.unit)} is {seconds(work)} of work, less than its own "
            f"overhead. Leave out chunk_size=, or give at least {math.ceil(least / found.cost):,}"
        )
    elif -(-found.units // chunk_size) < found.workers * 2 <= found.units:
        yield "there are too few chunks, so some workers have nothing to do at the end. Leave out chunk_size="
