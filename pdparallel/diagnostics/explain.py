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
from pdparallel.diagnostics.measure import MAX_OF_A_PLACE, Sample, bytes_of, fits_lazy_rows, sampled
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import FunctionNotSerializableError, InvalidOptionError
from pdparallel.execution import placement
from pdparallel.execution.events import observing
from pdparallel.execution.placement import COLD_WORTH_SECONDS, PoolDecision, Reason, transfer_cost
from pdparallel.execution.records import Observer, Record
from pdparallel.transport.functions import encode_work
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.transport.task import Locality

__all__ = ["advice", "advice_to_travel", "explain", "explain_verb", "limit"]

#: Number of measurements of the cost of sending. The smallest counts.
TRIES = 5


# The call


class _MadeError(BaseException):
    """Exception that stops a method when its call exists; no ``except Exception`` catches it."""

    def __init__(self, call: Call, options: Options) -> None:
        self.call = call
        self.options = options


class _InPandasError(BaseException):
    """Exception that stops a method that passes its call to pandas."""


class _Stopping(Observer):
    def begins(self, record: Record, call: Call, options: Options) -> None:
        raise _MadeError(call, options)

    def to_pandas(self) -> None:
        raise _InPandasError


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
    made: tuple[Call, Options] | None = None
    if not nothing:
        with contextlib.suppress(_InPandasError):
            try:
                with observing(_Stopping(), alone=True):
                    ask()
            except _MadeError as error:
                made = error.call, error.options
    if made is None:
        return Explanation(verb=verb, unit=unit, units=0, reason="pandas does it alone, in this process")
    return _explained(*made)


def _explained(call: Call, options: Options) -> Explanation:
    problems: list[str] = []
    with contextlib.closing(open_engine(options)) as engine:  # starts no worker before its first task
        name, workers, locality = engine.name, engine.n_workers, engine.locality
    bytes_function = _bytes_of_function(call.work, options, problems)
    sample = sampled(call, problems)
    told: dict[str, Any] = {
        "verb": call.verb,
        "unit": call.unit,
        "units": call.n,
        "cores": usable_cores().number,
        "bytes_function": bytes_function,
        "calls": 0 if sample is None else sample.calls,
        "sampled": () if sample is None else tuple((chunk.start, chunk.stop) for chunk in sample.chunks),
        "problem": "; ".join(problems),
    }
    if sample is None or sample.outcome is None:
        return Explanation(**told, engine="", advice=tuple(advice_to_travel(bytes_function)))
    # On a busy machine some measurements are too large.
    travels = (
        [(0.0, 0.0)] if locality is Locality.PROCESS else [transfer_cost(call, sample.outcome) for _ in range(TRIES)]
    )
    shared, here = map(min, zip(*travels, strict=True))
    told |= {
        "cost": sample.cost,
        "function": sample.function,
        "handing": sample.handing,
        "pandas_handing": sample.pandas_handing,
        "pandas_cost": sample.pandas_cost,
        "waiting": sample.waiting,
        "travel_parent": here,
        "travel_workers": shared,
        "lazy": sample.lazy,
        "columns_read": sample.read,
        "columns_unread": sample.unread,
        **bytes_of(call, sample.outcome),
    }
    told |= _planned(call, options, sample, (shared, here), name, workers, bytes_function is not None)
    told["seconds_here"] = call.n * sample.cost
    told["seconds_pandas"] = call.n * sample.pandas_cost + sample.pandas_fixed
    told["speed_up"] = told["seconds_pandas"] / told["seconds"]
    found = Explanation(**told)
    return replace(found, limit=limit(found), advice=tuple(advice(found, call, options, sample)))


def _bytes_of_function(work: Work, options: Options, problems: list[str]) -> int | None:
    try:
        return len(encode_work(work, SharedTable(), options.serializer))
    except FunctionNotSerializableError as error:
        problems.append(str(error))
        return None


# Expected engine, chunks and seconds


def _planned(
    call: Call,
    options: Options,
    sample: Sample,
    travels: tuple[float, float],
    name: str,
    workers: int,
    can_be_sent: bool,
) -> dict[str, Any]:
    """Return the expected engine with its reason, workers, chunk size and seconds."""
    shared, here = travels
    cost, n, outcome = sample.cost, call.n, sample.outcome
    assert outcome is not None
    warm = is_warm(options)
    reason = "engine= names it"
    if options.engine == "auto":
        if options.timeout is not None or options.initializer is not None:
            reason = "timeout= and initializer= need workers"
        else:
            worth = PoolDecision(options, in_threads=lambda: call.work.unit_format != "row" or sample.lazy is not False)
            worth.set_transfer_cost((shared, here))
            verdict = worth.evaluate(cost, n, lambda: warm, lambda: (call, outcome))
            if verdict is Reason.WORTH and not can_be_sent:
                verdict = Reason.CANNOT
            reason = verdict.value
            if verdict is Reason.THREADS:
                name, shared, here = "thread", 0.0, 0.0
            elif verdict is not Reason.WORTH:
                return {"engine": "here", "warm": warm, "reason": reason, "seconds": n * cost, "chunk_size": n}
    if call.plan is not None:
        chunk_size = len(call.plan[len(call.plan) // 2])
    else:
        chunk_size = options.chunk_size or PendingRanges(n).next_size(workers, cost, 0.0)
    workers = min(workers, max(1, -(-n // chunk_size)))
    each = (cost + shared) / workers + here
    if name == "serial":
        took = n * cost
    elif name == "thread":
        # With the GIL only one thread computes at a time, but all threads can wait at once.
        took = n * cost * max(0.0 if gil_is_off() else 1 - sample.waiting, 1 / workers)
    else:
        took = placement.ANSWER_SECONDS + n * each
        if name == "process" and not warm:
            start = placement.COLD_WORTH_SECONDS / 2
            meanwhile = start / cost if options.engine == "auto" else 0.0
            took = start + max(n - meanwhile, 0.0) * each
    return {
        "engine": name, "warm": warm, "reason": reason, "seconds": took, "chunk_size": chunk_size, "workers": workers,
    }  # fmt: skip


# Limit of the speed-up, and advice

#: Seconds of a call below which the function is light. Making a row takes about as long.
LIGHT = 20e-6

#: Smallest number of bytes in unread columns that deserves the advice to leave them out.
LARGE_BYTES = 1_000_000

#: Workers for each core that the advice suggests for a function that waits.
WAITING_WORKERS = 8


def limit(found: Explanation) -> str:
    """Return the limit of the speed-up in words."""
    travels = found.travel_workers / found.workers + found.travel_parent
    if found.engine == "here":
        return "one core: this process does all the work"
    if found.engine == "serial" or found.workers == 1:
        return "one worker"
    if found.engine == "thread" and found.waiting < MAIN_SHARE and not gil_is_off():
        return "the GIL: one thread computes at a time, so threads are for functions that wait"
    if travels > LARGE_SHARE * (found.cost / found.workers + travels):
        return f"sending: {share(travels / (found.cost / found.workers + travels))} of the time"
    if found.engine == "process" and not found.warm and LARGE_SHARE * found.seconds < COLD_WORTH_SECONDS / 2:
        return "starting the workers; they already run in the next call"
    if found.waiting >= MAIN_SHARE:
        return f"{found.workers} workers, which mostly wait"
    if found.units < 2 * found.workers:
        return f"{counted(found.units, found.unit)}: {found.workers} workers cannot share them evenly"
    return f"{found.workers} workers, which share the work"


def advice_to_travel(bytes_function: int | None) -> Iterator[str]:
    """Yield advice on a function that cannot be sent."""
    if bytes_function is None:
        yield "create the object that cannot be sent inside the function or in initializer=, or use engine='thread'"


def advice(found: Explanation, call: Call, options: Options, sample: Sample) -> Iterator[str]:
    """Yield changes that make the call faster, the most effective first."""
    yield from advice_to_travel(found.bytes_function)
    if found.waiting >= MAIN_SHARE:
        many = WAITING_WORKERS * found.cores
        yield (
            f"the function waits. Use more workers than cores, for example df.par(engine='thread', n_workers={many})"
        )
    if _is_vectorisable(found, call, sample):
        yield (
            f"the function is light ({seconds(found.function)}) and computes numbers from numbers. An expression of "
            "whole columns is faster, for example df['a'] * 2 or np.where(...)"
        )
    yield from _of_rows(found, call)
    yield from _of_columns(found, call)
    yield from _of_chunk_size(found, options)


def _is_vectorisable(found: Explanation, call: Call, sample: Sample) -> bool:
    if not (found.function < LIGHT and found.waiting < MAIN_SHARE and sample.outcome is not None):
        return False
    data: Any = call.data
    if call.work.unit_format == "value":
        dtypes = [data.dtype]
    elif call.work.unit_format.startswith("row") and isinstance(data, pd.DataFrame):
        dtypes = list(data.dtypes if found.columns_read is None else data[list(found.columns_read)].dtypes)
    else:
        return False
    numbers = (int, float, np.number)
    return (
        bool(dtypes)
        and all(is_numeric_dtype(dtype) and not is_bool_dtype(dtype) for dtype in dtypes)
        and all(isinstance(value, numbers) for value in sample.outcome.returns)
    )


def _of_rows(found: Explanation, call: Call) -> Iterator[str]:
    if call.work.unit_format != "row" or not isinstance(call.data, pd.DataFrame):
        return
    if not found.lazy and found.handing > LARGE_SHARE * found.cost:
        why = "the function does more than reading it" if fits_lazy_rows(call.data) else "this frame needs it"
        yield (
            f"each row becomes a real Series, because {why} ({seconds(found.handing)} of {seconds(found.cost)}). "
            "rows='namedtuple' (row.a), 'tuple' or 'dict' (row['a']) avoids that"
        )
    elif found.lazy and found.function < LIGHT and _share_of_columns(found, call.data) > MAIN_SHARE:
        yield "the function uses most columns. rows='tuple' or 'namedtuple' is faster to read than row['a']"


def _share_of_columns(found: Explanation, frame: pd.DataFrame) -> float:
    """Return the part of the columns that the function reads; 1 if it reads whole rows."""
    return 1.0 if found.columns_read is None else len(found.columns_read) / max(1, len(frame.columns))


def _of_columns(found: Explanation, call: Call) -> Iterator[str]:
    unread, data = found.columns_unread, call.data
    if not unread or not isinstance(data, pd.DataFrame) or not found.columns_read or found.engine in ("here", "serial"):
        return
    read = list(found.columns_read)
    rows = Chunk(0, min(len(data), MAX_OF_A_PLACE))
    of_all, of_read = (bytes_of(replace(call, data=part), Outcome(rows, [])) for part in (data, data[read]))
    saved = (of_all["bytes_unit"] - of_read["bytes_unit"]) * call.n
    if saved > LARGE_BYTES:
        yield (
            f"the function reads {few(read)} of {len(data.columns)} columns. df.par(columns={read!r}) sends "
            f"{size(saved)} less of {size(of_all['bytes_data'])}"
            if len(read) <= 5
            else f"the function does not read {few(unread)}. columns= without them sends {size(saved)} less of "
            f"{size(of_all['bytes_data'])}"
        )


def _of_chunk_size(found: Explanation, options: Options) -> Iterator[str]:
    if options.chunk_size is None or found.engine in ("here", "serial", "thread"):
        return
    work = options.chunk_size * found.cost
    if work < CHUNK_MIN_TASKS * TASK_SECONDS:
        enough = math.ceil(CHUNK_MIN_TASKS * TASK_SECONDS / found.cost)
        yield (
            f"a chunk of {counted(options.chunk_size, found.unit)} is {seconds(work)} of work, less than its own "
            f"overhead. Leave out chunk_size=, or give at least {enough:,}"
        )
    elif -(-found.units // options.chunk_size) < found.workers * 2 <= found.units:
        yield "there are too few chunks, so some workers have nothing to do at the end. Leave out chunk_size="
