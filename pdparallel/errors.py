"""Errors and warnings that pdparallel itself raises, as one tree::

    PdParallelError
    ├── InvalidOptionError(ValueError)             before any process starts
    ├── CheckpointError(RuntimeError)              before anything runs; names the differences, or what is missing
    ├── FunctionNotSerializableError(TypeError)    before any process starts; names the variable
    ├── FunctionNotCompilableError(TypeError)      with engine="numba", before anything runs; names the line
    ├── CompiledResultDiffersError(ArithmeticError) with engine="numba": Python gives another result; names the row
    ├── ResultNotSerializableError(TypeError)      a return cannot be sent back; names its position
    ├── WorkerDiedError(RuntimeError)              a worker process ended in the middle of the work
    │   └── WorkerStartError                       ... or before it was ready for work
    ├── CallTimeoutError(TimeoutError)             a call of func took longer than timeout= allows
    └── RemoteError(RuntimeError)                  func's own exception could not be rebuilt

    FailedCallsWarning(UserWarning)                with errors="coerce": some calls of func failed
    PerformanceHint(UserWarning)                   a call could be faster; its result is right

An exception that *func* raises keeps its own class. Each error also extends the builtin class that callers catch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CallTimeoutError",
    "CheckpointError",
    "CompiledResultDiffersError",
    "FailedCallsWarning",
    "FunctionNotCompilableError",
    "FunctionNotSerializableError",
    "InvalidOptionError",
    "PdParallelError",
    "PerformanceHint",
    "RemoteError",
    "ResultNotSerializableError",
    "WorkerDiedError",
    "WorkerStartError",
]


class PdParallelError(Exception):
    """Base class of the errors that pdparallel itself raises.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> try:
    ...     pd.Series([1, 2]).par(n_workers=0)
    ... except pdparallel.PdParallelError as error:
    ...     print(type(error).__name__)
    ...
    InvalidOptionError
    """


class FailedCallsWarning(UserWarning):
    """Warning that some calls of the function failed, and that ``errors="coerce"`` left missing values in their places.

    Each call warns once. The text has the number of failures and the first three. The exception of the first failure is
    the cause of the warning.

    Parameters
    ----------
    message : str
        How many calls failed, and the first three of them.
    failures : callable, optional
        Returns the label, the position and the exception of each failure.

    Examples
    --------
    >>> import warnings
    >>> import pandas as pd, pdparallel
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     pd.Series(["1", "x", "3"]).par(errors="coerce").map(int).tolist()
    ...
    [1.0, nan, 3.0]
    >>> caught[0].message.failures[["label", "position"]]
      label  position
    0     1         1
    """

    def __init__(self, message: str, failures: Callable[[], Iterable[FailedCall]] = tuple) -> None:
        super().__init__(message)
        self._failures = failures

    @property
    def failures(self) -> pd.DataFrame:
        """All calls that failed, as a frame.

        Returns
        -------
        DataFrame
            One row for each failure, with the columns ``label``, ``position`` and ``exception``. A chunk has the label
            and the position of its first row. The position of a window counts the calls of the function. The exception
            is None if its chunk has more than 1,000 failures before it.

        Notes
        -----
        ``imap`` and ``iter_chunks`` keep the first 10,000 failures. The label of an item of ``imap`` is the item itself
        if that is a number or a short text. Otherwise it is the shortened text of the item.

        Examples
        --------
        >>> import warnings
        >>> import pandas as pd, pdparallel
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     result = pd.Series(["1", "x"], index=["p", "q"]).par(errors="coerce").map(int)
        ...
        >>> caught[0].message.failures["label"].tolist()
        ['q']
        """
        import pandas as pd  # only here, because this module is imported before all others

        rows = list(self._failures())
        labels, exceptions = (pd.Series([row[at] for row in rows], dtype=object) for at in (0, 2))
        positions = pd.Series([row[1] for row in rows], dtype="int64")
        return pd.DataFrame({"label": labels, "position": positions, "exception": exceptions})

    def __reduce__(self) -> tuple[Any, ...]:
        return (_failed_calls_warning, (self.args[0], list(self._failures())), {})


#: Label, position and exception of a call that failed.
FailedCall: TypeAlias = tuple[Any, int, BaseException | None]


def _failed_calls_warning(message: str, failures: list[FailedCall]) -> FailedCallsWarning:
    return FailedCallsWarning(message, lambda: failures)


class PerformanceHint(UserWarning):
    """Warning that a call could be faster; its result is right.

    It says that the function cannot be sent to workers, so that the call stays in this process. Or it says that
    pdparallel does not know a new version of pandas or Python, and uses a slower way. Or it says that the function
    waited for most of a call of more than five seconds, for example for a network. Each function gets that hint once.

    Examples
    --------
    >>> import warnings
    >>> import pdparallel
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", pdparallel.PerformanceHint)
    ...
    """


class InvalidOptionError(PdParallelError, ValueError):
    """Error that an option or argument has a value that is not allowed.

    Parameters
    ----------
    option : str
        Name of the option or argument.
    value : object
        The given value.
    allowed : str
        The allowed values, as a phrase.
    hint : str, optional
        What to do instead, as a sentence.
    message : str, optional
        The whole message, in place of one made from the parts above.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> pd.DataFrame({"a": [1]}).par(n_jobs=4)
    Traceback (most recent call last):
    ...
    pdparallel.errors.InvalidOptionError: Unknown option 'n_jobs'. Did you mean 'n_workers'?
    """

    def __init__(self, option: str, value: object, allowed: str, hint: str = "", message: str = "") -> None:
        self.option = option
        self.value = value
        self.allowed = allowed
        self.hint = hint
        if not message:
            shown = repr(value)
            if len(shown) > 200:
                shown = shown[:200] + "…"
            message = f"{option}={shown} is not allowed: give {allowed}"
            message = f"{message}. {hint}" if hint else message
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # The value may not be serializable. Its text is enough in another process.
        return (InvalidOptionError, (self.option, Shown(repr(self.value)), self.allowed, self.hint, self.args[0]))


class Shown(str):
    """Text of a value, with a repr without quotes."""

    def __repr__(self) -> str:
        return str(self)


class CheckpointError(PdParallelError, RuntimeError):
    """Error that the folder of ``checkpoint=`` cannot be used for this call.

    Parameters
    ----------
    message : str
        The problem, and what to do.
    folder : str, default ""
        The folder. Empty if the error comes before the folder is read.
    differs : tuple of str, default ()
        The differences, if the folder holds another call. An example is ``"data"``.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd, pdparallel
    >>> folder = tempfile.mkdtemp()
    >>> pd.Series([1, 2]).par(checkpoint=folder).map(lambda value: value * 2).tolist()
    [2, 4]
    >>> try:
    ...     pd.Series([1, 3]).par(checkpoint=folder).map(lambda value: value * 2)
    ... except pdparallel.CheckpointError as error:
    ...     print(error.differs)
    ...
    ('data',)
    """

    def __init__(self, message: str, folder: str = "", differs: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.folder = folder
        self.differs = differs

    def __reduce__(self) -> tuple[Any, ...]:
        return (CheckpointError, (self.args[0], self.folder, self.differs), self.__dict__)


class FunctionNotSerializableError(PdParallelError, TypeError):
    """Error that the function, or an object that it uses, cannot be sent to another process.

    The message names the variable that holds the object.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> numbers = (number for number in range(10))
    >>> try:
    ...     pd.Series([1, 2]).par(engine="process").map(lambda value, numbers: next(numbers), numbers=numbers)
    ... except pdparallel.FunctionNotSerializableError as error:
    ...     print("argument 'numbers'" in str(error))
    ...
    True
    """


class FunctionNotCompilableError(PdParallelError, TypeError):
    """Error that ``engine="numba"`` cannot compile the function, or that its units are no numbers.

    The message has the line of the function, the reason, and what to do. Nothing has run.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [1.0, 2.0]})
    >>> try:
    ...     df.par(engine="numba").apply_rows(lambda row: str(row["a"]))
    ... except pdparallel.FunctionNotCompilableError as error:
    ...     print("str" in str(error))
    ...
    True
    """


class CompiledResultDiffersError(PdParallelError, ArithmeticError):
    """Error that compiled code and Python give different results for a row.

    The message has the row, both results, and the usual causes.

    Examples
    --------
    >>> import numpy as np, pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [0.1, 0.2], "b": [0.3, 0.4]})
    >>> df.par(engine="numba", check=1e-12).apply_rows(lambda row: np.exp(row["a"])).round(3).tolist()
    [1.105, 1.221]
    """


class ResultNotSerializableError(PdParallelError, TypeError):
    """Error that a return of the function cannot be sent back from the worker.

    The message names the type and the position of the first such return.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> s = pd.Series([1, 2])
    >>> came = s.par(engine="process", errors="return").map(lambda value: (n for n in range(value)))
    >>> type(came[0]).__name__
    'ResultNotSerializableError'
    """


class WorkerDiedError(PdParallelError, RuntimeError):
    """Error that a worker process ended while it had work.

    Parameters
    ----------
    message : str
        How it ended, at which row, and what to do.
    pid : int, optional
        Process number of the worker, if it is known.
    exitcode : int, optional
        Exit code of the worker; a negative number is the signal that ended it.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> from pdparallel.testing import saboteurs
    >>> func = saboteurs.when("b", saboteurs.ends(code=3))
    >>> try:
    ...     pd.Series(["a", "b"]).par(engine="process", retries=0).map(func)
    ... except pdparallel.WorkerDiedError as error:
    ...     print(error.exitcode)
    ...
    3
    """

    #: Whether the message names the row. Then the error needs no note of it.
    _names_unit = False

    def __init__(self, message: str, pid: int | None = None, exitcode: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[Any, ...]:
        return (WorkerDiedError, (self.args[0], self.pid, self.exitcode), self.__dict__)


class WorkerStartError(WorkerDiedError):
    """Error that no worker process started: each ended before it was ready for work, or none could be started.

    Parameters
    ----------
    message : str
        The cause, as far as it is known.
    pid : int, optional
        Process number of the worker, if it is known.
    exitcode : int, optional
        Exit code of the worker; a negative number is the signal that ended it.

    Examples
    --------
    ``except pdparallel.WorkerDiedError`` catches this error, too:

    >>> import pdparallel
    >>> issubclass(pdparallel.WorkerStartError, pdparallel.WorkerDiedError)
    True
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return (WorkerStartError, (self.args[0], self.pid, self.exitcode), self.__dict__)


class CallTimeoutError(PdParallelError, TimeoutError):
    """Error that a call of the function took longer than ``timeout=`` allows. Its worker or its coroutine was ended.

    Parameters
    ----------
    message : str
        The row, and what to do.
    seconds : float, default 0.0
        The limit in seconds.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> from pdparallel.testing import saboteurs
    >>> try:
    ...     pd.Series(["a", "b"]).par(timeout=0.5).map(saboteurs.when("b", saboteurs.hangs()))
    ... except pdparallel.CallTimeoutError as error:
    ...     print(error.seconds)
    ...
    0.5
    """

    _names_unit = False

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return (CallTimeoutError, (self.args[0], self.seconds), self.__dict__)


class RemoteError(PdParallelError, RuntimeError):
    """Error for an exception of the function that cannot be rebuilt in this process.

    Parameters
    ----------
    message : str
        The class and the text of that exception.
    type_name : str, default ""
        Qualified name of the exception's class.
    traceback_text : str, default ""
        The worker's traceback.

    Examples
    --------
    ``except RuntimeError`` catches this error, too:

    >>> import pdparallel
    >>> issubclass(pdparallel.RemoteError, RuntimeError)
    True
    """

    def __init__(self, message: str, type_name: str = "", traceback_text: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback_text = traceback_text

    def __reduce__(self) -> tuple[Any, ...]:
        return (RemoteError, (self.args[0], self.type_name, self.traceback_text), self.__dict__)
