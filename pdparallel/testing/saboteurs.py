"""Functions, exceptions and objects that fail, to test a pipeline with ``errors=``, ``timeout=`` or ``retries=``.

A saboteur takes any arguments, and fails.  :func:`when` calls it for some units only::

    func = saboteurs.when(lambda row: row["a"] == 17, saboteurs.kills(), my_function)
    df.par(engine="process", errors="coerce").apply_rows(func)

All of them can be sent to workers.  Some end or block their process, but only another one: in the process that made
them they raise :class:`NotAWorkerError`, so that no test ends its own process.
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
    """Error that a saboteur was called in the process that made it, and would end or block that process.

    ``engine="auto"`` first runs there. ``engine="process"`` and ``"pathos"`` make every call in a worker.

    Examples
    --------
    >>> ends()("anything")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    pdparallel.testing.saboteurs.NotAWorkerError: this saboteur was called in the process that made it: ...
    """


class TwoArgumentsError(Exception):
    """An exception that can be pickled, but not unpickled: it needs two arguments, and pickle passes one.

    Parameters
    ----------
    one, two : object
        Two parts of its text.

    Examples
    --------
    >>> TwoArgumentsError(1, 2).args    # pickle calls the class with these
    ('1 and 2',)
    """

    def __init__(self, one: Any, two: Any) -> None:
        super().__init__(f"{one} and {two}")
        self.one, self.two = one, two


class WithLockError(Exception):
    """An exception that cannot be pickled: it holds a frame of the interpreter, as many do, and a lock.

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
    """An exception whose ``str()`` raises another exception.

    Examples
    --------
    >>> str(NoTextError())
    Traceback (most recent call last):
    ...
    ValueError: no text
    """

    def __str__(self) -> str:
        raise ValueError("no text")


# Objects that cannot be serialized


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
    """An object that can be pickled, but not unpickled.

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
    """An object that ends the process that unpickles it, if that is another one.

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
    ...
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


# Functions


@dataclass(frozen=True)
class when:  # noqa: N801 - it reads as a function, and is called like one
    """A function that fails for some units.

    Parameters
    ----------
    where : callable or object
        Takes a unit, and returns whether the function fails for it. Another object is compared with the unit.
    sabotage : callable
        Takes a unit, and fails.
    otherwise : callable, optional
        The function for the other units. Without it they are returned unchanged.

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
        The exception. If it cannot be sent to a worker: a function that makes one, such as its class.

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
    """Copy an exception without the notes and traceback of an earlier raise."""
    made = type(error).__new__(type(error), *error.args)
    made.__dict__.update({name: value for name, value in vars(error).items() if name != "__notes__"})
    return made


@dataclass(frozen=True)
class returns:  # noqa: N801
    """A function that returns a new object, for example one that a worker cannot send back.

    Parameters
    ----------
    make : callable
        Makes the object. It takes no arguments.

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
    """A function that prints a text, and then calls another function.

    Parameters
    ----------
    text : str
        The text.
    then : callable, optional
        The other function, which gets the same arguments. Without it the first argument is returned.

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
        The signal; by default SIGKILL, and SIGTERM on Windows, which has no SIGKILL.

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
        # Wait for the signal to arrive; after SIGSTOP the process continues later, and returns.
        time.sleep(0 if self.number == getattr(signal, "SIGSTOP", None) else 300)


@dataclass(frozen=True)
class ends:  # noqa: N801
    """A function that ends its worker at once, as a C library may do, without an exception or cleanup.

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
        Seconds after which it returns, so that no worker waits forever if a test fails.

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
        Seconds after which it returns.

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
