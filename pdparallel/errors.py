"""Every error that pdparallel itself raises, as one tree::

    PdParallelError
    ├── InvalidOptionError(ValueError)             before any process starts
    ├── CheckpointError(RuntimeError)              before anything runs; says what differs, or what the folder lacks
    ├── FunctionNotSerializableError(TypeError)    before any process starts; names the variable
    ├── ResultNotSerializableError(TypeError)      a return could not travel; names its position
    ├── WorkerDiedError(RuntimeError)              a worker process ended in the middle of the work
    │   └── WorkerStartError                       ... or before it was ready for work
    ├── CallTimeoutError(TimeoutError)             a call of func took longer than timeout= allows
    └── RemoteError(RuntimeError)                  func's own exception could not be rebuilt

    FailedCallsWarning(UserWarning)                with errors="coerce": some calls of func failed

An exception that *func* raises is none of these: it arrives as itself.  Each class also extends the
builtin that a caller would catch.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CallTimeoutError",
    "CheckpointError",
    "FailedCallsWarning",
    "FunctionNotSerializableError",
    "InvalidOptionError",
    "PdParallelError",
    "RemoteError",
    "ResultNotSerializableError",
    "WorkerDiedError",
    "WorkerStartError",
]


class PdParallelError(Exception):
    """Base class of the errors that pdparallel raises on its own account."""


class FailedCallsWarning(UserWarning):
    """Some calls of the function failed, and ``errors="coerce"`` left missing values in their places.

    Said once for a call of a verb, with the number of failures and the first of them, whose exception is the cause.

    Examples
    --------
    >>> import warnings
    >>> import pandas as pd, pdparallel
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", pdparallel.FailedCallsWarning)
    ...     pd.Series(["1", "x", "3"]).par(errors="coerce").map(int).tolist()
    [1.0, nan, 3.0]
    """


class InvalidOptionError(PdParallelError, ValueError):
    """An option or argument has a value that is not allowed.

    Parameters
    ----------
    option : str
        Name of the option or argument.
    value : object
        What was given.
    allowed : str
        What is allowed, as a phrase.
    hint : str, optional
        What to do instead, as a sentence.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> pd.DataFrame({"a": [1]}).par(chunk_size=0)
    Traceback (most recent call last):
    ...
    pdparallel.errors.InvalidOptionError: chunk_size=0 is not allowed: give a whole number of at least 1, or None
    """

    def __init__(self, option: str, value: object, allowed: str, hint: str = "") -> None:
        self.option = option
        self.value = value
        self.allowed = allowed
        self.hint = hint
        shown = repr(value)
        if len(shown) > 200:
            shown = shown[:200] + "…"
        message = f"{option}={shown} is not allowed: give {allowed}"
        super().__init__(f"{message}. {hint}" if hint else message)

    def __reduce__(self) -> tuple[Any, ...]:
        # The value may be anything, also something that cannot travel; its text is enough elsewhere.
        return (InvalidOptionError, (self.option, Shown(repr(self.value)), self.allowed, self.hint))


class Shown(str):
    """The text of a value, that shows itself without quotes."""

    def __repr__(self) -> str:
        return str(self)


class CheckpointError(PdParallelError, RuntimeError):
    """The folder of ``checkpoint=`` cannot be used for this call.

    Attributes
    ----------
    folder : str
        The folder; empty where none was looked at yet.
    differs : tuple of str
        Where the folder holds another call: what differs from this one, such as ``"data"``.
    """

    def __init__(self, message: str, folder: str = "", differs: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.folder = folder
        self.differs = differs

    def __reduce__(self) -> tuple[Any, ...]:
        return (CheckpointError, (self.args[0], self.folder, self.differs), self.__dict__)


class FunctionNotSerializableError(PdParallelError, TypeError):
    """The function, or something that it carries along, cannot travel to another process."""


class ResultNotSerializableError(PdParallelError, TypeError):
    """Something that the function returned cannot travel back from the worker."""


class WorkerDiedError(PdParallelError, RuntimeError):
    """A worker process ended while it had work.

    Attributes
    ----------
    pid : int or None
        Process number of the worker, where it is known.
    exitcode : int or None
        Exit code of the worker; a negative number is the signal that ended it.
    """

    def __init__(self, message: str, pid: int | None = None, exitcode: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[Any, ...]:
        return (WorkerDiedError, (self.args[0], self.pid, self.exitcode), self.__dict__)


class WorkerStartError(WorkerDiedError):
    """No worker process came up: each ended before it was ready for work, or none could be started."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (WorkerStartError, (self.args[0], self.pid, self.exitcode), self.__dict__)


class CallTimeoutError(PdParallelError, TimeoutError):
    """A call of the function took longer than ``timeout=`` allows, and its worker was ended.

    Attributes
    ----------
    seconds : float
        What was allowed.
    """

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return (CallTimeoutError, (self.args[0], self.seconds), self.__dict__)


class RemoteError(PdParallelError, RuntimeError):
    """The function raised an exception in a worker that could not be rebuilt here.

    Attributes
    ----------
    type_name : str
        Qualified name of the exception's class.
    traceback_text : str
        The worker's traceback.
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback_text = traceback_text

    def __reduce__(self) -> tuple[Any, ...]:
        return (RemoteError, (self.args[0], self.type_name, self.traceback_text), self.__dict__)
