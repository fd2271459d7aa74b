"""Windows: ``df.par.rolling(...)``, ``df.par.expanding(...)``, and those of groups.

The result of windows is a frame of floats, so this process can start a small call by itself. pandas starts it if only
pandas can find the windows. A pool gets the rest if that pays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Hashable, Mapping
from typing import Any, Generic, Never, cast, overload

import numpy as np

from pdparallel.core import random_state
from pdparallel.core.call import Call, Work, work_of
from pdparallel.core.chunking import Chunk
from pdparallel.core.mistakes import attribute_of_pandas, place_of, refuse_options_of_windows
from pdparallel.core.options import Options, resolve
from pdparallel.core.outcome import Failure, Outcome
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import goes_to_pandas
from pdparallel.data.iterate import feed_for
from pdparallel.errors import InvalidOptionError
from pdparallel.execution import failures, placement
from pdparallel.execution.collector import ResultCollector, annotate_exception
from pdparallel.execution.inline import run_inline
from pdparallel.execution.pandas_driver import PandasStart, PandasStoppedError, run_in_pandas
from pdparallel.execution.placement import Placement, place
from pdparallel.execution.runner import run
from pdparallel.operations.rolling import Layout, Windowing, is_plain, layout
from pdparallel.progress.reporter import ProgressScope
from pdparallel.typing import AsFrame, AsSeries, AsWhole, Func
from pdparallel.worker.retrying import retrying

__all__ = ["WindowPar"]


class WindowPar(Generic[AsSeries, AsFrame, AsWhole]):
    """Windows over a frame, a Series or groups: pandas' window object, whose ``apply`` takes all cores.

    Columns are selected as there, and all that is not ``apply`` is pandas' own.

    Parameters
    ----------
    windowing : Windowing
        Which windows.
    given : mapping
        Options of the accessor that it comes from.
    window : Rolling, Expanding or the like, optional
        The object of pandas, if there is one.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> s = pd.Series([1.0, 4.0, 2.0, 8.0])
    >>> s.par.rolling(2).apply(lambda window: window.max() - window.min()).tolist()
    [nan, 3.0, 2.0, 6.0]
    >>> s.par.rolling(2).mean().tolist()
    [nan, 2.5, 3.0, 5.0]
    """

    def __init__(self, windowing: Windowing, given: Mapping[str, Any], window: Any = None) -> None:
        self._windowing = windowing
        self._given = given
        self._pandas = windowing.made() if window is None else window  # pandas checks the arguments

    @overload
    def __getitem__(self, key: list[Any]) -> WindowPar[AsSeries, AsFrame, AsFrame]: ...
    @overload
    def __getitem__(self, key: Hashable) -> WindowPar[AsSeries, AsFrame, AsSeries]: ...
    @trim_tracebacks
    def __getitem__(self, key: Any) -> Any:
        """Select columns, as in pandas: a label, or a list of labels."""
        keys = (*self._windowing.keys, key)
        return type(self)(dataclasses.replace(self._windowing, keys=keys), self._given, self._pandas[key])

    @trim_tracebacks
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = attribute_of_pandas(self._pandas, name, ("apply",), self._place)
        return self[name] if type(found) is type(self._pandas) else found

    def _place(self) -> str:
        """Return how users write these windows."""
        of = self._windowing.source
        view = f"groupby(...).{self._windowing.kind}" if self._windowing.is_grouped else self._windowing.kind
        return f"{place_of(getattr(of, 'obj', of))}.{view}(...)"

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in dir(self._pandas) if not name.startswith("_"))})

    def __repr__(self) -> str:
        return f"<pdparallel windows: {self._pandas!r}>"

    @trim_tracebacks
    def apply(
        self,
        func: Func,
        raw: bool = False,
        engine: Any = None,
        engine_kwargs: dict[str, Any] | None = None,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        **unexpected: Never,
    ) -> AsWhole:
        """Call a function with each window: pandas' ``rolling(...).apply`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a window of a column, as floats, and returns a number.
        raw : bool, default False
            Whether a window is an ndarray instead of a Series: that costs a tenth.
        engine, engine_kwargs : optional
            As in pandas. With another engine than ``"cython"``, the default, pandas makes the call. So it does with
            ``method="table"``.
        args : tuple, optional
            Further positional arguments of ``func``.
        kwargs : dict, optional
            Further keyword arguments of ``func``.
        **unexpected
            Not allowed, as in pandas; the error says where an option goes.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas' ``apply`` returns.

        Raises
        ------
        Exception
            What ``func`` raised for the first failing window (option ``errors``), with a note that names it. Also
            the exception of pandas if ``func`` returns no number.
        InvalidOptionError
            For options that are not allowed, before anything runs. An example is ``errors="return"``, because the
            result has only floats.
        FunctionNotSerializableError
            If ``func`` cannot travel to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Notes
        -----
        A window is a part of its column, in pandas too. If a function writes into it, later windows change. Here this
        ends with the chunk, and the frame itself does not change. Write into a copy.

        Examples
        --------
        >>> import numpy as np, pandas as pd, pdparallel
        >>> weights = np.array([0.25, 0.75])
        >>> df = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [8.0, 4.0, 0.0]})
        >>> df.par.rolling(2).apply(lambda window: (window * weights).sum(), raw=True)
              a    b
        0   NaN  NaN
        1  1.75  5.0
        2  2.75  1.0
        >>> df["a"].par(engine="thread", n_workers=2).rolling(2).apply(lambda window: window.max()).tolist()
        [nan, 2.0, 3.0]
        """
        if unexpected or engine is not None:
            refuse_options_of_windows(func, engine, unexpected, self._windowing.source, self._windowing.kind)
        options = placement.options_for(func, resolve(self._given))
        given = self._windowing.given
        if (
            goes_to_pandas(func)
            or not callable(func)
            or not isinstance(raw, (bool, np.bool_))
            or engine not in (None, "cython")
            or engine_kwargs is not None
            or given.get("win_type") is not None
            or given.get("method", "single") != "single"
            or "axis" in given
        ):
            if callable(func) and engine in (None, "cython"):
                func = retrying(work_of(func, (), {}, "unit", options))[0].func
            with random_state.whole(options.seed):
                return cast("AsWhole", self._pandas.apply(func, raw, engine, engine_kwargs, args, kwargs))
        if options.errors == "return":
            raise InvalidOptionError(
                "errors", options.errors, "'raise' or 'coerce' with windows",
                "The result has only floats, and no place for exceptions.",
            )  # fmt: skip
        work = work_of(func, args or (), dict(kwargs or {}), "unit", options)
        return cast("AsWhole", _apply(self._windowing, self._pandas, work, bool(raw), options))


def _apply(windowing: Windowing, window: Any, work: Work, raw: bool, options: Options) -> Any:
    size = windowing.whole.size
    start = place(options, size, max_in_pandas=placement.PANDAS_MAX_VALUES, max_in_loop=math.inf)
    if start is Placement.LOOP and not is_plain(windowing):
        start = Placement.PASS_TO_PANDAS
    prefix: Outcome | None = None
    if start is Placement.PASS_TO_PANDAS:

        def is_worth(seconds: float, calls: int, before: float) -> bool:
            return placement.restart_pays(seconds / calls * (size - calls), before, options)

        driver = PandasStart(work, is_worth)
        try:
            return window.apply(driver.function(), raw=raw)
        except PandasStoppedError:
            prefix = driver.outcome()
        if prefix.failure is not None:
            raise _annotated(prefix.failure, windowing, work)
    try:
        found = layout(windowing, raw) if windowing.whole.size else None
    except Exception:  # pandas raises it below
        found = None
    if found is None or not len(found.spans):
        return _in_pandas(windowing, window, work, raw, prefix, options)
    call = _call(windowing, work, found)
    if start is Placement.LOOP:
        prefix = _started(call)
    if prefix is not None and len(prefix.chunk) == call.n and not prefix.awaits:
        assert isinstance(prefix.returns, list)  # only returns of workers are packed
        return found.filled(prefix.returns)
    with ProgressScope():
        returns = run(call, options, prefix)
        failures.replace_failures(call, returns, lambda good, at, value: value)
        return found.filled(returns)


def _started(call: Call) -> Outcome:
    """Run the first windows, until the first check is due, without the cost of a runner."""
    collector, first = ResultCollector(call), Chunk(0, min(call.n, placement.LOOP_MAX_UNITS))
    until = time.perf_counter() + placement.LOOK_SECONDS
    outcome = run_inline(call, feed_for("unit", call.work.func, call.work.given), first, until)
    collector.add(outcome)
    collector.raise_failure()
    return outcome


def _call(windowing: Windowing, work: Work, found: Layout) -> Call:
    return Call(
        verb=f"{windowing.kind}.apply",
        work=work,
        data=found.spans,
        n=len(found.spans),
        unit="window",
        label=found.label,
        validate_prefix=found.as_floats if work.errors == "raise" else None,
    )


def _annotated(failure: Failure, windowing: Windowing, work: Work) -> BaseException:
    """Add the place to an exception that the function raised before the runner started."""
    place = f"{windowing.kind}.apply, at window {failure.offset}"
    with contextlib.suppress(Exception):  # the exception matters more than its note
        found = layout(windowing, raw=True)
        if found is not None:
            place = failures.place(_call(windowing, work, found), failure.offset)
    return annotate_exception(failure, place)


def _in_pandas(
    windowing: Windowing, window: Any, work: Work, raw: bool, prefix: Outcome | None, options: Options
) -> Any:
    """Let pandas call the function with its windows, because only pandas knows them."""
    call = Call(f"{windowing.kind}.apply", work, [], 0, "window", label=lambda position: position)

    def ask(func: Func) -> Any:
        return window.apply(func, raw=raw)

    return run_in_pandas(call, ask, options, lambda good, at, value: value, np.nan, prefix=prefix)
