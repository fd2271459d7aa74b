"""Streams: what ``random`` and ``np.random`` draw: with a seed the same for any cut, without one nothing shared.

Both modules keep one global state for a process.  With ``seed=`` each unit finds both as its position says, whoever
computes it and after whichever other unit, and the process finds its own states again afterwards::

    seed, position -> the position's number -> random.seed(number), np.random.seed(number) -> func(unit)

There is a stream for each unit, because one that several units draw from, one after the other, would depend on where
chunks are cut.  Without a seed nothing happens here in the process that makes the call: its rows draw as in pandas.
Each worker begins with states of its own, because a forked one has a copy of those that it was forked with.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = ["begin", "busy", "own", "seeded", "untouched", "whole"]

_numpy: Any = np.random  # whose stubs lack two functions

#: Positions whose numbers are made at a time.
BLOCK = 1_024


@contextlib.contextmanager
def seeded(seed: int, start: int) -> Iterator[Callable[[], None]]:
    """For the calls inside a ``with`` block: a function that begins the stream of the next position, from ``start``
    on."""
    numbers, seed_random, seed_numpy = _numbers(seed, start), random.seed, np.random.seed

    def step() -> None:
        number = next(numbers)
        seed_random(number)
        seed_numpy(number)

    with _one_thread, _kept():
        _thread.depth += 1
        try:
            yield step
        finally:
            _thread.depth -= 1


@contextlib.contextmanager
def whole(seed: int | None) -> Iterator[None]:
    """For what pandas calls by itself, in this process: one stream for all of it, where there is a seed."""
    if seed is None:
        yield
        return
    with seeded(seed, 0) as step:
        step()
        yield


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """For calls whose results are thrown away: whatever they draw, the process finds its states as before."""
    with _one_thread, _kept():
        yield


def busy() -> bool:
    """Whether this thread is inside such a block: a call from there must not wait for another thread that wants one."""
    return _thread.depth > 0


def begin() -> None:
    """Give this process states of its own, by the chance of the operating system."""
    global _begun_in
    _begun_in = os.getpid()
    random.seed()
    _numpy.set_bit_generator(type(_numpy.get_bit_generator())())


def own(maker: int) -> None:
    """The same, once, in a worker that was started by others."""
    if os.getpid() not in (_begun_in, maker):
        begin()


_begun_in = -1


class _Thread(threading.local):
    depth = 0


_thread = _Thread()
_one_thread = threading.RLock()


def _begin_after_fork() -> None:
    """In a forked child no other thread runs that would release the lock."""
    global _one_thread
    _one_thread = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Whatever is drawn and seeded inside the block: afterwards the states are as before."""
    plain = random.getstate()
    # To put another generator in the place of NumPy's costs less than to take its state and to put it back.
    generator, state = _numpy.get_bit_generator(), np.random.get_state(legacy=False)
    try:
        _numpy.set_bit_generator(_generator(_thread.depth))
        yield
    finally:
        random.setstate(plain)
        _numpy.set_bit_generator(generator)
        if state["has_gauss"]:  # half of a pair that was drawn, which is no part of the generator
            np.random.set_state(state)


@functools.cache
def _generator(depth: int) -> np.random.MT19937:
    """Of the kind that NumPy begins with; another one for a block inside a block."""
    return np.random.MT19937()


def _numbers(seed: int, start: int) -> Iterator[int]:
    """The numbers of the positions from ``start`` on."""
    first, offset = divmod(start, BLOCK)
    for block in itertools.count(first):
        yield from _numbers_of_block(seed, block)[offset:]
        offset = 0


@functools.lru_cache(maxsize=16)
def _numbers_of_block(seed: int, block: int) -> list[int]:
    """A number of 32 bits for each position: no two positions of a call have the same one."""
    numbers = np.arange(block * BLOCK, (block + 1) * BLOCK, dtype=np.uint64).astype(np.uint32)
    for key in np.random.SeedSequence(seed).generate_state(3):
        # Each step can be undone, so that what was different stays different; the constants are those of lowbias32,
        # found by search for an even spread (https://nullprogram.com/blog/2018/07/31/).
        numbers ^= key
        numbers ^= numbers >> 16
        numbers *= np.uint32(0x7FEB352D)
        numbers ^= numbers >> 15
        numbers *= np.uint32(0x846CA68B)
        numbers ^= numbers >> 16
    return list(numbers.tolist())
