"""Cargo: what of the data travels once a call, and what with each chunk.

Numbers and Arrow texts go into the arena once, as they lie in memory.  Python objects must be pickled one by one, which
takes longer than many a function does with them: they travel with their chunk, so that the parent writes those of the
next chunk while the workers run, and no worker reads what only another one needs::

    int, float, str ...   once, into the arena    -- piece: a view ----+-- the piece that pandas would cut
    object                with each chunk         -- piece: unpickled -+
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from pdparallel.core.chunking import BIG_BYTES, Chunk
from pdparallel.core.cpu_count import available_memory
from pdparallel.core.units import Data, Units
from pdparallel.transport.frames import cut_out, forgets_that_it_is_read_only, take
from pdparallel.typing import UnitFormat

__all__ = ["SplitData", "is_big", "loaded"]

#: Columns that are put back one by one at most; of more, pandas would complain that the frame is fragmented.
MAX_COLUMNS = 64

#: The part of the memory that is available above which data travel by chunk, as they do above ``BIG_BYTES``: one more
#: copy of them would be too much.
BIG_PART = 0.25

#: Bytes that a chunk of big data has at most, and its answer with it, where the cut is free.
CHUNK_BYTES = 1 << 24

#: Bytes of pieces of big data under way, above which no further one is sent unless a worker has none.
UNDER_WAY_BYTES = 1 << 27


def is_big(size: int) -> bool:
    """Whether data of so many bytes travel by chunk, so that no more than some chunks are there twice."""
    if size > BIG_BYTES:
        return True
    if size <= CHUNK_BYTES:
        return False
    available = available_memory()
    return available is not None and size > available * BIG_PART


class SplitData(NamedTuple):
    """The data of a call, taken apart.

    Attributes
    ----------
    whole : DataFrame, Series, ndarray or None
        What goes once; None where all goes by chunk.
    columns : Index or None
        The labels of a frame that was taken apart.
    objects : tuple of int
        The positions of its columns that go by chunk.
    """

    whole: Data | None
    columns: pd.Index | None = None
    objects: tuple[int, ...] = ()

    def beside(self, data: Data, unit_format: UnitFormat, chunk: Chunk) -> Any:
        """What travels with a chunk: the piece, the values of some of its columns, or None for nothing."""
        if self.whole is None:
            return cut_out(data, unit_format, chunk)
        if not self.objects:
            return None
        assert isinstance(data, pd.DataFrame)
        rows = slice(chunk.start - chunk.before, chunk.stop + chunk.after)
        return [data.iloc[rows, at].to_numpy() for at in self.objects]

    def piece(self, beside: Any, unit_format: UnitFormat, chunk: Chunk) -> Any:
        """The piece that the data had there."""
        if self.whole is None:
            return beside
        piece = take(self.whole, unit_format, chunk)
        if self.objects:
            for at, values in zip(self.objects, beside, strict=True):
                # As a Series of objects: an array of them would be looked through for texts and times.
                piece.insert(at, -1 - at, pd.Series(values, index=piece.index, dtype=object, copy=False))
            piece.columns = self.columns
        return piece


def loaded(data: Data, unit_format: UnitFormat) -> SplitData:
    """Take the data of a call apart.

    Parameters
    ----------
    data : DataFrame, Series, ndarray or list
        The data.
    hand : Hand
        How it is handed out: by rows or by columns.
    """
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
