"""The data of a call: what is sent once, what is sent with each chunk, and both as bytes.

Numbers and Arrow strings are written to the arena once, as they lie in memory.  Python objects must be pickled one by
one, which may take longer than the function.  They are sent with their chunk: the parent pickles the next chunk while
the workers run, and no worker loads what only another one needs::

    int, float, str ...   once, into the arena    -- piece: a view ----+-- the piece that pandas would cut
    object                with each chunk         -- piece: unpickled -+
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from pdparallel.compat import PANDAS_2
from pdparallel.core.chunking import BIG_BYTES, Chunk
from pdparallel.core.cpu_count import available_memory
from pdparallel.core.units import Data, Units
from pdparallel.data.fastpath.row import are_views
from pdparallel.transport.reducers import without_pickling
from pdparallel.transport.shared_classes import SharedTable, dump, load
from pdparallel.typing import UnitFormat

__all__ = [
    "SplitData",
    "cut_out",
    "decode_data",
    "encode_data",
    "forgets_that_it_is_read_only",
    "is_big",
    "loaded",
    "take",
]

#: Largest number of object columns sent by chunk: each is inserted singly, and pandas warns of fragmented frames.
MAX_COLUMNS = 64

#: Share of the available memory above which data are sent by chunk, as above ``BIG_BYTES``: a second copy is too much.
BIG_PART = 0.25

#: Largest number of bytes in a chunk of big data, and in its answer, if the call may be cut anywhere.
CHUNK_BYTES = 1 << 24

#: Bytes of big-data pieces in flight from which no further piece is sent unless a worker has none.
UNDER_WAY_BYTES = 1 << 27


def is_big(size: int) -> bool:
    """Return whether data of this size are sent by chunk, so that only a few chunks exist twice."""
    if size > BIG_BYTES:
        return True
    if size <= CHUNK_BYTES:
        return False
    available = available_memory()
    return available is not None and size > available * BIG_PART


class SplitData(NamedTuple):
    """The data of a call, split into what is sent once and what is sent by chunk."""

    whole: Data | None  # sent once; None if everything is sent by chunk
    columns: pd.Index | None = None  # labels of the frame, if it was split
    objects: tuple[int, ...] = ()  # positions of the columns sent by chunk

    def beside(self, data: Data, unit_format: UnitFormat, chunk: Chunk) -> Any:
        """Return what is sent with a chunk: the piece, the values of its object columns, or None."""
        if self.whole is None:
            return cut_out(data, unit_format, chunk)
        if not self.objects:
            return None
        assert isinstance(data, pd.DataFrame)
        rows = slice(chunk.start - chunk.before, chunk.stop + chunk.after)
        return [data.iloc[rows, at].to_numpy() for at in self.objects]

    def piece(self, beside: Any, unit_format: UnitFormat, chunk: Chunk) -> Any:
        """Return the piece as it was in the parent."""
        if self.whole is None:
            return beside
        piece = take(self.whole, unit_format, chunk)
        if self.objects:
            for at, values in zip(self.objects, beside, strict=True):
                # As a Series of objects: pandas would search a plain array for strings and times.
                piece.insert(at, -1 - at, pd.Series(values, index=piece.index, dtype=object, copy=False))
            piece.columns = self.columns
        return piece


def loaded(data: Data, unit_format: UnitFormat) -> SplitData:
    """Split the data of a call."""
    if isinstance(data, list):
        return SplitData(None)
    if isinstance(data, Units):
        return SplitData(None if data.by_chunk else data)
    if isinstance(data, np.ndarray):
        return SplitData(None if data.dtype.hasobject or forgets_that_it_is_read_only(data) else data)
    if isinstance(data, pd.Series):
        return SplitData(None if type(data) is pd.Series and is_object_dtype(data.dtype) else data)
    objects = tuple(at for at, dtype in enumerate(data.dtypes) if is_object_dtype(dtype))
    if not objects:
        return SplitData(data)
    if unit_format.startswith("column"):
        return SplitData(None)
    plain = type(data) is pd.DataFrame and data.flags.allows_duplicate_labels
    if not plain or len(objects) > MAX_COLUMNS:
        return SplitData(data)
    kept = sorted(set(range(data.shape[1])) - set(objects))
    rest = data.iloc[:, kept]
    rest.columns = pd.RangeIndex(len(kept))
    return SplitData(rest, data.columns, objects)


# Cutting pieces, and their bytes: pickle protocol 5 with the large buffers out of band


def take(data: Data, unit_format: UnitFormat, chunk: Chunk) -> Any:
    """Return the piece that a chunk covers; a function that writes into it does not change the data."""
    if unit_format in ("row", "value") and isinstance(data, (pd.DataFrame, pd.Series)) and len(chunk) == len(data):
        # Faster than a cut. Values need no copy: they become a list before the function is called.
        return data if unit_format == "value" else data.copy(deep=PANDAS_2)
    piece = cut_out(data, unit_format, chunk)
    # The function never gets the container of values, and Units copy by themselves if they must.
    if not PANDAS_2 or isinstance(piece, list) or unit_format in ("value", "unit"):
        return piece
    if isinstance(piece, np.ndarray):
        return piece.copy(order="K") if piece.flags.writeable else piece
    return piece if _is_read_only(piece) else piece.copy()


def _is_read_only(piece: pd.DataFrame | pd.Series) -> bool:
    """Return whether a piece lies over one read-only array; a copy of it would be writable."""
    if isinstance(piece, pd.DataFrame):
        return len(piece) > 0 and are_views(piece)
    return isinstance(piece.dtype, np.dtype) and not piece.to_numpy().flags.writeable


def forgets_that_it_is_read_only(values: np.ndarray) -> bool:
    """Return whether a pickle forgets that an array is read-only: objects and times have no buffer."""
    return not values.flags.writeable and (values.dtype.hasobject or values.dtype.kind in "mM")


class _ReadOnly:
    """A read-only array that stays read-only when it is unpickled."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __reduce__(self) -> Any:
        return _made_read_only, (self._values,)


def _made_read_only(values: np.ndarray) -> np.ndarray:
    values.flags.writeable = False
    return values


def cut_out(data: Data, unit_format: UnitFormat, chunk: Chunk) -> Any:
    """Return the piece that a chunk covers, which may be a view of the data."""
    start, stop = chunk.start - chunk.before, chunk.stop + chunk.after
    if isinstance(data, Units):
        return data.cut(start, stop)
    if unit_format.startswith("column"):
        if isinstance(data, pd.DataFrame):
            return data.iloc[:, start:stop]
        assert isinstance(data, np.ndarray)
        return data[:, start:stop]
    if isinstance(data, (pd.DataFrame, pd.Series)):
        return data.iloc[start:stop]
    return data[start:stop]


def encode_data(
    data: Any, table: SharedTable, named: Callable[[], Data | None] | None = None, first: int = 0
) -> list[memoryview]:
    """Return the pickle of the data and its buffers, which are not copied.

    An error names a part of ``named()`` that cannot be pickled; positions count from ``first``.
    """
    buffers: list[memoryview] = []
    if isinstance(data, np.ndarray) and data.dtype != object and not data.flags.forc:
        # Pickle would write it in band, and forget its strides and that it is read-only. Writing into a read-only array
        # must raise the same error in a worker as in pandas 3.
        writeable, data = data.flags.writeable, data.copy(order="K")
        data.flags.writeable = writeable
    sent = _ReadOnly(data) if isinstance(data, np.ndarray) and forgets_that_it_is_read_only(data) else data
    try:
        pickled = dump(sent, table, grow=True, buffer_callback=lambda buffer: buffers.append(buffer.raw()))
    except Exception as error:
        culprit = _culprit(data if named is None else named(), table, first)
        error.add_note(f"pdparallel: {culprit} cannot be sent to another process. Use engine='thread'.")
        raise without_pickling(error) from error.__cause__
    return [memoryview(pickled), *buffers]


def _culprit(data: Any, table: SharedTable, first: int) -> str:
    """Name the part of the data that cannot be pickled."""
    if isinstance(data, pd.DataFrame):
        for position, label in enumerate(data.columns):
            if not _travels(data.iloc[:, position].array, table):
                return f"column {label!r}"
    if isinstance(data, list):
        for position, item in enumerate(data):
            if not _travels(item, table):
                return f"the item at position {first + position}"
    return "the data"


def _travels(part: Any, table: SharedTable) -> bool:
    try:
        dump(part, table, grow=True)
    except Exception:
        return False
    return True


def decode_data(buffers: list[memoryview], table: SharedTable) -> Any:
    """Rebuild the data on top of their buffers."""
    return load(buffers[0], table, buffers[1:])
