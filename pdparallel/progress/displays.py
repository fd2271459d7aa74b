"""Displays of progress: a bar in a terminal or notebook, lines in a log or file, or a function of the user.

tqdm draws the bars, without its thread and without its lock between processes. That lock fixes the start method of
multiprocessing for this process. It also stays locked if a worker that holds it is killed.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Display", "State", "besides", "display_for"]

#: Smallest number of seconds between two drawings, and seconds after which the elapsed time is redrawn in any case.
PAUSE_SECONDS, BEAT_SECONDS = 0.1, 1.0

#: Smallest number of seconds between two drawings in a cell's output, because the notebook stores all of them.
CELL_PAUSE_SECONDS = 0.5

#: Seconds between two lines of a log: the smallest number, as a part of the time so far, and the largest number.
LINE_SECONDS, LINE_PART, MAX_LINE_SECONDS = 5.0, 0.1, 600.0

#: Seconds that a bar waits at most until another thread has drawn its own.
TURN_SECONDS = 0.2

#: Colour of a bar after a call of the function failed.
FAILED_COLOUR = "red"

#: Smallest number of units that is shown in thousands or millions.
SHORT_COUNT_MIN_UNITS = 10_000


@dataclass(slots=True)
class State:
    """Progress of a call that a display shows."""

    label: str
    unit: str
    total: int | None
    before: int  # units that were done before the call, as in a checkpoint
    count: int
    phase: str = ""  # empty while units are counted
    failed: int = 0
    retried: int = 0

    @property
    def notes(self) -> str:
        """Text beside the count: units of a checkpoint, failed units, repeated calls, and the phase."""
        before = f"{self.before:,} from checkpoint" if self.before else ""
        failed = f"{self.failed:,} failed" if self.failed else ""
        retried = f"{self.retried:,} retried" if self.retried else ""
        return ", ".join(filter(None, [before, failed, retried, self.phase]))

    @property
    def is_large(self) -> bool:
        return self.total is None or self.total >= SHORT_COUNT_MIN_UNITS


class Display(abc.ABC):
    """One place that shows progress; it may raise any exception."""

    #: Smallest number of seconds between two drawings.
    pause: float = PAUSE_SECONDS
    #: Seconds after which it is redrawn without a change; None for never.
    beat: float | None = None
    #: Seconds between two reads of the units that workers are at.
    check_interval: float = PAUSE_SECONDS

    #: True for a function of the user, whose failure is reported. A failed stream could not show a report.
    is_users = False

    @abc.abstractmethod
    def draw(self, state: State) -> None:
        """Show the state."""

    def begin_phase(self, state: State) -> None:
        """Show that all units are done, and the next phase."""
        self.draw(state)

    @abc.abstractmethod
    def close(self, state: State, failed: bool) -> None:
        """Show the state for the last time."""


def display_for(kind: Any, state: State) -> tuple[Display | None, str]:
    """Return the display for ``progress=``, or None if nothing can show it; and a problem with it, or ""."""
    if isinstance(kind, (logging.Logger, logging.LoggerAdapter)):
        return _logged(kind), ""
    if not isinstance(kind, (bool, str)):
        return _Told(kind), ""
    if kind == "log":
        return _logged(logging.getLogger("pdparallel.progress")), ""
    problem = ""
    if kind == "notebook" or (kind is True and _shows_widgets()):
        if _has_widgets():
            return _Tqdm("tqdm.notebook", state), ""
        problem = "The progress bar is text, because ipywidgets is not installed: pip install ipywidgets"
    return _text(state), problem


class _Told(Display):
    """A function of the user, which is called once for each new count."""

    pause = 0.0
    is_users = True

    def __init__(self, func: Callable[[int, Any], object]) -> None:
        self._func = func
        self._told = 0

    def draw(self, state: State) -> None:
        if state.count != self._told:
            self._told = state.count
            self._func(state.count, state.total)

    def close(self, state: State, failed: bool) -> None:
        if not failed:
            self.draw(state)


# Lines


class _Lines(Display):
    """Lines at increasing intervals, for a file or a log."""

    beat = LINE_SECONDS
    check_interval = 1.0

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._meter = importlib.import_module("tqdm.std").tqdm.format_meter
        self._began = time.monotonic()
        self.pause = LINE_SECONDS

    def draw(self, state: State) -> None:
        elapsed = time.monotonic() - self._began
        self.pause = self.beat = max(LINE_SECONDS, min(LINE_PART * elapsed, MAX_LINE_SECONDS))
        form = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
        self._write(self._meter(
            state.count, state.total, elapsed, prefix=state.label, unit=state.unit, unit_scale=state.is_large,
            initial=state.before, postfix=state.notes, bar_format=form if state.total else None,
        ))  # fmt: skip

    def begin_phase(self, state: State) -> None:
        if time.monotonic() - self._began >= LINE_SECONDS:  # else the last line follows soon
            self.draw(state)

    def close(self, state: State, failed: bool) -> None:
        self.draw(state)


def _logged(logger: Any) -> Display | None:
    return _Lines(functools.partial(logger.info, "%s")) if logger.isEnabledFor(logging.INFO) else None


def _text(state: State) -> Display | None:
    """Return a text display for the output of a cell, a terminal, or a file."""
    for stream in (sys.stdout, sys.stderr):  # in this order: notebooks show standard error in red
        if type(stream).__module__ == "ipykernel.iostream":
            return _Tqdm("tqdm.std", state, CELL_PAUSE_SECONDS, file=stream, leave=True, ncols=80)
    error = sys.stderr
    if error is None or getattr(error, "closed", False) or os.environ.get("TQDM_DISABLE"):
        return None
    stream = _unbuffered(error)
    if not error.isatty() or os.environ.get("TERM") == "dumb":
        return _Lines(lambda line: (stream.write(f"{line}\n"), stream.flush()))
    # tqdm shows nothing in a terminal whose size is not set (0 columns, 0 lines).
    fits: dict[str, Any] = {"dynamic_ncols": True} if _has_size(error) else {"ncols": 80, "nrows": 24}
    return _Tqdm("tqdm.std", state, file=stream, leave=None, **fits)


def _has_size(terminal: Any) -> bool:
    try:
        return min(os.get_terminal_size(terminal.fileno())) > 0
    except Exception:  # no descriptor
        return False


def _unbuffered(stream: Any) -> Any:
    """Return standard error without its buffer."""
    # If the disk is full, text stays in the buffer, and the process ends with an exit code for that.
    own: Any = sys.__stderr__
    if os.name != "posix" or stream is not own:
        return stream
    for buffered in (sys.stdout, own):
        with contextlib.suppress(Exception):
            buffered.flush()
    return _Unbuffered(own.fileno(), own.encoding)


class _Unbuffered:
    """Text stream without a buffer."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._descriptor = descriptor
        self.encoding = encoding

    def write(self, text: str) -> None:
        data = text.encode(self.encoding, "replace")
        with contextlib.suppress(BlockingIOError):  # it accepts no more now: drop the text and do not wait
            while data:
                data = data[os.write(self._descriptor, data) :]

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        return self._descriptor

    def __eq__(self, other: object) -> bool:
        return other is self or other is sys.__stderr__  # so that tqdm recognizes standard error

    __hash__ = object.__hash__


# tqdm


class _NoLock(contextlib.nullcontext[None]):
    """Replacement of tqdm's lock, which stays locked after a failed drawing, so that all other bars hang."""

    def acquire(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def release(self) -> None:
        pass


_drawing = threading.Lock()


@contextlib.contextmanager
def _turn(seconds: float) -> Iterator[bool]:
    """Wait for the right to draw; yield False if another thread still draws after ``seconds``."""
    ours = _drawing.acquire(timeout=seconds)
    try:
        yield ours
    finally:
        if ours:
            _drawing.release()


@contextlib.contextmanager
def besides(stream: Any) -> Iterator[None]:
    """Remove the bars on a terminal while something else is written there; redraw them below it."""
    if "tqdm.std" not in sys.modules or not _class_of("tqdm.std")._instances:
        yield
        return
    with _turn(TURN_SECONDS), contextlib.ExitStack() as room:
        with contextlib.suppress(Exception):  # a bar that cannot be drawn must not stop the writer
            room.enter_context(_class_of("tqdm.std").external_write_mode(file=stream, nolock=True))
        yield
        with contextlib.suppress(Exception):
            room.close()


@functools.cache
def _class_of(module: str) -> Any:
    """Return a class of tqdm without its thread and locks."""
    tqdm = importlib.import_module(module).tqdm
    # Without __del__, a bar whose constructor failed is not closed when it is collected.
    own = {"monitor_interval": 0, "_lock": _NoLock(), "__del__": lambda self: None}
    return type(tqdm.__name__, (tqdm,), own)


class _Tqdm(Display):
    """Bar of tqdm."""

    beat = BEAT_SECONDS

    def __init__(self, module: str, state: State, pause: float = PAUSE_SECONDS, **how: Any) -> None:
        self.pause = pause
        self._has_colours = not os.environ.get("NO_COLOR")
        made = _class_of(module)
        self._bar = made.__new__(made)
        try:
            with _turn(TURN_SECONDS):
                self._bar.__init__(
                    total=state.total, initial=state.before, desc=state.label, unit=state.unit,
                    unit_scale=state.is_large, mininterval=0, miniters=0, **how,
                )  # fmt: skip
        except BaseException:  # also an interrupt
            made._instances.discard(self._bar)  # else tqdm reserves a line for it among other bars
            raise

    def draw(self, state: State) -> None:
        with _turn(0) as ours:
            if ours:
                self._draw(state)

    def begin_phase(self, state: State) -> None:
        with _turn(TURN_SECONDS):
            self._draw(state)

    def _draw(self, state: State) -> None:
        self._describe(state)
        more = state.count - self._bar.n
        if more > 0:
            self._bar.update(more)
        else:
            self._bar.refresh()

    def close(self, state: State, failed: bool) -> None:
        with _turn(TURN_SECONDS):
            self._bar.n = max(self._bar.n, state.count)
            self._describe(state)
            self._bar.close()

    def _describe(self, state: State) -> None:
        """Set all but the count; the bar turns red if a call of the function failed."""
        self._bar.total = state.total
        self._bar.set_postfix_str(state.notes, refresh=False)
        if state.failed and self._has_colours and self._bar.colour != FAILED_COLOUR:
            self._bar.colour = FAILED_COLOUR


def _shows_widgets() -> bool:
    """Return True in the kernel of a notebook, but not in that of a console."""
    shell_here = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    shell = shell_here() if "ipykernel.zmqshell" in sys.modules else None
    if getattr(shell, "kernel", None) is None or not _has_widgets():
        return False
    # The consoles of Qt and Spyder, detected as tqdm does.
    consoles = any(name == "QT_API" or name.startswith("SPYDER") for name in os.environ)
    return not consoles and not any(word in type(shell).__name__.lower() for word in ("qt", "spyder"))


def _has_widgets() -> bool:
    installed = importlib.util.find_spec("ipywidgets") is not None
    return installed and importlib.import_module("tqdm.notebook").IProgress is not None
