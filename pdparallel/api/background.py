"""Calls that run in a thread of this process and return a future, so that a notebook or event loop continues.

The thread makes the same call as the foreground would.  Between two steps it checks whether it is cancelled
(:mod:`pdparallel.core.cancellation`)::

    df.par.background.apply_rows(f)
      copies the frame (from pandas 3 on lazily)  -> the thread runs df.par.apply_rows(f)
      waits until the arguments are checked      <-  InvalidOptionError, or the call begins
      returns a future                           <-  the result, or an exception
      future.cancel()                             -> the thread ends its tasks and their workers
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import copy
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from pdparallel.compat import PANDAS_2
from pdparallel.core.cancellation import CancelToken, StoppedError, cancellable, running_loop
from pdparallel.core.format import as_html, seconds
from pdparallel.core.lifetime import at_exit
from pdparallel.core.mistakes import by_name
from pdparallel.core.options import show_options
from pdparallel.core.tracebacks import replace_traceback, trim_tracebacks
from pdparallel.transport.outcomes import described
from pdparallel.worker.run_task import inside_worker

__all__ = ["Background", "Running"]

R = TypeVar("R")

#: Methods that return an object with methods to run, not a result.
MAKERS = ("groupby", "rolling", "expanding", "ewm", "resample")

#: Seconds between two looks whether a call has begun to use the loop of this thread.
POLL_SECONDS = 0.02

#: Seconds that the exit of the process waits for cancelled calls.
EXIT_SECONDS = 3.0


class Running(Future[R]):
    """The future of a call. You can cancel it while the call runs, and await it in asyncio code.

    Until the call is done, the future is pending, so :meth:`cancel` works at any time. A waiting :meth:`result` then
    raises ``CancelledError`` at once. The call ends some tenths of a second later.

    Parameters
    ----------
    stop : CancelToken
        The token that cancels the call.
    verb : str, default "call"
        The name of the method, for the text in a terminal.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> future = pd.Series([1, 2]).par.background.map(str)
    >>> future.result(timeout=60).tolist(), future.done()
    (['1', '2'], True)
    """

    def __init__(self, stop: CancelToken, verb: str = "call") -> None:
        super().__init__()
        self._stop = stop
        self._verb = verb
        self._made_in = threading.get_ident()
        self._began = time.monotonic()
        self._ended: float | None = None
        self._lock = threading.Lock()
        self._told = False
        self._trace: TracebackType | None = None

    def cancel(self) -> bool:
        """Cancel the call.

        Returns
        -------
        bool
            True if it is cancelled, False if it was done before.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> from pdparallel.testing import saboteurs
        >>> s = pd.Series(["a", "b"])
        >>> future = s.par(engine="process").background.map(saboteurs.hangs())
        >>> future.cancel(), future.cancelled()
        (True, True)
        """
        if self.done():
            return self.cancelled()
        self._stop.cancel()
        cancelled = super().cancel()
        if cancelled:
            self._ended = time.monotonic()
            self._tell()
        return cancelled

    def running(self) -> bool:
        """Return whether the call is neither done nor cancelled.

        Returns
        -------
        bool
            True while :meth:`cancel` can end the call.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> future = pd.Series([1, 2]).par.background.map(str)
        >>> _ = future.result()
        >>> future.running()
        False
        """
        return not self.done()

    def result(self, timeout: float | None = None) -> R:
        """Wait for the result of the call.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; without it there is no limit.

        Returns
        -------
        object
            The result of the method.

        Raises
        ------
        RuntimeError
            If the function is a coroutine function, and this thread's event loop runs it. Then use ``await``.
        Exception
            The error of the call. A :class:`concurrent.futures.CancelledError` if the call is cancelled.
        TimeoutError
            If the call takes longer than ``timeout``.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series([1, 2]).par.background.map(str).result(timeout=60).tolist()
        ['1', '2']
        """
        self._refuse_to_block()
        try:
            return super().result(timeout)
        except BaseException as error:
            # Each call of result() would add the frames of concurrent.futures to the same traceback again.
            replace_traceback(error, self._trace if error is self._exception else None)
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end of the call, and return its error.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; without it there is no limit.

        Returns
        -------
        Exception or None
            The error of the call. None if there is none.

        Raises
        ------
        TimeoutError
            If the call takes longer than ``timeout``.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series([1, 2]).par.background.map(str).exception(timeout=60) is None
        True
        """
        self._refuse_to_block()
        return super().exception(timeout)

    def _refuse_to_block(self) -> None:
        """Raise if the coroutines of the call run on the loop of this thread, so that waiting here would never end."""
        loop = self._stop.loop
        if loop is None or threading.get_ident() != self._made_in or loop.is_closed():  # then the call ends
            return
        while not self.done():
            if self._stop.uses_loop:
                raise RuntimeError(
                    "The coroutines of this call run on the event loop of this thread, and waiting here stops that "
                    "loop. Write: result = await future"
                )
            concurrent.futures.wait([self], timeout=POLL_SECONDS)

    def __await__(self) -> Generator[Any, None, R]:
        import asyncio

        return asyncio.wrap_future(_Awaited(self)).__await__()

    def __repr__(self) -> str:
        return f"<pdparallel {self._verb} in the background: {self._told_state()}>"

    def _repr_html_(self) -> str:
        rows = [("state", self._told_state(), "What became of the call.")]
        error = self._error()
        rows += [("where", note, "The place of the failure.") for note in getattr(error, "__notes__", ())]
        seconds_taken = (self._ended or time.monotonic()) - self._began
        rows.append(("time", seconds(seconds_taken), "The time from the beginning of the call to its end, or to now."))
        head = ("what", "value", "meaning")
        return as_html([head, *rows], "lll", head=True, title=f"pdparallel {self._verb} in the background")

    def _told_state(self) -> str:
        """Return the state in words, with the message of the error if the call failed."""
        if self.cancelled():
            return "cancelled"
        if not self.done():
            return "running"
        error = self._error()
        if error is None:
            return f"done, a {type(self.result()).__name__}"
        return f"failed, {described(error)}"

    def _error(self) -> BaseException | None:
        return self.exception() if self.done() and not self.cancelled() else None

    def end(self, result: Any, error: BaseException | None) -> None:
        """Set the result or the error of the call, unless it is cancelled."""
        self._ended = time.monotonic()
        if isinstance(error, StoppedError):
            super().cancel()
        if not self._tell():
            return
        if error is None:
            self.set_result(result)
        else:
            self._trace = error.__traceback__
            self.set_exception(error)

    def _tell(self) -> bool:
        """Leave the pending state, once for both threads; return False if that was done, or if it is cancelled."""
        with self._lock:
            if self._told:
                return False
            self._told = True
            return self.set_running_or_notify_cancel()


class _Awaited(Future[R]):
    """Future for asyncio, in which a StopIteration becomes the cause of a RuntimeError, as in any coroutine."""

    # asyncio refuses a StopIteration from a future: up to Python 3.11 an await of that future never ends.

    def __init__(self, running: Running[R]) -> None:
        super().__init__()
        self._of: Running[R] | None = running
        running.add_done_callback(self._take)

    def cancel(self) -> bool:
        running = self._of
        return running is not None and running.cancel()

    def _take(self, running: Future[R]) -> None:
        self._of = None  # breaks the reference cycle
        if running.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        error = running.exception()
        if error is None:
            self.set_result(running.result())
            return
        if isinstance(error, StopIteration):
            ended = RuntimeError("the function raised StopIteration")
            ended.__cause__ = error
            error = ended
        self.set_exception(error)


class Background:
    """The methods of ``df.par.background``: each returns a future.

    Parameters
    ----------
    verbs : object
        The accessor, or a view of it, as from ``groupby``.
    own : bool, default False
        Whether ``verbs`` already has its own copy of the data.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"key": ["a", "b", "a"], "x": [1, 2, 3]})
    >>> future = df.par.background.groupby("key")["x"].apply(lambda x: x.max() - x.min())
    >>> future.result().to_dict()
    {'a': 2, 'b': 0}
    """

    def __init__(self, verbs: Any, own: bool = False) -> None:
        self._verbs = verbs
        self._own = own

    def __repr__(self) -> str:
        return f"<in the background: {self._verbs!r}>"

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._verbs) if not name.startswith("_") and name != "background"]

    @show_options()
    @trim_tracebacks
    @by_name(skip=1, after=".background")
    def __call__(self, **options: Any) -> Background:
        """Return the same methods with options for the call that follows.

        Parameters
        ----------
        **options
            Any of :class:`pdparallel.Options`, and ``columns`` of a frame.

        Returns
        -------
        Background
            The methods with these options.

        Raises
        ------
        InvalidOptionError
            Names the option, its value, and the allowed values.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series([1, 2]).par.background(engine="thread").map(str).result().tolist()
        ['1', '2']
        """
        return Background(self._verbs(**options), self._own)

    @property
    def _obj(self) -> Any:
        """Data of the accessor, which messages about mistakes need."""
        return self._verbs._obj

    def _method(self, name: str) -> Any:
        try:
            return getattr(self._verbs, name)
        except AttributeError as error:
            text = str(error)
            if ".background." in text:
                raise
            for place in ("df.par", "s.par"):
                text = re.sub(rf"\b{place}(?= has no|\.(?!background))", f"{place}.background", text)
            raise AttributeError(text, name=name, obj=None) from None

    @trim_tracebacks
    def __getitem__(self, key: Any) -> Background:
        return Background(self._verbs[key], self._own)

    @trim_tracebacks
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "background":
            raise AttributeError(name)
        if name == "iter_chunks":
            raise AttributeError(
                "df.par.background has no 'iter_chunks', which works while you iterate. Use df.par.iter_chunks(func)."
            )
        method = self._method(name)
        if not callable(method):
            return Background(method, self._own)

        @functools.wraps(method)
        @trim_tracebacks
        def verb(*args: Any, **kwargs: Any) -> Any:
            verbs = self._verbs if self._own else _with_own_data(self._verbs)
            call = functools.partial(getattr(verbs, name), *args, **kwargs)
            return Background(call(), own=True) if name in MAKERS else started(call, name)

        return verb


def _with_own_data(accessor: Any) -> Any:
    """Return an accessor of a copy of the data, so that later changes of the data do not change the result."""
    own = copy.copy(accessor)
    # From pandas 3 on, a shallow copy is enough: a later change copies the values first.
    own._obj = accessor._obj.copy(deep=PANDAS_2)
    return own


def started(call: Callable[[], R], verb: str = "call") -> Running[R]:
    """Start a call in its own thread; return when its arguments are checked, or raise their error."""
    stop = CancelToken(running_loop())
    future: Running[R] = Running(stop, verb)
    if inside_worker():  # each core is busy already, and a second thread may wait for a lock of this one
        _run(call, stop, future, [])
        return future
    refused: list[BaseException] = []
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(_run, call, stop, future, refused),
        name="pdparallel-background", daemon=True,
    )  # fmt: skip
    _running[future] = thread, os.getpid()
    try:
        thread.start()
        stop.started.wait()
    except BaseException:  # also after an interrupt, no call may run whose future is lost
        future.cancel()
        raise
    if refused:
        raise refused[0]
    return future


def _run(call: Callable[[], Any], stop: CancelToken, future: Running[Any], refused: list[BaseException]) -> None:
    result, error = None, None
    try:
        with cancellable(stop):
            result = call()
    except BaseException as raised:  # also a SystemExit of the function goes to the future
        error = raised
        replace_traceback(error, raised.__traceback__ and raised.__traceback__.tb_next)  # without this function
    try:
        if error is not None and not stop.started.is_set():
            refused.append(error)
        stop.started.set()
        future.end(result, error)
    finally:
        _running.pop(future, None)
        error = None  # breaks the cycle: its traceback has this frame, which has the error


#: The thread of each call, and the id of the process that started it.
_running: dict[Running[Any], tuple[threading.Thread, int]] = {}


def _cancel_all() -> None:
    until = time.monotonic() + EXIT_SECONDS
    running = [(future, thread) for future, (thread, process) in list(_running.items()) if process == os.getpid()]
    for future, _ in running:
        future.cancel()
    for _, thread in running:
        thread.join(max(0.0, until - time.monotonic()))


at_exit(_cancel_all)
