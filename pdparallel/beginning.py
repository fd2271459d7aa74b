"""Beginning: how a small call costs what it costs in pandas: pandas makes it, and is stopped where it takes long.

What the function returned by then is kept, and the runner goes on from there.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Generator, Iterator
from typing import Any

from pdparallel import auto, streams
from pdparallel.call import Work
from pdparallel.observing import observed, told_to_pandas
from pdparallel.options import Options
from pdparallel.outcome import Failure, Outcome
from pdparallel.plan import Chunk
from pdparallel.recording import calling, prepare
from pdparallel.stopping import begin
from pdparallel.typing import Func

__all__ = ["Beginning", "PandasStoppedError", "begins_here", "called_here"]

#: Seconds of a block of calls inside pandas, between two looks at the clock.
BLOCK_SECONDS = 0.001


def begins_here(options: Options) -> bool:
    """Whether pandas itself may begin: with options under which each call of the function is what pandas would do.

    ``chunk_size`` is not looked at: what begins here ends by the clock, and who minds that asks for it too.  Nor does
    pandas tell what it does to anybody who looks at the call.
    """
    return (
        not observed() and options.engine == "auto" and options.errors == "raise" and options.progress is False
        and options.timeout is None and options.initializer is None
        and options.seed is None and options.checkpoint is None
    )  # fmt: skip


@contextlib.contextmanager
def called_here(work: Work) -> Iterator[None]:
    """For what pandas calls in this process: with the initializer and the random numbers that it has in a worker."""
    told_to_pandas()
    begin()
    prepare(work)
    with streams.whole(work.seed):
        yield


class PandasStoppedError(Exception):
    """Ends pandas' own loop."""


class Beginning:
    """A function that pandas calls in the place of the user's, until it has taken some milliseconds.

    Parameters
    ----------
    work : Work
        The function, its arguments.

    Attributes
    ----------
    call : callable
        The function; raises :class:`PandasStoppedError` where the user's one raised, or it is time.
    returns : list
        What the user's one returned.
    seconds : float
        How long that took.
    failure : BaseException or None
        What it raised.
    """

    def __init__(self, work: Work) -> None:
        self.returns: list[Any] = []
        self.seconds = 0.0
        self.failure: BaseException | None = None
        self._made = time.perf_counter()
        calls = self._calls(calling(work))
        next(calls)
        # C calls this, and it calls a function of Python without C between: together no slower than C calls that.
        self.call = calls.send

    def outcome(self) -> Outcome:
        """What has come so far, as of a chunk; a failure ends it."""
        done, exception = len(self.returns), self.failure
        if exception is None:
            return Outcome(Chunk(0, done), self.returns, None, self.seconds)
        below = exception.__traceback__.tb_next if exception.__traceback__ is not None else None
        failure = Failure(done, exception.with_traceback(below or exception.__traceback__))
        return Outcome(Chunk(0, done + 1), self.returns, failure, self.seconds)

    def _calls(self, func: Func) -> Generator[Any, Any, None]:
        keep, clock = self.returns.append, time.perf_counter
        unit = yield
        began = clock()
        until, size, before = began + auto.LOOK_SECONDS, 1, began - self._made
        block = began
        while True:
            for _ in range(size):
                try:
                    value = func(unit)
                except BaseException as exception:
                    self.failure = exception
                    raise PandasStoppedError from None
                keep(value)
                unit = yield value
            now = clock()
            if now > until:
                self.seconds = now - began
                if self._is_worth(before):
                    raise PandasStoppedError
                size, until = sys.maxsize, math.inf
            elif now - block < BLOCK_SECONDS:
                size *= 2
            block = now

    def _is_worth(self, before: float) -> bool:
        """Asked once, after some milliseconds.

        Parameters
        ----------
        before : float
            Seconds that pandas took before the first call.
        """
        return True
