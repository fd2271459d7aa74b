"""Outcomes on the wire: the *worker* writes them, so that what cannot travel becomes an answer and not a dead pool."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

from pdparallel.errors import RemoteError, ResultNotSerializableError
from pdparallel.outcome import Failure, Outcome
from pdparallel.packing import pack
from pdparallel.transport.objects import SharedTable, dump, load

__all__ = ["decode_outcome", "encode_outcome", "users_part"]


def encode_outcome(outcome: Outcome, table: SharedTable) -> list[memoryview]:
    """Write an outcome: how it went, the returns, and their buffers; never raises for what a function returned."""
    failure, values = outcome.failure, list(outcome.returns)
    buffers: list[memoryview] = []
    try:
        returns = dump(pack(values) or values, table, buffer_callback=lambda buffer: buffers.append(buffer.raw()))
    except Exception as error:
        buffers.clear()
        returns, failure = _up_to_the_first_bad_one(values, table, error)
    failed = None if failure is None else _encode_failure(failure, table)
    head = dump((outcome.chunk, failed, outcome.seconds), table)
    return [memoryview(head), memoryview(returns), *buffers]


def users_part(tb: TracebackType | None) -> TracebackType | None:
    """A traceback from the first frame of the user's function on, without pdparallel's and pandas' loops above it."""
    at, inside = tb, False
    while at is not None:
        ours = at.tb_frame.f_globals.get("__name__") == "pdparallel.worker"
        if inside and not ours:
            return at
        inside = ours and at.tb_frame.f_code.co_name in ("one", "all", "<lambda>")
        at = at.tb_next
    return tb


def decode_outcome(buffers: list[memoryview], table: SharedTable) -> Outcome:
    """Read an outcome in the parent; what cannot be rebuilt becomes a failure."""
    head, returns, *rest = buffers
    chunk, failure, seconds = load(head, table)
    try:
        values = load(returns, table, rest)
    except Exception as error:
        loading = ResultNotSerializableError(
            f"one of the returns at positions {chunk.start} to {chunk.stop - 1} could not be rebuilt in this process: "
            f"{_described(error)}"
        )
        loading.__cause__ = error
        return Outcome(chunk, [], Failure(0, loading))
    return Outcome(chunk, values, None if failure is None else _decode_failure(failure, table), seconds)


def _up_to_the_first_bad_one(returns: list[Any], table: SharedTable, error: Exception) -> tuple[bytes, Failure]:
    for offset, value in enumerate(returns):
        try:
            dump(value, table)
        except Exception as reason:
            kind = type(value)
            bad = ResultNotSerializableError(
                f"the function returned a {kind.__module__}.{kind.__qualname__}, which cannot travel to another "
                f"process ({_described(reason)}). Return plain data, or use engine='thread'."
            )
            return dump(returns[:offset], table), Failure(offset, bad)
    return dump([], table), Failure(0, ResultNotSerializableError(f"the returns cannot travel: {_described(error)}"))


def _encode_failure(failure: Failure, table: SharedTable) -> tuple[int, bytes, str, str, str]:
    exception = failure.exception
    kind = type(exception)
    try:
        text = failure.traceback_text or "".join(
            traceback.format_exception(kind, exception, users_part(exception.__traceback__))
        )
    except Exception:  # an exception whose own __str__ raises
        text = f"{kind.__qualname__} (its text could not be made)"
    return (
        failure.offset,
        _encode_exception(exception, table),
        f"{kind.__module__}.{kind.__qualname__}",
        _message(exception),
        text,
    )


def _message(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:
        return f"<its text raised {type(error).__name__}>"


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {_message(error)}"


def _encode_exception(exception: BaseException, table: SharedTable) -> bytes:
    """Bytes that rebuild the exception, tried out here; empty if there are none."""
    try:
        data = dump(exception, table)
        rebuilt = load(data, table)
    except Exception:  # whatever a class's own __reduce__ or __init__ may raise
        return b""
    return data if type(rebuilt).__qualname__ == type(exception).__qualname__ else b""


def _decode_failure(parts: tuple[int, bytes, str, str, str], table: SharedTable) -> Failure:
    offset, data, type_name, message, text = parts
    if data:
        try:
            return Failure(offset, load(data, table), text)
        except Exception as error:
            message = f"{message} (it could not be rebuilt here: {_described(error)})"
    return Failure(offset, RemoteError(f"{type_name}: {message}", type_name, text), text)
