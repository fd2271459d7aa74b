"""Advising: what the speed-up of a call ends at, and what to change, by what was found out about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from pdparallel.core.call import Call
from pdparallel.core.chunking import CHUNK_MIN_TASKS, TASK_SECONDS, Chunk
from pdparallel.core.cpu_count import gil_is_off
from pdparallel.core.format import LARGE_SHARE, MAIN_SHARE, few, seconds, share, size
from pdparallel.core.options import Options
from pdparallel.core.outcome import Outcome
from pdparallel.diagnostics.explanation import Explanation, counted
from pdparallel.diagnostics.measure import MAX_OF_A_PLACE, Sample, bytes_of, fits_lazy_rows
from pdparallel.execution.placement import COLD_WORTH_SECONDS

__all__ = ["advice", "advice_to_travel", "limit"]

#: Seconds of the function under which it is light: about what it takes to hand out a row.
LIGHT = 20e-6

#: Bytes of the columns that are not read, from which it is worth a word to leave them out.
LARGE_BYTES = 1_000_000

#: Workers for each core that are proposed for a function that waits.
WAITING_WORKERS = 8


def limit(found: Explanation) -> str:
    """What the speed-up ends at, in words."""
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
    """What to do about a function that cannot travel."""
    if bytes_function is None:
        yield "create the object that cannot be sent inside the function or in initializer=, or use engine='thread'"


def advice(found: Explanation, call: Call, options: Options, sample: Sample) -> Iterator[str]:
    """What would make it quicker, the most first."""
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
    """The part of the columns that is read; all, where whole rows are asked for."""
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
