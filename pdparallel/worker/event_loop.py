"""The event loop of this process, in a thread of its own, for functions that are coroutines.

The loop stays for the next call, so that a client with open connections, which belongs to its loop, works again. It
ends after some idle minutes, at shutdown, and at the end of the process::

    thread of the call                          thread of the loop
     acquire()                                   run_forever()
     loop.call_soon_threadsafe(...)      -->     tasks of this call, and of calls in other threads
     release()                                   goes on, until it has been idle for long
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from types import CoroutineType, FunctionType
from typing import Any, TypeVar

from pdparallel.core.awaitables import is_awaitable, is_coroutine_function
from pdparallel.core.call import Work
from pdparallel.core.cancellation import callers_loop, current
from pdparallel.core.lifetime import AT_SHUTDOWN, IdleTimer, at_exit
from pdparallel.core.tasks import in_task

__all__ = [
    "CLEANUP_SECONDS", "EventLoop", "acquire", "awaiting", "blocking", "release", "run_on", "waited",
    "without_coroutines",
]  # fmt: skip

R = TypeVar("R")

#: Seconds that cancelled coroutines have for their cleanup.
CLEANUP_SECONDS = 2.0

#: Seconds that tasks have to end by themselves before they are cancelled.
GRACE_SECONDS = 0.1

#: Seconds without a call after which the loop ends.
IDLE_SECONDS = 300.0


class EventLoop:
    """Event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()  # of the user's policy, which may be uvloop
        self.users = 0
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="pdparallel-loop", daemon=True)
        self._thread.start()

    @property
    def is_usable(self) -> bool:
        """Whether the loop takes work."""
        return self._thread.is_alive() and not self._is_ending and not self.loop.is_closed()

    @property
    def is_here(self) -> bool:
        """Whether this thread is that of the loop."""
        return threading.current_thread() is self._thread

    def end(self, *, wait: bool = True) -> None:
        """Cancel the remaining tasks and close the loop; wait for that a little."""
        self._is_ending = True
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(self.loop.stop)
        if wait and not self.is_here:
            self._thread.join(2 * CLEANUP_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        with in_task():
            while not self._is_ending:
                # A task of the function may stop the loop, or raise SystemExit through it. The code that awaits that
                # task gets the exception, too.
                with contextlib.suppress(BaseException):
                    self.loop.run_forever()
            with contextlib.suppress(BaseException):
                self.loop.run_until_complete(self._close())
        with contextlib.suppress(Exception):
            self.loop.close()

    async def _close(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:  # they may close generators that calls have left, and a cancelled one would not finish that
            _, tasks = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLEANUP_SECONDS)
        # A task that goes on nevertheless ends here. Its call has told the user so.
        self.loop.set_exception_handler(lambda loop, context: None)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.loop.shutdown_asyncgens(), CLEANUP_SECONDS)


_lock = threading.RLock()
_kept: EventLoop | None = None


def acquire() -> EventLoop:
    """Return the loop of this process, or a new one in a thread that must not wait for it; release it after use."""
    global _kept
    with _lock:
        if _kept is not None and _kept.is_usable and not _kept.is_here:
            found = _kept
        else:
            found = EventLoop()
            # A call of a coroutine on the kept loop gets a loop for itself, because the kept one waits for it.
            if _kept is None or not _kept.is_usable:
                _kept = found
        found.users += 1
        return found


def release(used: EventLoop, *, is_broken: bool = False) -> None:
    """Release a loop; a broken one, or one for a single call, ends when nobody uses it."""
    global _kept
    with _lock:
        used.users -= 1
        if is_broken and used is _kept:
            _kept = None
        if used is _kept:
            _idle.used(IDLE_SECONDS)
            return
        is_last = used.users == 0
    if is_last:
        used.end(wait=not is_broken)


def _let_go() -> Callable[[], None] | None:
    """Take the loop out if nobody uses it; return the function that ends it."""
    global _kept
    unused = _kept
    if unused is None or unused.users:
        return None
    _kept = None
    return unused.end


def _end_unused() -> None:
    with _lock:
        _idle.stop()
        end = _let_go()
    if end is not None:
        end()


_idle = IdleTimer(_lock, _let_go)
AT_SHUTDOWN.append(_end_unused)
at_exit(_end_unused, of_pools=True)


def _begin_after_fork() -> None:
    """Forget the loop in a forked child, which has no thread for it."""
    global _lock, _kept, _idle
    _lock, _kept = threading.RLock(), None
    _idle = IdleTimer(_lock, _let_go)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_after_fork)


def run_on(loop: Any, call: Callable[[], Any], context: contextvars.Context | None = None) -> Future[Any]:
    """Call a function on a loop, and await what it returns; the future gets the result."""
    future: Future[Any] = Future()

    async def run() -> None:
        try:
            value = call()
            if is_awaitable(value):
                value = await value
        except asyncio.CancelledError:
            future.cancel()
            raise
        except BaseException as exception:
            if not future.cancelled():
                future.set_exception(exception)
        else:
            if not future.cancelled():
                future.set_result(value)

    def begin() -> None:
        task = loop.create_task(run(), context=context)
        future.add_done_callback(lambda done: done.cancelled() and loop.call_soon_threadsafe(task.cancel))

    loop.call_soon_threadsafe(begin)
    return future


def blocking(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls a coroutine function on the loop of this process, and waits for its result."""

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        loop = callers_loop()
        used = None if loop is not None else acquire()
        try:
            loop = loop if used is None else used.loop
            return waited(run_on(loop, lambda: func(*args, **kwargs), contextvars.copy_context()))
        finally:
            if used is not None:
                release(used)

    return call


def awaiting(func: Any) -> Any:
    """Return a function for pandas that waits for the coroutines of a function, or such functions in a list or dict.

    Everything else that pandas takes stays as it is.
    """
    if is_coroutine_function(func):
        return blocking(func)
    if type(func) is list:
        return list(map(awaiting, func))
    if type(func) is dict:
        return {label: awaiting(one) for label, one in func.items()}
    if not isinstance(func, FunctionType):  # pandas treats some of them in its own way
        return func

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        value = func(*args, **kwargs)
        return blocking(lambda: value)() if type(value) is CoroutineType else value

    return call


def without_coroutines(work: Work) -> Work:
    """Return the work with a function that waits for its coroutines."""
    return replace(work, func=awaiting(work.func), is_async=False)


def waited(future: Future[R]) -> R:
    """Return the result of a future; cancel it after an interrupt, or if the call is cancelled."""
    stop = current()
    try:
        if stop is not None:
            either: list[Future[Any]] = [future, stop.requested]
            wait(either, return_when=FIRST_COMPLETED)
            stop.raise_if_cancelled()
        return future.result()
    finally:
        future.cancel()
