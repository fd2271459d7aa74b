"""Tracebacks without the frames of this package, so that they show only the user's and pandas' lines.

Public functions have :func:`trim_tracebacks` as decorator. All frames stay if the error is a fault of this package, or
with the environment variable ``PDPARALLEL_FULL_TRACEBACKS=1``.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar, cast

from pdparallel.errors import PdParallelError

__all__ = [
    "below_the_callers",
    "remove_own_frames",
    "replace_traceback",
    "trim_tracebacks",
    "users_lines",
    "users_part",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Environment variable that keeps all frames.
FULL_TRACEBACKS = "PDPARALLEL_FULL_TRACEBACKS"

#: Modules of this package whose functions act as user code.
_NOT_OWN = ("pdparallel.testing", "pdparallel.cli.demo")

#: Modules that call the user's function, with the names of the functions that do so.
_CALLERS = {
    **dict.fromkeys(
        [
            "pdparallel.worker.loop",
            "pdparallel.worker.retrying",
            "pdparallel.operations.build_result",
            "pdparallel.data.aligned_series",
            "pdparallel.execution.group_driver",
            "pdparallel.data.fastpath.group",
        ],
        frozenset(
            {
                "call_shared",
                "call_in_block",
                "call_owned",
                "call_each",
                "reseeded",
                "guarded",
                "watch",
                "call",
                "<lambda>",
                "__call__",
            }
        ),
    ),
    "pdparallel.data.groups": frozenset({"keep", "_awaited", "_all_awaited"}),  # its __call__ calls pandas first
    "pdparallel.worker.coroutines": frozenset({"_call", "_value", "<lambda>"}),
    "pdparallel.worker.event_loop": frozenset({"run", "call", "<lambda>"}),
    "pdparallel.core.awaitables": frozenset({"_awaited"}),
    "pdparallel.core.random_state": frozenset({"in_steps"}),
    "pdparallel.worker.replicate_state": frozenset({"__init__"}),  # calls the initializer
}

#: Functions that raise the errors of a user's function or of wrong arguments. ``*`` means any module.
_RAISE_FOR_USERS = {
    ("*", "__getattr__"),
    ("*", "__getitem__"),
    ("pdparallel.api.background", "_method"),
    ("pdparallel.execution.pandas_driver", "_calls"),
    ("pdparallel.execution.inline", "run_loop"),
    ("pdparallel.operations.concat", "_combined"),
    ("pdparallel.operations.concat", "without_overlap"),
    ("pdparallel.execution.collector", "raise_failure"),
    ("pdparallel.core.mistakes", "attribute_of_pandas"),
    ("pdparallel.progress.reporter", "one"),
    ("pdparallel.core.tracebacks", "call"),
    ("pdparallel.transport.data", "encode_data"),
    ("pdparallel.execution.pandas_driver", "keep"),
    ("pdparallel.operations.rolling", "as_floats"),
    ("pdparallel.api.rolling", "_apply"),
}

_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_INSTALLED = ("site-packages", "dist-packages")


def trim_tracebacks(func: F) -> F:
    """Decorate a function so that the tracebacks of its errors have no frames of this package."""

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        except BaseException as error:
            remove_own_frames(error)
            raise  # a bare one: "raise error" would put this frame back

    return cast("F", call)


def remove_own_frames(error: BaseException) -> None:
    """Remove the frames of this package from the tracebacks of an error and of its causes."""
    with contextlib.suppress(Exception):  # the error matters more than its lines
        if not _wants_all() and not _is_our_fault(error):
            for one in _with_causes(error):
                _set_traceback(one, _without_own(one.__traceback__, _interrupts_a_wait(one)))


def _with_causes(error: BaseException) -> list[BaseException]:
    """Return an error, and all errors that Python shows above it."""
    shown: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and not any(following is one for one in shown):
        shown.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return shown


def replace_traceback(error: BaseException, tb: TracebackType | None) -> None:
    """Give an error another traceback, unless all frames are wanted."""
    if not _wants_all():
        _set_traceback(error, tb)


def _set_traceback(error: BaseException, tb: TracebackType | None) -> None:
    # Not by assignment, because a user's class may refuse it.
    BaseException.with_traceback(error, tb)


def _wants_all() -> bool:
    return os.environ.get(FULL_TRACEBACKS, "").strip().lower() not in ("", "0", "false", "no")


def _is_our_fault(error: BaseException) -> bool:
    """Return True if this package raised an error unexpectedly, so that a bug report needs its frames."""
    if isinstance(error, PdParallelError) or not isinstance(error, Exception):
        return False
    if below_the_callers(error.__traceback__)[1]:
        return False
    for frame in reversed(list(_frames(error.__traceback__))):
        if not _is_of_python(frame):
            module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
            return _is_own(frame) and _RAISE_FOR_USERS.isdisjoint({("*", name), (module, name)})
    return True


def _interrupts_a_wait(error: BaseException) -> bool:
    """Return True for an interrupt while this package waits for workers, by functions of the standard library."""
    if not isinstance(error, KeyboardInterrupt) or below_the_callers(error.__traceback__)[1]:
        return False
    for frame in reversed(list(_frames(error.__traceback__))):
        if not _is_of_python(frame):
            return _is_own(frame) and frame.f_code.co_name != "raise_failure"  # which raises errors of the function
    return False


def _frames(tb: TracebackType | None) -> Iterator[FrameType]:
    while tb is not None:
        yield tb.tb_frame
        tb = tb.tb_next


def _is_own(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))
    return name.partition(".")[0] == "pdparallel" and not name.startswith(_NOT_OWN)


def _is_of_python(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    is_standard = file.startswith((_STANDARD_LIBRARY, "<frozen "))
    return is_standard and not any(folder in file for folder in _INSTALLED)


def _without_own(tb: TracebackType | None, waits: bool = False) -> TracebackType | None:
    """Return a traceback without our frames, without contextlib below ours, and with ``waits`` without all below."""
    kept = []
    below_own = False
    above_own = None
    while tb is not None:
        is_own = _is_own(tb.tb_frame)
        below_own = is_own or (below_own and tb.tb_frame.f_globals.get("__name__") == "contextlib")
        if not below_own:
            kept.append(tb)
        above_own = len(kept) if is_own else above_own
        tb = tb.tb_next
    if waits:
        del kept[above_own:]
    following = None
    for one in reversed(kept):
        following = TracebackType(following, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return following


def users_part(tb: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame of the user's function on, without the loops that call it."""
    return below_the_callers(tb)[0] or tb


def users_lines(tb: TracebackType | None) -> TracebackType | None:
    """Return :func:`users_part` without our frames, such as those of lazy rows; None if the function has no frame."""
    return users_part(tb) if _wants_all() else _without_own(users_part(tb))


def below_the_callers(tb: TracebackType | None) -> tuple[TracebackType | None, bool]:
    """Return the traceback from the user's function on, and whether it has such a frame."""
    at, inside = tb, False
    while at is not None:
        callers = _CALLERS.get(at.tb_frame.f_globals.get("__name__", ""))
        if inside and callers is None:
            return at, True
        inside = callers is not None and at.tb_frame.f_code.co_name in callers
        at = at.tb_next
    return None, inside
