"""Serialization of outcomes, by the *worker*: an unpicklable return becomes an answer and does not end the pool."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from types import CodeType, TracebackType
from typing import Any

from pdparallel.core.columnar import ReturnPlaceholder
from pdparallel.core.format import text_of, type_name
from pdparallel.core.outcome import Failed, Failure, NotKeptError, Outcome
from pdparallel.core.returns import pack, pack_runs
from pdparallel.core.tracebacks import below_the_callers, users_part
from pdparallel.errors import RemoteError, ResultNotSerializableError
from pdparallel.transport.shared_classes import SharedTable, dump, load
from pdparallel.typing import Errors

__all__ = [
    "Stacks",
    "decode_outcome",
    "described",
    "encode_outcome",
    "failed",
    "failure_keeper",
    "raised_by_function",
]


#: Modules whose generators make the units, in frames below the one that calls the function.
_FEEDS = frozenset(
    ("pdparallel.data.iterate", "pdparallel.data.values", "pdparallel.data.windows", "pdparallel.data.lazy_items")
)

#: Largest number of exceptions of a chunk that ``errors="coerce"`` keeps for ``FailedCallsWarning.failures``.
#: Each takes about 50 µs.
MAX_KEPT = 1_000

#: Placeholder for each further exception of a chunk.
_NOT_KEPT = Failed(NotKeptError())

#: Texts of stacks, by the code and the instruction of each frame. Writing a stack costs ten times all else.
Stacks = dict[tuple[tuple[CodeType, int], ...], str]


def failed(exception: Exception, stacks: Stacks) -> Failed:
    """Return the record of an exception after which the call goes on."""
    text = _traceback_text(exception, stacks)
    return Failed(exception.with_traceback(None), text)


def failure_keeper(errors: Errors) -> Callable[[Exception], Failed]:
    """Return a function that makes the record of each failure of a chunk, as ``errors=`` needs it."""
    kept = 0
    stacks: Stacks = {}

    def keep(exception: Exception) -> Failed:
        nonlocal kept
        kept += 1
        if errors == "return" or kept == 1:
            return failed(exception, stacks)
        if kept > MAX_KEPT:
            return _NOT_KEPT
        return Failed(exception.with_traceback(None))  # nobody reads its stack, which is slow to write

    return keep


def encode_outcome(outcome: Outcome, table: SharedTable, errors: Errors = "raise") -> list[memoryview]:
    """Serialize an outcome: how it ended, the returns, and their buffers. No return makes it raise."""
    failure, values = outcome.failure, list(outcome.returns)
    buffers: list[memoryview] = []
    packed, places = pack(values), {}
    if packed is None and Failed in map(type, values):
        places = {offset: value for offset, value in enumerate(values) if type(value) is Failed}
        values = [value for value in values if type(value) is not Failed]
        packed = pack(values)
    runs = pack_runs(values) if packed is None else None
    try:
        returns = dump(packed or runs or values, table, buffer_callback=lambda buffer: buffers.append(buffer.raw()))
        if packed is None and errors != "raise":
            load(returns, table, buffers)  # the parent could not find the return that fails
    except Exception as error:
        buffers.clear()
        if errors == "raise":
            returns, failure = _up_to_the_first_bad_one(values, table, error)
        else:
            returns, places = _without_the_bad_ones(list(outcome.returns), table)
    ended = None if failure is None else _encode_failure(failure, table)
    timing = None if outcome.timing is None else outcome.timing._replace(written=time.perf_counter())
    times = outcome.seconds, outcome.waited, timing
    places_written = _encode_places(places, table)
    head = dump(
        (outcome.chunk, ended, places_written, times, outcome.assigned, outcome.retried, outcome.awaited), table
    )
    return [memoryview(head), memoryview(returns), *buffers]


def _path(tb: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    while tb is not None:
        yield tb.tb_frame.f_code, tb.tb_lasti
        tb = tb.tb_next


def raised_by_function(exception: BaseException) -> bool:
    """Return whether an exception comes from the user's function, and not from the code that makes its units."""
    if not isinstance(exception, Exception):
        return False  # pandas judges instances of Exception only
    below, reached = below_the_callers(exception.__traceback__)
    if below is None:
        return reached  # a C function has no frame
    return below.tb_frame.f_globals.get("__name__") not in _FEEDS


def decode_outcome(buffers: list[memoryview], table: SharedTable) -> Outcome:
    """Rebuild an outcome in the parent; returns that cannot be rebuilt become a failure."""
    head, returns, *rest = buffers
    chunk, failure, places, (seconds, waited, timing), assigned, retried, awaited = load(head, table)
    try:
        values = load(returns, table, rest)
    except Exception as error:
        loading = ResultNotSerializableError(
            f"A result of positions {chunk.start} to {chunk.stop - 1} could not be rebuilt in this process: "
            f"{described(error)}. Return plain data, or use engine='thread'."
        )
        loading.__cause__ = error
        return Outcome(chunk, [], Failure(0, loading), 0.0, timing, retried=retried)
    if places:
        values = _with_places(values, places, table)
    ended = None if failure is None else _decode_failure(failure, table)
    return Outcome(chunk, values, ended, seconds, timing, assigned, retried, awaited, waited=waited)


def _up_to_the_first_bad_one(returns: list[Any], table: SharedTable, error: Exception) -> tuple[bytes, Failure]:
    for offset, value in enumerate(returns):
        bad = _why_it_stays(value, lambda value: dump(value, table))
        if bad is not None:
            return dump(returns[:offset], table), Failure(offset, bad)
    return dump([], table), Failure(0, ResultNotSerializableError(_together(error)))


def _why_it_stays(value: Any, travel: Callable[[Any], Any]) -> ResultNotSerializableError | None:
    """Return the error for a return that cannot be sent, or None."""
    try:
        travel(value)
    except Exception as reason:
        kind = value.kind if isinstance(value, ReturnPlaceholder) else type(value)
        return ResultNotSerializableError(
            f"The function returned a {type_name(kind)}, which cannot be sent to another "
            f"process ({described(reason)}). Return plain data, or use engine='thread'."
        )
    return None


def _together(error: Exception) -> str:
    return (
        f"The results cannot be sent to another process: {described(error)}. Return plain data, or use engine='thread'."
    )


def _without_the_bad_ones(returns: list[Any], table: SharedTable) -> tuple[bytes, dict[int, Failed]]:
    """Serialize the returns that can be sent, and return the errors of the others by offset."""
    good, places = [], {}
    for offset, value in enumerate(returns):
        if type(value) is Failed:
            places[offset] = value
            continue
        bad = _why_it_stays(value, lambda value: load(dump(value, table), table))
        if bad is None:
            good.append(value)
        else:
            places[offset] = Failed(bad)
    try:
        return dump(good, table), places
    except Exception as error:  # each can be pickled by itself, but not all together
        together = Failed(ResultNotSerializableError(_together(error)))
        return dump([], table), {offset: places.get(offset, together) for offset in range(len(returns))}


_Written = tuple[int, bytes, str, str, str, bool]


def _encode_places(places: dict[int, Failed], table: SharedTable) -> list[tuple[_Written, list[int]]]:
    """Serialize each failure once, with its offsets: one object may be the failure of many units."""
    offsets: dict[int, list[int]] = {}
    for offset, one in places.items():
        offsets.setdefault(id(one), []).append(offset)
    return [
        (_encode_failure(Failure(at[0], places[at[0]].exception, places[at[0]].traceback_text), table), at)
        for at in offsets.values()
    ]


def _with_places(values: Any, places: list[tuple[_Written, list[int]]], table: SharedTable) -> list[Any]:
    """Return the returns, with the failures at their offsets."""
    found: dict[int, Failed] = {}
    for written, offsets in places:
        failure = _decode_failure(written, table)
        found |= dict.fromkeys(offsets, Failed(failure.exception, failure.traceback_text))
    good = iter(values)
    return [found[offset] if offset in found else next(good) for offset in range(len(values) + len(found))]


def _encode_failure(failure: Failure, table: SharedTable) -> _Written:
    exception = failure.exception
    kind = type(exception)
    return (
        failure.offset,
        _encode_exception(exception, table),
        f"{kind.__module__}.{kind.__qualname__}",
        text_of(exception),
        failure.traceback_text or _traceback_text(exception),
        failure.by_function,
    )


def _traceback_text(exception: BaseException, stacks: Stacks | None = None) -> str:
    kind, tb = type(exception), users_part(exception.__traceback__)
    # A chained exception shows several stacks. For a NameError, Python searches the traceback for similar names.
    alone = exception.__cause__ is None and exception.__context__ is None
    try:
        if stacks is None or tb is None or not alone or isinstance(exception, (BaseExceptionGroup, NameError)):
            return "".join(traceback.format_exception(kind, exception, tb))
        path = tuple(_path(tb))
        if path not in stacks:
            stacks[path] = "Traceback (most recent call last):\n" + "".join(traceback.format_tb(tb))
        return stacks[path] + "".join(traceback.format_exception_only(kind, exception))
    except Exception:  # an exception whose own __str__ raises
        return f"{kind.__qualname__} (its text could not be made)"


def described(error: BaseException) -> str:
    """Return the type and the message of an error."""
    return f"{type(error).__name__}: {text_of(error)}"


def _encode_exception(exception: BaseException, table: SharedTable) -> bytes:
    """Return bytes that surely rebuild the exception, or none."""
    try:
        data = dump(exception, table)
        rebuilt = load(data, table)
    except Exception:  # whatever a class's own __reduce__ or __init__ may raise
        return b""
    return data if type(rebuilt).__qualname__ == type(exception).__qualname__ else b""


def _decode_failure(parts: _Written, table: SharedTable) -> Failure:
    offset, data, type_name, message, text, by_function = parts
    if data:
        try:
            return Failure(offset, load(data, table), text, by_function)
        except Exception as error:
            message = f"{message} (it could not be rebuilt here: {described(error)})"
    else:
        message = f"{message} (pickle cannot copy this exception)"
    return Failure(offset, RemoteError(f"{type_name}: {message}", type_name, text), text, by_function)
