"""Calls that wait for their slot of ``rate_limit=``, and run again after an exception of ``retry_on=``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pdparallel.core import random_state
from pdparallel.core.call import Work
from pdparallel.core.cancellation import pause
from pdparallel.core.retry import RateLimit, note_tries
from pdparallel.data.groups import EachColumn
from pdparallel.typing import Func, ProgressSlots

__all__ = ["Retrying", "retrying"]


class Retrying:
    """The user's function, called at the rate of the call and again after some exceptions."""

    def __init__(self, func: Func, work: Work) -> None:
        self.func = func
        #: Number of repeated calls so far.
        self.retried = 0
        #: Slots for the progress of the chunk. The clock of ``timeout=`` stops during a wait.
        self.notes: ProgressSlots | None = None
        self._policy = work.retry
        self._rate = work.rate
        self._has_seed = work.seed is not None
        self._turn = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        func, policy, rate = self.func, self._policy, self._rate
        if rate is not None:
            _wait_for_slot(rate)
        if policy is None:
            return func(*args, **kwargs)
        restart: Callable[[], None] | None = random_state.remembered() if self._has_seed else None
        began, tries = time.monotonic(), 0
        while True:
            try:
                return func(*args, **kwargs)
            except Exception as exception:
                tries += 1
                if not policy.allows(exception, tries):
                    if tries > 1:
                        note_tries(exception, tries, time.monotonic() - began)
                    raise
                seconds = policy.seconds(exception, tries)
            # Outside of the block above, whose exception would be the context of an interrupt.
            self.retried += 1
            self._wait(seconds)
            if rate is not None:
                _wait_for_slot(rate)
            if restart is not None:
                restart()

    def _wait(self, seconds: float) -> None:
        self._note_turn()
        pause(seconds)
        self._note_turn()

    def _note_turn(self) -> None:
        self._turn += 1
        if self.notes is not None:
            self.notes[3] = self._turn


def _wait_for_slot(rate: RateLimit) -> None:
    """Sleep until a call may begin."""
    seconds = rate.reserve()
    while True:
        if seconds:
            pause(seconds)
        seconds = rate.begin()
        if not seconds:
            return


def retrying(work: Work) -> tuple[Work, Retrying | None]:
    """Return the work with a function that follows ``retry_on=`` and ``rate_limit=``, and that function if needed."""
    if work.retry is None and work.rate is None:
        return work, None
    if isinstance(work.func, EachColumn):  # each column is a call
        made = Retrying(work.func.func, work)
        return replace(work, func=EachColumn(made), retry=None, rate=None), made
    made = Retrying(work.func, work)
    return replace(work, func=made, retry=None, rate=None), made
