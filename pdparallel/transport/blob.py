"""Blob: the buffers of a piece as one object, for a store that keeps and moves objects as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pdparallel.transport.shared_memory import ALIGNMENT, BufferSlot

__all__ = ["joined", "taken_apart"]

#: What NumPy's kernels need; a buffer that comes from a network may begin anywhere.
MIN_ALIGNMENT = 16


def joined(parts: Sequence[memoryview]) -> tuple[bytearray, tuple[BufferSlot, ...]]:
    """Buffers one after the other, each where NumPy and Arrow want it to begin.

    Parameters
    ----------
    parts : sequence of memoryview
        Contiguous.

    Returns
    -------
    blob : bytearray
    spans : tuple of Span
        Where each lies in it.
    """
    spans, at = [], 0
    for part in parts:
        spans.append(BufferSlot(at, part.nbytes, part.readonly))
        at += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
    blob = bytearray(at)
    for part, span in zip(parts, spans, strict=True):
        blob[span.offset : span.offset + span.length] = part.cast("B")
    return blob, tuple(spans)


def taken_apart(blob: memoryview, spans: Sequence[BufferSlot]) -> tuple[bytes | bytearray | memoryview, ...]:
    """The buffers of :func:`joined`: copied where they may be written to, or came to lie out of line."""
    in_line = not spans or np.frombuffer(blob, np.uint8).ctypes.data % MIN_ALIGNMENT == 0
    found: list[bytes | bytearray | memoryview] = []
    for offset, length, readonly in spans:
        part = blob[offset : offset + length].toreadonly()
        found.append((part if in_line else bytes(part)) if readonly else bytearray(part))
    return tuple(found)
