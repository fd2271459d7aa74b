"""Leaving: how an error that is not the function's comes out of a call of pandas, which catches many an exception.

What the user's function raises is for pandas to judge: ``groupby(...).transform`` takes an exception for the sign that
it is to go another way.  A worker that died, a call that took too long or a mistake of our own is no such sign::

    raised inside     LeavingError(error)     past each ``except Exception`` of pandas
    raised outside    error                   as it was, with its traceback
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pdparallel.typing import Func

__all__ = ["LeavingError", "outside"]


class LeavingError(BaseException):
    """Carries an error out of pandas' own call; no ``except Exception`` on the way stops it.

    Parameters
    ----------
    error : BaseException
        What is raised outside.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error


def outside(ask: Callable[[Func], Any], func: Func) -> Any:
    """pandas' own call with a function; an error that left it is raised as it was."""
    try:
        return ask(func)
    except LeavingError as leaving:
        error = leaving.error
    try:
        raise error  # out of the block above, whose exception would be shown as its context
    finally:
        del error  # its traceback leads to this frame: a circle
