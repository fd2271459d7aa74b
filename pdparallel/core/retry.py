"""Repeated calls after an exception, and the rate at which calls begin: ``retry_on=`` and ``rate_limit=``."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import math
import numbers
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pdparallel.core.options import Options
from pdparallel.errors import InvalidOptionError

__all__ = ["RateLimit", "RetryPolicy", "has_retries", "note_tries", "policy_of", "rate_of", "retry_after"]

#: Longest wait in seconds that doubling leads to.
MAX_WAIT_SECONDS = 60.0

#: Longest ``Retry-After`` in seconds for which a call waits.
MAX_RETRY_AFTER_SECONDS = 3_600.0

#: Part by which calls begin further apart than the rate says, so that timers and the network may be late.
SPARE_PART = 0.03

#: Seconds that a call may begin after its slot. Later calls are then not delayed by it.
LATE_SECONDS = 0.01

# It has no state, which ``seed=`` would have to restore and a forked worker would share.
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exceptions after which a call runs again, how often, and how long it waits before."""

    on: tuple[type[BaseException], ...] | Callable[[BaseException], bool]
    #: Number of retries after the first call.
    times: int
    #: Seconds before the first retry.
    wait: float

    def allows(self, exception: BaseException, tries: int) -> bool:
        """Return whether a call that raised ``exception`` runs again, after ``tries`` calls so far."""
        if tries > self.times or not isinstance(exception, Exception) or isinstance(exception, StopIteration):
            return False
        if isinstance(self.on, tuple):
            is_meant = isinstance(exception, self.on)
        else:
            try:
                is_meant = bool(self.on(exception))
            except Exception as error:
                error.add_note(f"pdparallel: retry_on raised this when it got a {type(exception).__name__}")
                raise
        return is_meant and (retry_after(exception) or 0.0) <= MAX_RETRY_AFTER_SECONDS

    def seconds(self, exception: BaseException, tries: int) -> float:
        """Return the seconds to wait before the next call, at least those of ``Retry-After``."""
        most = self.wait * 2.0 ** min(tries - 1, 64)
        most = min(most, max(MAX_WAIT_SECONDS, self.wait))
        return max(_random.uniform(0.0, most), retry_after(exception) or 0.0)


def has_retries(options: Options) -> bool:
    """Return whether any exception leads to another call."""
    on = options.retry_on
    return not (isinstance(on, tuple) and not on) and options.retries > 0


def policy_of(options: Options) -> RetryPolicy | None:
    """Return the retries of a call, or None if no exception leads to one."""
    if not has_retries(options):
        return None
    return RetryPolicy(options.retry_on, options.retries, options.retry_wait)


#: Engines in this process, whose calls can share one rate.
_ENGINES_HERE = ("thread", "serial", "asyncio")


def rate_of(options: Options) -> RateLimit | None:
    """Return the rate of a call, or None if it has none; raise if its engine cannot hold it."""
    if options.rate_limit is None:
        return None
    engine = options.engine
    if not (isinstance(engine, str) and engine in _ENGINES_HERE):
        shown = repr(engine) if isinstance(engine, str) else type(engine).__name__
        raise InvalidOptionError(
            "rate_limit", options.rate_limit, f"None with engine={shown}",
            "rate_limit= needs an engine in this process: engine='thread' for functions, engine='asyncio' for "
            "coroutine functions.",
        )  # fmt: skip
    return RateLimit(options.rate_limit)


def retry_after(exception: BaseException) -> float | None:
    """Return the seconds that a service asks to wait, or None if it does not say so.

    It may be the attribute ``retry_after``, or a header ``Retry-After`` of the exception or of its ``response``.
    """
    # Any attribute of a user's exception may raise.
    with contextlib.suppress(Exception):
        seconds = _as_seconds(getattr(exception, "retry_after", None))
        if seconds is not None:
            return seconds
    for owner in (lambda: getattr(exception, "response", None), lambda: exception):
        with contextlib.suppress(Exception):
            seconds = _as_seconds(_header(getattr(owner(), "headers", None)))
            if seconds is not None:
                return seconds
    return None


def _header(headers: Any) -> Any:
    """Return the value of ``Retry-After`` in a mapping or in pairs, in any case of letters."""
    if headers is None:
        return None
    pairs = headers.items() if hasattr(headers, "items") else headers
    for name, value in pairs:
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        if isinstance(name, str) and name.casefold() == "retry-after":
            return value
    return None


def _as_seconds(value: Any) -> float | None:
    """Return a number, timedelta, time or text of ``Retry-After`` as seconds from now; None if it is none."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text)
        except ValueError:
            value = email.utils.parsedate_to_datetime(text)
    if isinstance(value, datetime.datetime):
        zone = value.tzinfo or datetime.UTC
        return max(0.0, value.replace(tzinfo=zone).timestamp() - time.time())
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return None
    return float(value) if 0 <= float(value) < math.inf else None


def note_tries(exception: BaseException, tries: int, seconds: float) -> None:
    """Add a note to an exception how often its call was tried, and how long that took."""
    # An exception class may refuse attributes; the exception matters more than its note.
    with contextlib.suppress(Exception):
        times = "once" if tries == 1 else f"{tries} times"
        each = "" if tries == 1 else " each time"
        exception.add_note(f"pdparallel: the function was called {times} in {seconds:.1f} s, and raised{each}")


class RateLimit:
    """Slots at which the calls of one call begin, evenly spread over time. Threads may share it.

    A call first takes a slot with :meth:`reserve` and waits for it. If timers may be late by more than 10 ms, it then
    asks :meth:`begin`. At most ``per_second`` calls begin in any second::

        slots    |---------|---------|---------|---------|   1.03 / per_second seconds apart
        begins   |           |       |         |             a late begin delays no later slot
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval = (1 + SPARE_PART) / per_second
        self._next: float | None = None
        self._lock = threading.Lock()
        #: Number of calls that may begin within ``_window`` seconds: one second, or one interval of a slow rate.
        most = max(1, math.floor(per_second))
        self._window = most / per_second
        self._begins: deque[float] = deque(maxlen=most)

    def reserve(self) -> float:
        """Take the next slot, and return the seconds until it."""
        with self._lock:
            now = self._clock()
            slot = now
            if self._next is not None:
                slot = max(self._next, now - LATE_SECONDS * min(1.0, self._window))
            self._next = slot + self._interval
            return max(0.0, slot - now)

    def begin(self) -> float:
        """Return 0 if a call may begin now, and count it; else return the seconds until it may ask again."""
        with self._lock:
            now = self._clock()
            begins = self._begins
            if len(begins) == begins.maxlen and (wait := begins[0] + self._window - now) > 0:
                return wait
            begins.append(now)
            return 0.0
