"""Format of chunk files: outcomes as bytes that prove whether they are whole, and name their call::

    magic | length of the head | head: JSON | buffers, each at a multiple of 64 | BLAKE2 over all of it

Numbers, times, strings, None, and tuples or lists of these are arrays and JSON: reading them runs no code, whatever the
bytes are.  Everything else is a pickle.  A pickle names classes of the main script by their digests, so that the next
process gets instances of the classes that its function has.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import operator
import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pdparallel.checkpoint.fingerprint import Identity
from pdparallel.core.chunking import Chunk
from pdparallel.core.columnar import Mixed, Numbers, Packed, Texts, Times, Tuples
from pdparallel.core.outcome import Failed, Outcome
from pdparallel.core.returns import pack
from pdparallel.transport.shared_classes import SharedTable, dump, load
from pdparallel.typing import Errors

__all__ = ["DamagedError", "ForeignError", "decoded", "encoded"]

MAGIC = b"pdparallel checkpoint 2\n"
ALIGNMENT = 64
CHECKSUM_BYTES = 32
_LENGTH_BYTES = 8

#: Types whose values JSON returns unchanged.
_JSON = frozenset((type(None), bool, int, float, str))
_TYPES: dict[str, type] = {"float": float, "int": int, "bool": bool}
_SEQUENCES: dict[str, type] = {"tuple": tuple, "list": list}


class DamagedError(Exception):
    """Error for a file that is not whole, or that another version wrote."""


class ForeignError(Exception):
    """Error for a whole file that belongs to another call."""


# Writing


def encoded(outcomes: Iterable[Outcome], identity: Identity, errors: Errors, joins: bool) -> list[Any]:
    """Return the bytes of a file, in parts; ``joins`` allows adjacent outcomes to become one."""
    buffers: list[memoryview] = []
    segments: list[dict[str, Any]] = []
    for chunk, returns, seconds in _runs(outcomes, joins):
        form = _form(returns, buffers, identity)
        segments.append({"start": chunk.start, "stop": chunk.stop, "seconds": seconds, "form": form})
    head: dict[str, Any] = {"call": identity.whole, "errors": errors, "segments": segments}
    if any(segment["form"]["is"] == "pickle" for segment in segments):
        head["shared"] = identity.digests
    head["buffers"] = [buffer.nbytes for buffer in buffers]
    head["readonly"] = [at for at, buffer in enumerate(buffers) if buffer.readonly]
    text = json.dumps(head).encode()
    parts: list[Any] = [MAGIC, len(text).to_bytes(_LENGTH_BYTES, "big"), text]
    size = sum(map(len, parts))
    for buffer in buffers:
        padding = -size % ALIGNMENT
        parts += [bytes(padding), buffer]
        size += padding + buffer.nbytes
    checksum = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
    for part in parts:
        checksum.update(part)
    return [*parts, checksum.digest()]


def _runs(outcomes: Iterable[Outcome], joins: bool) -> Iterator[tuple[Chunk, Any, float]]:
    """Yield the outcomes in order of position; adjacent ones of one layout are joined."""
    run: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.chunk.start):
        if run and not (joins and run[-1].chunk.stop == outcome.chunk.start and _alike(run[0], outcome)):
            yield _joined(run)
            run = []
        run.append(outcome)
    if run:
        yield _joined(run)


def _alike(one: Outcome, other: Outcome) -> bool:
    mine, theirs = one.returns, other.returns
    if isinstance(mine, Packed) and isinstance(theirs, Packed):
        return bool(mine.layout_key == theirs.layout_key)
    return isinstance(mine, list) and isinstance(theirs, list)


def _joined(run: Sequence[Outcome]) -> tuple[Chunk, Any, float]:
    first = run[0]
    returns: Any = first.returns
    if isinstance(returns, list):
        values = list(itertools.chain.from_iterable(outcome.returns for outcome in run))
        returns = pack(values) or values
    elif len(run) > 1:
        returns = type(returns).concat_packed([outcome.returns for outcome in run])
    return Chunk(first.chunk.start, run[-1].chunk.stop), returns, sum(outcome.seconds for outcome in run)


def _form(returns: Any, buffers: list[memoryview], identity: Identity) -> dict[str, Any]:
    known = len(buffers)
    form = _plain(returns, buffers)
    if form is None:
        del buffers[known:]
        pickled: list[memoryview] = []
        data = dump(returns, identity.table, buffer_callback=lambda buffer: pickled.append(buffer.raw()))
        buffers += [memoryview(data), *pickled]
        form = {"is": "pickle", "buffers": 1 + len(pickled)}
    return form


def _plain(returns: Any, buffers: list[memoryview]) -> dict[str, Any] | None:
    """Return how to read the returns that are written without a pickle; None if they need one."""
    if isinstance(returns, Numbers):
        return _numbers(returns, buffers)
    if isinstance(returns, Times):
        zone = _zone(returns.tz)
        return None if zone is None else {"is": "times", **zone, **_array(returns.array, buffers)}
    if isinstance(returns, Tuples):
        columns = [_plain(column, buffers) for column in returns.columns]
        return None if None in columns else {"is": returns.type.__name__, "columns": columns}
    if isinstance(returns, (Mixed, Texts, list)):
        values = returns if isinstance(returns, list) else returns.unpacked()
        if not _JSON.issuperset(map(type, values)):
            return None
        try:
            text = json.dumps(values, separators=(",", ":")).encode()
        except ValueError:  # an integer of thousands of digits
            return None
        buffers.append(memoryview(text))
        return {"is": "texts" if isinstance(returns, Texts) else "column" if isinstance(returns, Mixed) else "values"}
    return None


def _numbers(numbers: Numbers, buffers: list[memoryview]) -> dict[str, Any] | None:
    name = numbers.type.__name__
    if _TYPES.get(name) is not numbers.type:
        if numbers.array.dtype.type is not numbers.type or np.dtype(numbers.array.dtype.char) != numbers.array.dtype:
            return None  # a subclass of a NumPy scalar
        name = ""
    return {"is": "numbers", "type": name, **_array(numbers.array, buffers)}


def _array(array: np.ndarray, buffers: list[memoryview]) -> dict[str, Any]:
    flat = np.ascontiguousarray(array)
    buffers.append(flat.view(np.uint8).data)
    # The type code, too: two types of NumPy may have one size.
    return {"dtype": flat.dtype.str, "char": flat.dtype.char}


def _zone(zone: datetime.tzinfo | None) -> dict[str, Any] | None:
    if zone is None:
        return {}
    if zone is datetime.UTC:
        return {"zone": None}
    return {"zone": zone.key} if type(zone) is zoneinfo.ZoneInfo and zone.key is not None else None


# Reading


def decoded(data: bytearray, identity: Identity, errors: Errors, joins: bool) -> list[Outcome]:
    """Return the outcomes of a file; only what succeeded if it was written with another ``errors=``."""
    try:
        head, views = _opened(data)
        if head["call"] != identity.whole:
            raise ForeignError("it belongs to another call")
        outcomes = _outcomes(head, iter(views), identity)
        if head["errors"] != errors:
            return [part for outcome in outcomes for part in _succeeded(outcome, joins)]
        return outcomes
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # whole, but not written by this module
        raise DamagedError(f"its head is not one of this version ({type(error).__name__}: {error})") from error


def _outcomes(head: dict[str, Any], buffers: Iterator[memoryview], identity: Identity) -> list[Outcome]:
    table = _table(head["shared"], identity) if "shared" in head else SharedTable()
    outcomes = []
    for segment in head["segments"]:
        chunk = Chunk(operator.index(segment["start"]), operator.index(segment["stop"]))
        try:
            returns = _returns(segment["form"], buffers, table)
        except Exception as error:  # whatever a pickle may raise
            raise ForeignError(f"its returns cannot be rebuilt here ({type(error).__name__}: {error})") from error
        outcomes.append(Outcome(chunk, returns, None, float(segment["seconds"])))
    return outcomes


def _succeeded(outcome: Outcome, parts: bool) -> Iterator[Outcome]:
    """Yield the successful parts of an outcome; without ``parts``, the outcome or nothing."""
    returns = outcome.returns
    if not isinstance(returns, list) or Failed not in map(type, returns):
        yield outcome
    elif parts:
        at = outcome.chunk.start
        for failed, run in itertools.groupby(returns, lambda value: type(value) is Failed):
            values = list(run)
            if not failed:
                seconds = outcome.seconds * len(values) / len(returns)
                yield Outcome(Chunk(at, at + len(values)), pack(values) or values, None, seconds)
            at += len(values)


def _opened(data: bytearray) -> tuple[dict[str, Any], list[memoryview]]:
    """Return the head and the buffers, after a check of every byte."""
    view = memoryview(data)
    start = len(MAGIC) + _LENGTH_BYTES
    if len(data) < start + CHECKSUM_BYTES or view[: len(MAGIC)] != MAGIC:
        raise DamagedError("it does not begin as one of this version")
    end = len(data) - CHECKSUM_BYTES
    if hashlib.blake2b(view[:end], digest_size=CHECKSUM_BYTES).digest() != view[end:]:
        raise DamagedError("its checksum is wrong")
    at = start + int.from_bytes(view[len(MAGIC) : start], "big")
    head = json.loads(bytes(view[start:at]))
    views, readonly = [], set(head["readonly"])
    for number, size in enumerate(head["buffers"]):
        at += -at % ALIGNMENT
        views.append(view[at : at + size].toreadonly() if number in readonly else view[at : at + size])
        at += size
    return head, views


def _table(digests: list[str], identity: Identity) -> SharedTable:
    """Return a table with the objects of this process at the positions that a file uses."""
    if tuple(digests) == identity.digests:
        return identity.table
    here = dict(zip(reversed(identity.digests), reversed(identity.table.objects), strict=True))
    if not here.keys() >= set(digests):
        raise ForeignError("it names classes that the function does not have here")
    return SharedTable(here[digest] for digest in digests)


def _returns(form: dict[str, Any], buffers: Iterator[memoryview], table: SharedTable) -> Any:
    kind = form["is"]
    if kind == "pickle":
        first, *rest = itertools.islice(buffers, form["buffers"])
        return load(first, table, rest)
    if kind in _SEQUENCES:
        return Tuples(tuple(_returns(column, buffers, table) for column in form["columns"]), _SEQUENCES[kind])
    buffer = next(buffers)
    if kind in ("numbers", "times"):
        array = np.frombuffer(buffer, np.dtype(form["char"]) if kind == "numbers" else np.dtype(form["dtype"]))
        if array.dtype.str != form["dtype"]:
            raise ValueError(f"{form['dtype']} is {array.dtype.str} here")
        if kind == "numbers":
            return Numbers(array, _TYPES.get(form["type"], array.dtype.type))
        zone = form.get("zone")
        return Times(array, zoneinfo.ZoneInfo(zone) if zone else datetime.UTC if "zone" in form else None)
    values = json.loads(bytes(buffer))
    if kind == "texts":
        return pack(values)
    return Mixed(values) if kind == "column" else values
