"""Explaining: what a call would do and why, from a few milliseconds of its units, before it is made.

The verb itself is asked for its call and stopped before anything runs, so that each option and each odd frame is
understood as it would be.  A few of its units are then handed to the function, by pdparallel's own way and by pandas';
what would be decided is asked of those who decide it::

    verb       -> Call, Options                    stopped by an observer, nothing has run
    worker     record: units from many places      what a unit costs, what of it is the function, whether it waits
    pandas     apply, map: some of them again      what pandas would take
    transport  function, units and returns          bytes, seconds of travelling
    auto       Worth.judged                        here or in workers, and why
    plan       next_size                           units of a chunk
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pdparallel.core.call import Call, Work
from pdparallel.core.chunking import PendingRanges
from pdparallel.core.cpu_count import gil_is_off, usable_cores
from pdparallel.core.mistakes import unknown_value
from pdparallel.core.options import Options
from pdparallel.core.validation import check_func, goes_to_pandas
from pdparallel.diagnostics.advice import advice, advice_to_travel, limit
from pdparallel.diagnostics.explanation import Explanation
from pdparallel.diagnostics.measure import Sample, bytes_of, sampled
from pdparallel.engines.registry import is_warm, open_engine
from pdparallel.errors import FunctionNotSerializableError, InvalidOptionError
from pdparallel.execution import placement
from pdparallel.execution.events import observing
from pdparallel.execution.placement import PoolDecision, Reason, transfer_cost
from pdparallel.execution.records import Observer, Record
from pdparallel.transport.functions import encode_work
from pdparallel.transport.shared_classes import SharedTable
from pdparallel.transport.task import Locality

__all__ = ["explain", "explain_verb"]

#: Times that it is looked what travelling costs.
TRIES = 5


# The call


class _MadeError(BaseException):
    """Ends a verb when its call is made; no ``except Exception`` on the way stops it."""

    def __init__(self, call: Call, options: Options) -> None:
        self.call = call
        self.options = options


class _InPandasError(BaseException):
    """Ends a verb that leaves its calls to pandas."""


class _Stopping(Observer):
    def begins(self, record: Record, call: Call, options: Options) -> None:
        raise _MadeError(call, options)

    def to_pandas(self) -> None:
        raise _InPandasError


def explain_verb(
    par: Any, units: Mapping[str, str], func: Any, verb: Any, arguments: Mapping[str, Any], nothing: bool
) -> Explanation:
    """What ``par.<verb>(func, **arguments)`` would do.

    Parameters
    ----------
    par : object
        An accessor.
    units : mapping
        The verbs that can be explained, and what each calls its units.
    func, verb, arguments
        What the user gave.
    nothing : bool
        Whether its data are empty.

    Raises
    ------
    InvalidOptionError
        For a verb or a function that nothing can be said of, and as the verb would.
    """
    check_func(func)
    if goes_to_pandas(func):
        raise InvalidOptionError("func", func, "a Python function", "pandas itself runs all others.")
    if verb not in units:
        raise unknown_value("verb", verb, units)
    quiet = par(checkpoint=None, progress=False)
    return explain(verb, units[verb], lambda: getattr(quiet, verb)(func, **arguments), nothing)


def explain(verb: str, unit: str, ask: Callable[[], Any], nothing: bool = False) -> Explanation:
    """What a call would do.

    Parameters
    ----------
    verb, unit : str
        What is said of it where there is nothing to be done.
    ask : callable
        Makes the call, without a checkpoint.
    nothing : bool
        Whether it is known that there is no unit.

    Raises
    ------
    InvalidOptionError
        As the call would.
    """
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
    with contextlib.closing(open_engine(options)) as engine:  # which starts nothing before it has a task
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
    # On a busy machine it looks dearer than it is, now and then.
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


# What would be done


def _planned(
    call: Call,
    options: Options,
    sample: Sample,
    travels: tuple[float, float],
    name: str,
    workers: int,
    can_be_sent: bool,
) -> dict[str, Any]:
    """Who does it, why, in chunks of which size, and how long that takes."""
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
        # With the GIL Python computes in one thread at a time; threads wait side by side.
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
