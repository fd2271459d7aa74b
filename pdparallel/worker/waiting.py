"""Measurement of the time in which a function waits, for example for a network, a disk or a database."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["WaitClock", "knows_delay"]

#: Seconds of waiting from which a clock reads what else may explain them. That takes about 10 µs.
LOOK_SECONDS = 0.001

#: File of Linux with the nanoseconds in which a thread computed, and those in which it was ready but had no core.
_SCHEDULE = "/proc/thread-self/schedstat"


class WaitClock:
    """Clock of the seconds in which a function waits. Each thread that calls functions needs its own.

    A function does not wait while it computes, also in other threads of compiled code or in a program that it starts.
    It does not wait while others use its core: a function that computes on a busy machine takes long, too.

    Parameters
    ----------
    computed : callable
        Clock of the computing time: that of the process, or that of the thread if other threads call functions, too.
    """

    __slots__ = ("_began", "_computed", "_elsewhere")

    def __init__(self, computed: Callable[[], float] = time.process_time) -> None:
        self._computed = computed
        self._elsewhere = _seconds_elsewhere()
        self._began = 0.0

    def start(self) -> None:
        """Start the measurement of some calls."""
        self._began = self._computed()

    def waited(self, seconds: float) -> float:
        """Return how many of the seconds since the start the function waited."""
        waited = seconds - (self._computed() - self._began)
        if waited > LOOK_SECONDS:
            # Since the last look, which is no later than the start. So the result is never too large.
            elsewhere, before = _seconds_elsewhere(), self._elsewhere
            self._elsewhere = elsewhere
            waited -= max(0.0, elsewhere - before)
        return max(0.0, waited)


def _seconds_elsewhere() -> float:
    """Return the seconds so far in which ended child processes computed, or this thread was ready without a core."""
    of_children = 0.0
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        of_children = usage.ru_utime + usage.ru_stime
    return of_children + _schedule()[1]


def _schedule() -> tuple[float, float]:
    """Return the seconds in which this thread computed, and those without a core; zeros if they are not known."""
    try:
        file = os.open(_SCHEDULE, os.O_RDONLY)  # half the time of open()
    except OSError:
        return 0.0, 0.0
    try:
        computed, delayed, _ = os.read(file, 100).split()
        return int(computed) / 1e9, int(delayed) / 1e9
    except (OSError, ValueError):
        return 0.0, 0.0
    finally:
        os.close(file)


@functools.cache
def knows_delay() -> bool:
    """Return True if the platform tells for how long a thread had no core: Linux does, mostly."""
    return _schedule()[0] > 0.0
