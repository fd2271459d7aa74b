"""Outcomes on the wire: the *worker* writes them, so that what cannot travel becomes an answer and not a dead pool."""

from __future__ import annotations

import traceback
from dataclasses import replace
from types import TracebackType
from typing import Any

from pdparallel.errors import RemoteError, ResultNotSerializableError
from pdparallel.outcome import Failure, Outcome
from pdparallel.plan import Chunk
from pdparallel.transport.objects import SharedTable, dump, load

__all__ = ["decode_outcome", "encode_outcome", "users_part"]


def encode_outcome(outcome: Outcome, table: SharedTable) -> bytes:
    """Write an outcome; never raises for what the function returned or raised."""
    failure = outcome.failure
    if failure is not None:
        outcome = replace(outcome, failure=None)
    try:
        returns = dump(outcome.returns, table)
    except Exception as error:
        returns, failure = _up_to_the_first_bad_one(outcome.returns, table, error)
    parts = (tuple(outcome.chunk), returns, None if failure is None else _encode_failure(failure, table))
    return dump(parts, table)


def users_part(tb: TracebackType | None) -> TracebackType | None:
    """A traceback from the first frame of the user's function on, without pdparallel's and pandas' loops above it."""
    at = tb
    while at is not None:
        if at.tb_frame.f_code.co_name == "visit" and at.tb_frame.f_globals.get("__name__") == "pdparallel.worker":
            return at.tb_next or tb
        at = at.tb_next
    return tb


def decode_outcome(data: bytes, table: SharedTable) -> Outcome:
    """Read an outcome in the parent; what cannot be rebuilt becomes a failure."""
    chunk, returns, failure = load(data, table)
    try:
        values = load(returns, table)
    except Exception as error:
        loading = ResultNotSerializableError(
            f"a return of the function could not be rebuilt in this process: {type(error).__name__}: {error}"
        )
        loading.__cause__ = error
        return Outcome(Chunk(*chunk), [], Failure(0, loading))
    return Outcome(Chunk(*chunk), values, None if failure is None else _decode_failure(failure, table))


def _up_to_the_first_bad_one(returns: list[Any], table: SharedTable, error: Exception) -> tuple[bytes, Failure]:
    for offset, value in enumerate(returns):
        try:
            dump(value, table)
        except Exception as reason:
            kind = type(value)
            bad = ResultNotSerializableError(
                f"the function returned a {kind.__module__}.{kind.__qualname__}, which cannot travel to another "
                f"process ({type(reason).__name__}: {reason}). Return plain data, or use engine='thread'."
            )
            return dump(returns[:offset], table), Failure(offset, bad)
    return dump([], table), Failure(0, ResultNotSerializableError(f"the returns cannot travel: {error}"))


def _encode_failure(failure: Failure, table: SharedTable) -> tuple[int, bytes, str, str, str]:
    exception = failure.exception
    kind = type(exception)
    try:
        text = failure.traceback_text or "".join(
            traceback.format_exception(kind, exception, users_part(exception.__traceback__))
        )
    except Exception:  # an exception whose own __str__ raises
        text = f"{kind.__qualname__} (its text could not be made)"
    try:
        message = str(exception)
    except Exception as error:
        message = f"<its text raised {type(error).__name__}>"
    return (
        failure.offset,
        _encode_exception(exception, table),
        f"{kind.__module__}.{kind.__qualname__}",
        message,
        text,
    )


def _encode_exception(exception: BaseException, table: SharedTable) -> bytes:
    """Bytes that rebuild the exception, tried out here; empty if there are none."""
    forms: list[Any] = [exception]
    kind = type(exception)
    if kind.__reduce__ is BaseException.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__:
        # Its __init__ takes other arguments than it passed on: rebuild it without calling __init__.
        forms.append((kind, exception.args, dict(exception.__dict__)))
    for form in forms:
        try:
            data = dump(form, table)
            rebuilt = _rebuild(load(data, table))
        except Exception:  # whatever a class's own __reduce__ or __init__ may raise: the next form, or a RemoteError
            continue
        if type(rebuilt) is kind or type(rebuilt).__qualname__ == kind.__qualname__:
            return data
    return b""


def _rebuild(form: Any) -> Any:
    if isinstance(form, BaseException):
        return form
    kind, args, state = form
    exception = kind.__new__(kind, *args)
    exception.args = args
    exception.__dict__.update(state)
    return exception


def _decode_failure(parts: tuple[int, bytes, str, str, str], table: SharedTable) -> Failure:
    offset, data, type_name, message, text = parts
    if data:
        try:
            return Failure(offset, _rebuild(load(data, table)), text)
        except Exception as error:
            message = f"{message} (it could not be rebuilt here: {type(error).__name__}: {error})"
    return Failure(offset, RemoteError(f"{type_name}: {message}", type_name, text), text)
