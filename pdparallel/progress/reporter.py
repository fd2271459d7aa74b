"""Progress of a call: one bar from its first unit to its result, which never breaks or delays the call.

A unit is a row, column, value, group, window or item. The bar counts received units, and adds the finished units of
chunks that workers are running, so that it moves within long chunks, too::

    [====== received =======][== under way ==]............ total

It never decreases, and ends with the exact number. Then it shows that the result is built, and closes after that.
"""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from typing import Any, Self

from pdparallel.core.outcome import Failed
from pdparallel.progress.displays import Display, State, display_for
from pdparallel.transport.functions import level_of_the_user
from pdparallel.typing import Func, Progress
from pdparallel.worker.run_task import inside_worker

__all__ = ["Bar", "ProgressScope", "bar", "count_calls", "of_all"]

#: Part of the time that drawing may take, and seconds that it may take in any case. A slow display is drawn less often
#: (``benchmarks/progress.py``).
COST_PART, COST_SECONDS = 0.01, 0.05

#: Seconds after which a slow display is drawn again in any case.
MAX_PAUSE_SECONDS = 60.0

#: Name of the phase after all units, which builds the result.
SHAPING = "shaping"


class Bar:
    """Receiver of the progress of a call; this base class shows nothing."""

    #: Seconds between two calls of ``under_way``; None if it needs none.
    check_interval: float | None = None

    def add(self, units: int, failed: Callable[[], int] = int, retried: int = 0) -> None:
        """Add finished units; ``failed`` counts failed calls among them, and runs only if the bar is shown."""

    def under_way(self, units: Callable[[], int]) -> None:
        """Show units that workers finished but did not send; ``units`` counts them, and runs only if needed."""

    def go_on(self, total: int) -> None:
        """Announce ``total`` further units."""

    def begin_phase(self, phase: str) -> None:
        """Show the phase that follows after all units."""

    def note(self, phase: str) -> None:
        """Set the phase that the next drawing shows beside the count."""

    def close(self, failed: bool) -> None:
        """Show the last state and close."""


_SILENT = Bar()


class _Shown(Bar):
    """Bar that draws on a display."""

    def __init__(self, display: Display, state: State) -> None:
        self._display: Display | None = display
        self._state = state
        self._done = state.before
        self._spent = self._cost = 0.0
        self._made = self._last = time.perf_counter()
        self._next, self._next_look = self._made + display.pause, 0.0
        self.check_interval = display.check_interval
        if state.before and display.is_users:
            self._show(display.draw)

    def add(self, units: int, failed: Callable[[], int] = int, retried: int = 0) -> None:
        if self._display is None:
            return
        self._done += units
        self._state.failed += failed()
        self._state.retried += retried
        self._count(self._done)
        if time.perf_counter() >= self._next:
            self._show(self._display.draw)

    def under_way(self, units: Callable[[], int]) -> None:
        display, now = self._display, time.perf_counter()
        if display is None or now < self._next_look:
            return
        self._next_look = now + display.check_interval
        more = 0
        with contextlib.suppress(Exception):  # progress must not end a call
            more = units()
        grown = self._count(self._done + more)
        if now >= self._next and (grown or (display.beat is not None and now >= self._last + display.beat)):
            self._show(display.draw)

    def go_on(self, total: int) -> None:
        self._state.phase = ""
        if self._state.total is not None:
            self._state.total = max(self._state.total, self._done + total)

    def begin_phase(self, phase: str) -> None:
        self._state.phase = phase
        if self._display is not None:
            self._show(self._display.begin_phase)

    def note(self, phase: str) -> None:
        self._state.phase = phase

    def close(self, failed: bool) -> None:
        display, self._state.phase = self._display, ""
        if display is not None:
            self._show(lambda state: display.close(state, failed))
        self._display = self.check_interval = None

    def _count(self, count: int) -> bool:
        """Raise the count to ``count``, limited to the total; return False if it does not increase."""
        before, total = self._state.count, self._state.total
        self._state.count = max(before, count if total is None else min(count, total))
        return self._state.count > before

    def _show(self, how: Callable[[State], None]) -> None:
        display, began = self._display, time.perf_counter()
        assert display is not None
        try:
            how(self._state)
        except Exception as error:  # of the user's function or a closed stream: the call matters more
            self._display = self.check_interval = None
            with contextlib.suppress(Exception):
                display.close(self._state, True)
            if display.is_users or not isinstance(error, (OSError, ValueError)):
                _warn(f"The progress display failed and is off: {type(error).__name__}: {error}. The call continues.")
            return
        now = self._last = time.perf_counter()
        cost, self._cost = self._cost, now - began
        self._spent += min(cost, self._cost)  # one slow drawing does not make the display slow
        allowed = self._made + (self._spent - COST_SECONDS) / COST_PART
        self._next = max(now + display.pause, min(allowed, now + MAX_PAUSE_SECONDS))


def _warn(text: str) -> None:
    with contextlib.suppress(Exception):  # warnings may be errors
        warnings.warn(text, UserWarning, stacklevel=level_of_the_user())


def _made(kind: Progress, state: State) -> Bar:
    """Return the bar for ``progress=``; a silent one in a worker, or if nothing can show it."""
    if kind is False or inside_worker():
        return _SILENT
    try:
        display, problem = display_for(kind, state)
    except Exception as error:  # such as a broken installation
        _warn(f"There is no progress display: {type(error).__name__}: {error}. The call continues.")
        return _SILENT
    if problem:
        _warn(problem)
    return _SILENT if display is None else _Shown(display, state)


# Lifetime of a bar


class ProgressScope:
    """``with`` block in which a method runs its units and builds the result, with one bar until its end.

    Calls that the user's function makes inside it show no bar.
    """

    def __init__(self) -> None:
        self.bar: Bar | None = None
        self.is_inner = False
        self.of_all: int | None = None
        self._token: Token[ProgressScope | None]

    def __enter__(self) -> Self:
        self.is_inner = _around.get() is not None
        self._token = _around.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        _around.reset(self._token)
        if self.bar is not None:
            self.bar.close(kind is not None)

    def bar_for(self, kind: Progress, state: State) -> Bar:
        """Return the bar of this scope; announce further units if it exists already."""
        if self.is_inner or self.of_all == 0:
            return _SILENT
        if self.bar is None:
            if state.total is not None and self.of_all is not None:
                state.total = max(state.total, self.of_all)
            self.bar = _made(kind, state)
        elif state.total is not None:
            self.bar.go_on(state.total)
        return self.bar


_around: ContextVar[ProgressScope | None] = ContextVar("pdparallel_whole_call", default=None)


@contextlib.contextmanager
def of_all(total: int | None) -> Iterator[None]:
    """Set the total for a ``with`` block that runs a part of a call's units; 0 if they were counted before."""
    around = _around.get()
    if around is None or total is None:
        yield
        return
    before, around.of_all = around.of_all, total
    try:
        yield
    finally:
        around.of_all = before


class bar:  # noqa: N801 - no generator, because its warnings would point at contextlib
    """Bar of a ``with`` block; inside a :class:`ProgressScope` it stays until the scope ends.

    With ``alone=True`` it is no part of a scope, because an existing scope belongs to another call.
    """

    def __init__(
        self, kind: Progress, total: int | None, label: str, unit: str, before: int = 0, alone: bool = False
    ) -> None:
        self._kind = kind
        self._state = State(label, unit, total, before, before)
        self._alone = alone
        self._is_ours = False

    def __enter__(self) -> Bar:
        around = _around.get()
        if self._kind is False or self._state.total == 0 or (self._alone and around is not None):
            self._bar = _SILENT
        elif around is not None:
            self._bar = around.bar_for(self._kind, self._state)
        else:
            self._bar, self._is_ours = _made(self._kind, self._state), True
        return self._bar

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._is_ours:
            self._bar.close(kind is not None)
        elif kind is None:
            self._bar.begin_phase(SHAPING)


def count_calls(func: Func, kind: Progress, label: str, unit: str, retried: Callable[[], int] = int) -> Func:
    """Wrap a function that pandas calls in this process, so that each call counts as a unit of the scope.

    ``retried`` returns the number of repeated calls so far.
    """
    if kind is False:
        return func
    before = 0

    @functools.wraps(func, assigned=("__name__",), updated=())
    def one(*args: Any, **kwargs: Any) -> Any:
        nonlocal before
        value = func(*args, **kwargs)
        before, new = retried(), retried() - before
        around = _around.get()
        if around is not None:
            if around.bar is None:
                around.bar_for(kind, State(label, unit, None, 0, 0))
            if around.bar is not None:
                around.bar.add(1, lambda: type(value) is Failed, new)
        return value

    return one
