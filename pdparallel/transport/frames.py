"""Frames: cutting a piece out of the data, and the data's bytes: pickle protocol 5, the large buffers out of band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pdparallel.plan import Chunk
from pdparallel.transport.objects import SharedTable, dump, load
from pdparallel.typing import Data, Hand

__all__ = ["decode_data", "encode_data", "take"]


def take(data: Data, hand: Hand, chunk: Chunk) -> Any:
    """The piece of the data that a chunk covers, as a view where pandas gives one."""
    start, stop = chunk.start - chunk.before, chunk.stop + chunk.after
    if hand.startswith("column"):
        if isinstance(data, pd.DataFrame):
            return data.iloc[:, start:stop]
        assert isinstance(data, np.ndarray)
        return data[:, start:stop]
    if isinstance(data, (pd.DataFrame, pd.Series)):
        return data.iloc[start:stop]
    return data[start:stop]


def encode_data(data: Data, table: SharedTable) -> list[memoryview]:
    """Bytes of the data: first the pickle, then its buffers, which are not copied.

    A buffer is read-only where the array was: in pandas 3 a function that writes into such an array must
    get the same error in a worker as it gets from pandas.
    """
    buffers: list[memoryview] = []
    pickled = dump(data, table, grow=True, buffer_callback=lambda buffer: buffers.append(buffer.raw()))
    return [memoryview(pickled), *buffers]


def decode_data(buffers: list[memoryview], table: SharedTable) -> Data:
    """Rebuild the data upon its buffers."""
    data: Data = load(buffers[0], table, buffers[1:])
    return data
