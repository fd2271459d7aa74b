"""States of ``random`` and ``np.random`` during a call.

Both modules keep one global state per process. With ``seed=`` each unit has its own stream, by its position alone.
A stream for several units would depend on the cut into chunks. After the call the process gets its states back::

    seed, position -> number of the position -> random.seed(number), np.random.seed(number) -> func(unit)

Without a seed, rows in the calling process draw as in pandas. Each worker starts with new states, because a forked one
has a copy of its parent's.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any

import numpy as np

__all__ = ["busy", "in_steps", "own", "remembered", "reseed", "seeded", "untouched", "whole"]

_numpy: Any = np.random  # its stubs lack two functions

#: Number of positions whose numbers are computed at a time.
BLOCK = 1_024


@contextlib.contextmanager
def seeded(seed: int, start: int) -> Iterator[Callable[[], None]]:
    """Yield a function that starts the stream of the next position, from ``start`` on; one thread at a time."""
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
    """Use one stream for all calls that pandas makes itself in this process, if there is a seed."""
    if seed is None:
        yield
        return
    with seeded(seed, 0) as step:
        step()
        yield


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Restore both states after calls whose results are discarded."""
    with _one_thread, _kept():
        yield


def remembered() -> Callable[[], None]:
    """Return a function that restores both states as they are now, so that the same numbers come again."""
    plain, numpy = random.getstate(), np.random.get_state(legacy=False)

    def restore() -> None:
        random.setstate(plain)
        np.random.set_state(numpy)

    return restore


def busy() -> bool:
    """Return True inside :func:`seeded`. This thread must not wait for another one, which may wait for the block."""
    return _thread.depth > 0


def reseed() -> None:
    """Give this process new random states, from the operating system."""
    global _begun_in
    _begun_in = os.getpid()
    random.seed()
    _numpy.set_bit_generator(type(_numpy.get_bit_generator())())


def own(maker: int) -> None:
    """Call :func:`begin` once in a worker that others started, but never in the process that made the call."""
    if os.getpid() not in (_begun_in, maker):
        reseed()


#: Id of the process that has its own states.
_begun_in = -1


class _Thread(threading.local):
    depth = 0


_thread = _Thread()
_one_thread = threading.RLock()


def _begin_after_fork() -> None:
    """Replace the lock in a forked child, because no thread there would release it."""
    global _one_thread
    _one_thread = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Restore both states after a ``with`` block."""
    plain = random.getstate()
    # Replacing NumPy's generator for a while costs less than restoring its state.
    generator, state = _numpy.get_bit_generator(), np.random.get_state(legacy=False)
    try:
        _numpy.set_bit_generator(_generator(_thread.depth))
        yield
    finally:
        random.setstate(plain)
        _numpy.set_bit_generator(generator)
        if state["has_gauss"]:  # second half of a drawn pair, which is not part of the generator
            np.random.set_state(state)


@functools.cache
def _generator(depth: int) -> np.random.MT19937:
    """Return a generator of NumPy's default kind; each depth of nested blocks has its own."""
    return np.random.MT19937()


class _Stream:
    """The stream of one position, for code that runs in steps; between them the process has its own states."""

    def __init__(self, seed: int, position: int) -> None:
        block, at = divmod(position, BLOCK)
        self._number = _numbers_of_block(seed, block)[at]
        self._generator = np.random.MT19937()
        self._plain: Any = None
        self._drawn: Any = None

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Draw from the stream inside a ``with`` block, which waits for nothing."""
        with _one_thread, _kept():
            _numpy.set_bit_generator(self._generator)
            if self._plain is None:
                random.seed(self._number)
                np.random.seed(self._number)
            else:
                random.setstate(self._plain)
                if self._drawn["has_gauss"]:
                    np.random.set_state(self._drawn)
            _thread.depth += 1
            try:
                yield
            finally:
                _thread.depth -= 1
                self._plain, self._drawn = random.getstate(), np.random.get_state(legacy=False)


@types.coroutine
def in_steps(seed: int, position: int, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run a coroutine so that it draws from the stream of its position, also if others run between its steps."""
    stream, given, error = _Stream(seed, position), None, None
    try:
        while True:
            with stream.step():
                try:
                    asked = coroutine.send(given) if error is None else coroutine.throw(error)
                except StopIteration as stop:
                    return stop.value
            try:
                given, error = (yield asked), None
            except BaseException as thrown:  # also a cancellation
                error = thrown
    finally:
        error = None
        coroutine.close()


def _numbers(seed: int, start: int) -> Iterator[int]:
    first, offset = divmod(start, BLOCK)
    for block in itertools.count(first):
        yield from _numbers_of_block(seed, block)[offset:]
        offset = 0


@functools.lru_cache(maxsize=16)
def _numbers_of_block(seed: int, block: int) -> list[int]:
    """Return the numbers of a block's positions; no two positions of a call have the same number."""
    # 32 bits: more would double the time of ``np.random.seed``.
    numbers = np.arange(block * BLOCK, (block + 1) * BLOCK, dtype=np.uint64).astype(np.uint32)
    for key in np.random.SeedSequence(seed).generate_state(3):
        # Each step is invertible, so different numbers stay different. The constants of lowbias32 were found by search
        # for an even spread (https://nullprogram.com/blog/2018/07/31/).
        numbers ^= key
        numbers ^= numbers >> 16
        numbers *= np.uint32(0x7FEB352D)
        numbers ^= numbers >> 15
        numbers *= np.uint32(0x846CA68B)
        numbers ^= numbers >> 16
    return list(numbers.tolist())
