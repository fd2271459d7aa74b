"""Options, their allowed values, and the places that set them: call, context, process, environment, default.

Each call asks :func:`resolve` once, and passes the frozen :class:`Options` on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Unpack

from pdparallel.core import mistakes
from pdparallel.core.cpu_count import usable_cores
from pdparallel.core.format import as_html, shortened
from pdparallel.core.meanings import MEANINGS
from pdparallel.core.mistakes import by_name, format_value, unknown_option
from pdparallel.core.option_checks import CHECKS, ENVIRONMENT_PREFIX, from_text, not_in_environment
from pdparallel.core.tracebacks import FULL_TRACEBACKS, trim_tracebacks
from pdparallel.core.words import ENGINE_NAMES
from pdparallel.errors import InvalidOptionError
from pdparallel.typing import EngineName, EngineObject, Errors, OptionsDict, Progress, Serializer, StartMethod

__all__ = [
    "ENGINE_NAMES",
    "MEANINGS",
    "Options",
    "forcing",
    "get_options",
    "option_context",
    "resolve",
    "set_options",
    "show_options",
]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Options:
    """All options of a call, each with a checked value.

    Give them by name to the accessor, to :func:`option_context`, :func:`set_options` and :func:`engine`, or to
    :func:`map` and :func:`imap`. An environment variable such as ``PDPARALLEL_N_WORKERS=4`` sets one, too.

    Parameters
    ----------
    engine : str or object, default "auto"
        ``"auto"`` starts in this process. It uses workers if they save time, as soon as they have loaded the function.
        A function that cannot be sent to workers stays here. On a Python without the GIL, ``"auto"`` uses threads for
        functions without side effects. They only read their row or value, and name nothing that threads could change.
        ``"process"`` and ``"pathos"`` use processes, ``"thread"`` uses threads, and ``"serial"`` uses no workers.
        ``"dask"`` uses the cluster of the current client, or a new one on this machine.
        ``"ray"`` uses the running Ray, or a new one on this machine. ``"asyncio"`` runs coroutines on an event
        loop in a thread of this process. ``"auto"`` chooses it for coroutine functions (``async def``).
        ``"numba"`` compiles a function of numbers, and runs it in threads of this process.
        ``"tcp://scheduler:8786"`` is the address of a Dask scheduler. An object can be any
        :class:`concurrent.futures.Executor`, a :mod:`multiprocessing` pool, a pathos pool, or a ``Client`` or cluster
        of ``dask.distributed``.
    n_workers : int, default None
        Number of workers. None means one for each core that this process may use.
    max_concurrency : int, default 32
        How many calls of a coroutine function are under way at once. With ``engine="process"`` this is the number in
        each worker.
    chunk_size : int, default None
        Exact number of rows (columns, items) of a chunk. None lets pdparallel choose.
    start_method : str, default None
        ``"forkserver"``, ``"spawn"`` or ``"fork"``. None means forkserver on Linux, spawn on macOS and Windows.
    progress : bool, str, logger or callable, default False
        One bar for the call. It counts rows (columns, groups, items), and moves within long chunks, too. True shows
        widgets in a notebook that has ipywidgets. It shows text in other notebooks and in a terminal. It writes a line
        from time to time if standard error is a file, or if ``TERM=dumb``. ``"text"`` never uses widgets, and
        ``"notebook"`` always does. ``"log"`` writes lines at level INFO to the logger ``pdparallel.progress``. A
        :class:`logging.Logger` gets the same lines. A callable gets ``(done, total)``, in this thread. The total is
        None if it is not known. A slow callable gets fewer calls, so that it takes about a hundredth of the time. After
        an exception it gets no more calls. Calls that the function makes show nothing.
    desc : str, default None
        The text before the bar of ``progress``. None means the name of the method, such as ``apply_rows``.
    errors : str, default "raise"
        What happens after a call of the function raises an :class:`Exception`. ``"raise"`` raises the first one.
        ``"coerce"`` puts a missing value in its place (in a list None) and warns once (:class:`FailedCallsWarning`).
        ``"return"`` puts the exception there. SystemExit, KeyboardInterrupt and similar exceptions always end the
        call. Names of functions, ufuncs, lists and dicts go to pandas, which raises as usual.
    retry_on : class, tuple of classes or callable, default ()
        After these exceptions a call of the function runs again: ``retry_on=ConnectionError``. A function gets the
        exception, and returns True if the call should run again. Only an :class:`Exception` counts, and never
        StopIteration. After the last try its exception counts, with a note of the number of tries.
    retries : int, default 2
        How often a unit runs again: after its worker died, or after an exception of ``retry_on``.
    retry_wait : float or timedelta, default 1.0
        Seconds before the first retry. They double for each further retry, up to 60. The wait is a random part of
        that time, so that calls do not return all at once. If the exception has a longer ``Retry-After``, the wait is
        that long. It may be the attribute ``retry_after`` or a header of its ``response``. A call that should wait
        more than an hour does not run again.
    rate_limit : float or str, default None
        How many calls may begin per second: ``10``, ``"600/min"`` or ``"1000/hour"``. Calls begin at even distances,
        and retries count. Only for engines in this process: ``"thread"``, ``"serial"`` and ``"asyncio"``.
    timeout : float, default None
        Seconds that one call of the function may take. Then pdparallel ends its worker process, or cancels its
        coroutine. Not for other functions in threads.
    threads_per_worker : int, default None
        Threads that BLAS, OpenMP and Arrow may use in each worker process. None means cores // workers.
    serializer : str, default "dill"
        ``"dill"`` or ``"cloudpickle"``: the package that writes the function and its arguments for workers.
    checkpoint : str or path, default None
        A folder of one call. It keeps finished results, and the same call continues from there. With another
        ``errors`` only failed rows run again.
    seed : int, default None
        With a seed, ``random`` and ``np.random`` draw the same numbers in each run of the function. Engine, number of
        workers and size of chunks do not matter. The streams of this process do not change. Each row (column, value,
        item) has its own stream, by its position. For ``apply_chunks`` each chunk has one, so give ``chunk_size`` too.
        None means different numbers in each run.
    initializer : callable, default None
        A function that each worker calls once, before its first call of the function. It can load a model into a global
        variable that the function reads. With an initializer no row runs in this process, except with
        ``engine="thread"``, ``"serial"`` and ``"asyncio"``. It may be a coroutine function, which runs on the event
        loop of the calls. A worker that has run it for the same function does not run it again.
    initargs : tuple, default ()
        Arguments of the initializer.
    capture_output : bool, default None
        True shows here the prints, logs and warnings of the function in worker processes, after each chunk. False
        leaves them to the streams and handlers of the workers. None means True.
    check : "exact", float or None, default "exact"
        With ``engine="numba"``: Python computes up to 1,000 rows, too, and a few of each chunk. Their results must be
        equal to those of the compiled code. A float such as ``1e-12`` is the relative tolerance of that. It also allows
        functions whose last digits differ in compiled code. None computes no row twice.

    See Also
    --------
    get_options : Return the options in force.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> pd.Series([1, 2, 3]).par(engine="thread", n_workers=2, chunk_size=1).map(lambda value: value * 2).tolist()
    [2, 4, 6]
    """

    engine: EngineName | EngineObject = "auto"
    n_workers: int | None = None
    max_concurrency: int = 32
    chunk_size: int | None = None
    start_method: StartMethod | None = None
    progress: Progress = False
    desc: str | None = None
    errors: Errors = "raise"
    retry_on: tuple[type[BaseException], ...] | Callable[[BaseException], bool] = ()
    retries: int = 2
    retry_wait: float = 1.0
    rate_limit: float | None = None
    timeout: float | None = None
    threads_per_worker: int | None = None
    serializer: Serializer = "dill"
    checkpoint: str | None = None
    seed: int | None = None
    initializer: Callable[..., Any] | None = None
    initargs: tuple[Any, ...] = ()
    capture_output: bool | None = None
    check: float | Literal["exact"] | None = "exact"

    def __repr__(self) -> str:
        fields = [(field.name, getattr(self, field.name), field.default) for field in dataclasses.fields(self)]
        given = [f"{name}={value!r}" for name, value, default in fields if not _is_same(value, default)]
        return f"Options({', '.join(given)})"

    def _repr_html_(self) -> str:
        rows = [("option", "value", "meaning")]
        rows += [
            (field.name, shortened(repr(getattr(self, field.name))), MEANINGS[field.name])
            for field in dataclasses.fields(self)
        ]
        return as_html(rows, "lll", head=True, title="pdparallel options")

    @property
    def workers(self) -> int:
        """The number of workers, with None resolved to the usable cores.

        Examples
        --------
        >>> import pdparallel
        >>> pdparallel.Options(n_workers=3).workers
        3
        """
        return self.n_workers if self.n_workers is not None else usable_cores().number

    @property
    def threads(self) -> int:
        """The threads of a worker, with None resolved to cores // workers.

        Examples
        --------
        >>> import pdparallel
        >>> pdparallel.Options(threads_per_worker=2).threads
        2
        """
        if self.threads_per_worker is not None:
            return self.threads_per_worker
        return max(1, usable_cores().number // self.workers)

    @property
    def method(self) -> StartMethod:
        """The start method, with None resolved to the platform's safest.

        Examples
        --------
        >>> import pdparallel
        >>> pdparallel.Options(start_method="spawn").method
        'spawn'
        """
        if self.start_method is not None:
            return self.start_method
        if sys.platform == "darwin":  # its libraries start threads, which a forked process loses
            return "spawn"
        return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def _is_same(value: Any, default: Any) -> bool:
    # Only plain types are compared: ``==`` of a user's object can do anything.
    return value is default or (
        type(value) is type(default) and isinstance(value, (str, int, float, tuple)) and value == default
    )


F = TypeVar("F", bound=Callable[..., Any])

#: Entry of ``**options`` in a docstring.
_ENTRY = re.compile(r"^(?P<indent> *)\*\*options\n(?:(?P=indent) +\S.*\n)+", re.MULTILINE)


def show_options(*, but: tuple[str, ...] = (), defaults: bool = True) -> Callable[[F], F]:
    """Decorate a function so that its signature and docstring list the names of ``**options``, for editors."""
    fields = [field for field in dataclasses.fields(Options) if field.name not in but]

    def spell_out(func: F) -> F:
        signature = inspect.signature(func)
        parameters = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters += [
            inspect.Parameter(field.name, kind, default=field.default if defaults else ..., annotation=field.type)
            for field in fields
            if field.name not in signature.parameters
        ]
        shown: Any = func
        shown.__signature__ = signature.replace(parameters=parameters)
        if func.__doc__:
            shown.__doc__ = _ENTRY.sub(entries, func.__doc__)
        return func

    def entries(found: re.Match[str]) -> str:
        indent = found["indent"]
        lines = [
            f"{indent}{field.name} : {field.type}, {f'default {field.default!r}' if defaults else 'optional'}\n"
            f"{indent}    {MEANINGS[field.name]}\n"
            for field in fields
        ]
        return "".join(lines)

    return spell_out


def checked(given: Mapping[str, Any], of_items: bool = False) -> dict[str, Any]:
    """Return options with valid names and normalized values; ``of_items`` is for ``map`` and ``imap``."""
    for name in given:
        if name == "columns":
            raise not_in_environment(name, given[name])
        if name not in CHECKS:
            known = [*CHECKS] if of_items else [*CHECKS, "columns"]
            to_func = (
                f"functools.partial: map(partial(func, {name}={format_value(given[name])}), items)" if of_items else ""
            )
            raise unknown_option(name, given[name], known, to_func)
    return {name: CHECKS[name](name, value) for name, value in given.items()}


_process_wide: dict[str, Any] = {}
_process_wide_lock = threading.Lock()
_context: ContextVar[Mapping[str, Any] | None] = ContextVar("pdparallel_options", default=None)


_COLUMNS_VARIABLE = ENVIRONMENT_PREFIX + "COLUMNS"
_VARIABLES = {ENVIRONMENT_PREFIX + name.upper(): name for name in CHECKS}
_ALL_VARIABLES = frozenset(
    os.fsencode(name) if hasattr(os, "environb") else name for name in (*_VARIABLES, _COLUMNS_VARIABLE)
)

#: Number of environment variables at the last check of their names. None in a worker, because its caller checks them.
n_checked: int | None = 0


def _environment() -> dict[str, Any]:
    global n_checked
    found: dict[str, Any] = {}
    # Usually none is set. To look up each one takes a tenth of a call on ten rows. So does iterating os.environ, a
    # mapping in Python, instead of the dict inside it.
    environment = getattr(os, "environb", os.environ)
    variables = getattr(environment, "_data", environment)
    if n_checked not in (None, len(variables)):
        n_checked = len(variables)
        for variable in sorted({*os.environ} - {*_VARIABLES, _COLUMNS_VARIABLE, FULL_TRACEBACKS}):
            if variable.upper().startswith(ENVIRONMENT_PREFIX):
                mistakes.warn_of_variable(variable)
    if _ALL_VARIABLES.isdisjoint(variables):
        return found
    if os.environ.get(_COLUMNS_VARIABLE, "").strip():
        raise not_in_environment(_COLUMNS_VARIABLE, os.environ[_COLUMNS_VARIABLE])
    for variable, name in _VARIABLES.items():
        text = os.environ.get(variable, "").strip()
        if text:
            found[name] = CHECKS[name](variable, from_text(name, text))
    return found


#: Options that override those of each call, while a test runs. The last entry counts.
_forced: list[Mapping[str, Any]] = []


@contextlib.contextmanager
def forcing(values: Mapping[str, Any]) -> Iterator[None]:
    """Override the options of all calls of this process inside a ``with`` block."""
    forced = dict(values)
    _forced.append(forced)
    try:
        yield
    finally:
        _forced[:] = [other for other in _forced if other is not forced]


#: Options if nothing is set. Making them takes longer than calling a function with ten values.
_DEFAULT = Options()


def resolve(call: Mapping[str, Any] | None = None) -> Options:
    """Return the options in force: of the call, else the context, the process, the environment, the default."""
    merged = {**_environment(), **_process_wide, **(_context.get() or {}), **(call or {})}
    if _forced:
        merged |= _forced[-1]
    if not merged:
        return _DEFAULT
    options = Options(**merged)
    if options.initargs and options.initializer is None:
        raise InvalidOptionError(
            "initargs", options.initargs, "initializer=, too",
            message=f"initargs={format_value(options.initargs)} needs initializer=, the function that takes them.",
        )  # fmt: skip
    return options


@trim_tracebacks
def get_options() -> dict[str, Any]:
    """Return the options in force here, by name.

    Returns
    -------
    dict
        All fields of :class:`Options`, each from the context, else the process, else the environment, else its default.

    Examples
    --------
    >>> import pdparallel
    >>> with pdparallel.option_context(n_workers=3):
    ...     pdparallel.get_options()["n_workers"]
    ...
    3
    """
    options = resolve()
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}


@show_options(defaults=False)
@trim_tracebacks
@by_name("pdparallel.set_options")
def set_options(**options: Unpack[OptionsDict]) -> None:
    """Set options for the whole process, until they are set again.

    Parameters
    ----------
    **options
        Any of the options of :class:`Options`.

    Raises
    ------
    InvalidOptionError
        If an option or its value is not allowed. Then no option is set.

    Examples
    --------
    >>> import pdparallel
    >>> pdparallel.set_options(n_workers=2)
    >>> pdparallel.get_options()["n_workers"]
    2
    >>> pdparallel.set_options(n_workers=None)
    """
    values = checked(options)
    with _process_wide_lock:
        _process_wide.update(values)


@show_options(defaults=False)
@trim_tracebacks
@by_name("pdparallel.option_context")
def option_context(**options: Unpack[OptionsDict]) -> contextlib.AbstractContextManager[None]:
    """Set options for the calls inside a ``with`` block, in this thread or task only.

    Parameters
    ----------
    **options
        Any of the options of :class:`Options`.

    Returns
    -------
    context manager
        The options hold in its ``with`` block.

    Raises
    ------
    InvalidOptionError
        If an option or its value is not allowed.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> with pdparallel.option_context(engine="serial"):
    ...     pd.Series([1, 2]).par.map(lambda x: x + 1).tolist()
    ...
    [2, 3]
    """
    return _in_context(checked(options))


@contextlib.contextmanager
def _in_context(values: Mapping[str, Any]) -> Iterator[None]:
    token = _context.set({**(_context.get() or {}), **values})
    try:
        yield
    finally:
        _context.reset(token)
