"""Saboteurs: what goes wrong in functions, so that a test can see how a pipeline takes it: with ``errors="coerce"``,
``timeout=``, ``retries=``, ``checkpoint=``, in the code around it.

A *sabotage* takes whatever it is called with, and does harm.  :func:`when` lets a function do its work but for where it
is to go wrong::

    func = saboteurs.when(lambda row: row["a"] == 17, saboteurs.kills(), my_function)
    df.par(engine="process", errors="coerce").apply_rows(func)

All of them travel to workers.  What would end or block a process does so in another one only: in the process that made
the saboteur it raises :class:`NotAWorkerError`, so that no test ends the program that runs it.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pdparallel.typing import Func

__all__ = [
    "Bomb",
    "NoTextError",
    "NotAWorkerError",
    "NotReadable",
    "NotWritable",
    "TwoArgumentsError",
    "WithLockError",
    "ends",
    "hangs",
    "kills",
    "loops",
    "prints",
    "raises",
    "returns",
    "when",
]


# Exceptions


class NotAWorkerError(Exception):
    """Error that a saboteur, which would end or block its process, was called in the one that made it.

    ``engine="auto"`` begins there; ``engine="process"`` and ``"pathos"`` have every call made in workers.

    Examples
    --------
    >>> ends()("anything")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    pdparallel.testing.saboteurs.NotAWorkerError: this saboteur was called in the process that made it: ...
    """


class TwoArgumentsError(Exception):
    """An exception that pickle writes and cannot read: it needs two arguments, and has one.

    Parameters
    ----------
    one, two : object
        Both are a part of its text.

    Examples
    --------
    >>> TwoArgumentsError(1, 2).args    # pickle calls the class with these
    ('1 and 2',)
    """

    def __init__(self, one: Any, two: Any) -> None:
        super().__init__(f"{one} and {two}")
        self.one, self.two = one, two


class WithLockError(Exception):
    """An exception that cannot be written: it holds a frame of the interpreter, as many do, and a lock.

    Parameters
    ----------
    message : str, default "it holds a lock"
        Its text.

    Examples
    --------
    >>> import pickle
    >>> pickle.dumps(WithLockError())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    TypeError: cannot pickle ...
    """

    def __init__(self, message: str = "it holds a lock") -> None:
        super().__init__(message)
        self.lock = _thread.allocate_lock()
        self.frame = sys._getframe()


class NoTextError(Exception):
    """An exception that raises another one when it is asked for its text.

    Examples
    --------
    >>> str(NoTextError())
    Traceback (most recent call last):
    ...
    ValueError: no text
    """

    def __str__(self) -> str:
        raise ValueError("no text")


# Objects that do not travel


class NotWritable:
    """An object that cannot be pickled.

    Examples
    --------
    >>> import pickle
    >>> pickle.dumps(NotWritable())
    Traceback (most recent call last):
    ...
    TypeError: it cannot be written
    """

    def __reduce__(self) -> Any:
        raise TypeError("it cannot be written")


class NotReadable:
    """An object that is pickled well, and cannot be rebuilt.

    Examples
    --------
    >>> import pickle
    >>> pickle.loads(pickle.dumps(NotReadable()))
    Traceback (most recent call last):
    ...
    LookupError: it cannot be rebuilt
    """

    def __reduce__(self) -> Any:
        return _refuse, ()


@dataclass(frozen=True)
class Bomb:
    """An object that ends the process in which it is rebuilt, if that is another one.

    Parameters
    ----------
    code : int, default 3
        The exit code.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> try:
    ...     pd.Series([1, 2]).par(engine="process", retries=0).map(lambda value, other: value, other=Bomb())
    ... except pdparallel.WorkerDiedError as error:
    ...     print(error.exitcode)
    3
    """

    code: int = 3
    _made_in: int = field(default_factory=os.getpid, init=False, repr=False, compare=False)

    def __reduce__(self) -> Any:
        return _end, (self.code, self._made_in)


def _refuse() -> Any:
    raise LookupError("it cannot be rebuilt")


def _end(code: int, made_in: int) -> Any:
    _not_in(made_in)
    os._exit(code)


def _not_in(made_in: int) -> None:
    if os.getpid() == made_in:
        raise NotAWorkerError("this saboteur was called in the process that made it: give engine='process'")


# What functions do


@dataclass(frozen=True)
class when:  # noqa: N801 - it reads as a function, and is called like one
    """A function that goes wrong for some of what it is called with.

    Parameters
    ----------
    where : callable
        Takes what the function is called with: whether it goes wrong there. Or something to compare with.
    sabotage : callable
        Takes the same, and does harm.
    otherwise : callable, optional
        The function; without one everything else is returned as it came.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> from pdparallel.testing import saboteurs
    >>> func = saboteurs.when(3, saboteurs.raises(ValueError("three")), float)
    >>> pd.Series([1, 2, 3, 4]).par(errors="return").map(func).tolist()
    [1.0, 2.0, ValueError('three'), 4.0]
    """

    where: Any
    sabotage: Func
    otherwise: Func | None = None

    def __call__(self, unit: Any, *args: Any, **kwargs: Any) -> Any:
        if self.where(unit) if callable(self.where) else unit == self.where:
            return self.sabotage(unit)
        return unit if self.otherwise is None else self.otherwise(unit, *args, **kwargs)


@dataclass(frozen=True)
class raises:  # noqa: N801
    """A function that raises an exception.

    Parameters
    ----------
    error : BaseException, or callable
        The exception; or what makes one, such as its class: for exceptions that cannot travel to a worker themselves.

    Examples
    --------
    >>> raises(TwoArgumentsError(1, 2))("anything")
    Traceback (most recent call last):
    ...
    pdparallel.testing.saboteurs.TwoArgumentsError: 1 and 2
    """

    error: BaseException | Callable[[], BaseException]

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise _anew(self.error) if isinstance(self.error, BaseException) else self.error()


def _anew(error: BaseException) -> BaseException:
    """The same exception without what the last one that raised it has left in it."""
    made = type(error).__new__(type(error), *error.args)
    made.__dict__.update({name: value for name, value in vars(error).items() if name != "__notes__"})
    return made


@dataclass(frozen=True)
class returns:  # noqa: N801
    """A function that returns the object of another one, which cannot travel back.

    Parameters
    ----------
    make : callable
        Makes it; no arguments.

    Examples
    --------
    >>> import pdparallel
    >>> (error,) = pdparallel.map(returns(NotWritable), [1], engine="process", errors="return")
    >>> type(error).__name__
    'ResultNotSerializableError'
    """

    make: Callable[[], Any]

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self.make()


@dataclass(frozen=True)
class prints:  # noqa: N801
    """A function that prints a text, and goes on.

    Parameters
    ----------
    text : str
        The text.
    then : callable, optional
        What is called afterwards, with the same arguments; without it what came first is returned.

    Examples
    --------
    >>> prints("here", then=abs)(-1)
    here
    1
    """

    text: str
    then: Func | None = None

    def __call__(self, unit: Any = None, *args: Any, **kwargs: Any) -> Any:
        print(self.text)
        return unit if self.then is None else self.then(unit, *args, **kwargs)


@dataclass(frozen=True)
class kills:  # noqa: N801
    """A function whose worker is killed by a signal, as the kernel does if memory runs out.

    Parameters
    ----------
    number : int, optional
        The signal; without it SIGKILL, and on Windows what stands for it.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> func = when(2, kills())
    >>> pd.Series([1, 2, 3]).par(engine="process", chunk_size=1).map(func)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    pdparallel.errors.WorkerDiedError: Value 1 ended its worker (SIGKILL) in all 3 attempts....
    """

    number: int = getattr(signal, "SIGKILL", signal.SIGTERM)
    _made_in: int = field(default_factory=os.getpid, init=False, repr=False, compare=False)

    def __call__(self, *_: Any, **__: Any) -> Any:
        _not_in(self._made_in)
        os.kill(os.getpid(), self.number)
        # Until the signal is there; and what a stopped process finds when it is let go on.
        time.sleep(0 if self.number == getattr(signal, "SIGSTOP", None) else 300)


@dataclass(frozen=True)
class ends:  # noqa: N801
    """A function that ends its worker at once, as a library of C may do: no exception, nothing is closed.

    Parameters
    ----------
    code : int, default 3
        The exit code.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> s = pd.Series([1, 2, 3])
    >>> came = s.par(engine="process", retries=0, errors="return").map(when(2, ends()))
    >>> [type(value).__name__ for value in came]
    ['int', 'WorkerDiedError', 'int']
    """

    code: int = 3
    _made_in: int = field(default_factory=os.getpid, init=False, repr=False, compare=False)

    def __call__(self, *_: Any, **__: Any) -> Any:
        _not_in(self._made_in)
        os._exit(self.code)


@dataclass(frozen=True)
class hangs:  # noqa: N801
    """A function that waits, as for a server that does not answer.

    Parameters
    ----------
    seconds : float, default 300
        How long at most, so that nothing is left waiting for ever where a test fails.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> s = pd.Series(["a", "b"])
    >>> came = s.par(timeout=1, errors="return").map(when("b", hangs()))
    >>> [type(value).__name__ for value in came]
    ['str', 'CallTimeoutError']
    """

    seconds: float = 300.0
    _made_in: int = field(default_factory=os.getpid, init=False, repr=False, compare=False)

    def __call__(self, *_: Any, **__: Any) -> Any:
        _not_in(self._made_in)
        time.sleep(self.seconds)


@dataclass(frozen=True)
class loops:  # noqa: N801
    """A function that computes without an end.

    Parameters
    ----------
    seconds : float, default 300
        How long at most.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> s = pd.Series(["a", "b"])
    >>> came = s.par(timeout=1, errors="return").map(when("b", loops()))
    >>> [type(value).__name__ for value in came]
    ['str', 'CallTimeoutError']
    """

    seconds: float = 300.0
    _made_in: int = field(default_factory=os.getpid, init=False, repr=False, compare=False)

    def __call__(self, *_: Any, **__: Any) -> Any:
        _not_in(self._made_in)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            pass
