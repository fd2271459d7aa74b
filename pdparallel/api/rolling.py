"""Windows: what ``df.par.rolling(...)`` and ``.expanding(...)`` give: pandas' window object, whose ``apply`` takes all
cores.

A call begins as cheaply as pandas' own: a small one ends there, and of any other the windows that are left become units
of a call like all others, when it is known what one costs::

    here      f f f f|                      stopped after some milliseconds
    units            |f f f f f f ...       what is left, by the runner
    result    f f f f f f f f f f ...

"Here" is a loop in C over windows that arithmetic finds, or, where only pandas can find them, pandas' own ``apply``,
which is stopped only if what is left is worth finding them once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Hashable, Mapping
from typing import Any, Generic, Never, cast, overload

import numpy as np

from pdparallel.core import random_state
from pdparallel.core.call import Call, Work, work_of
from pdparallel.core.chunking import Chunk
from pdparallel.core.mistakes import attribute_of_pandas, place_of, refuse_options_of_windows
from pdparallel.core.options import Options, resolve
from pdparallel.core.outcome import Failed, Failure, Outcome
from pdparallel.core.returns import Returns
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import goes_to_pandas
from pdparallel.data.iterate import feed_for
from pdparallel.errors import InvalidOptionError
from pdparallel.execution import failures, placement
from pdparallel.execution.collector import ResultCollector, annotate_exception
from pdparallel.execution.inline import Beginning, PandasStoppedError, called_here, ends_by_clock
from pdparallel.execution.runner import run
from pdparallel.operations.rolling import Layout, Windowing, is_plain, layout
from pdparallel.progress.reporter import ProgressScope, count_calls
from pdparallel.transport.data import take
from pdparallel.typing import AsFrame, AsSeries, AsWhole, Func
from pdparallel.worker.loop import calling, record
from pdparallel.worker.run_task import inside_worker

__all__ = ["WindowPar"]

#: Windows that are called before there is a runner, at most: so many take it some milliseconds.
MAX_HERE = 10_000

#: Windows at most for which pandas begins, also where arithmetic would find them: that takes a tenth of a millisecond,
#: and is for nothing where pandas ends sooner.
INLINE_MAX_VALUES = 500


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
        self._pandas = windowing.made() if window is None else window  # pandas looks at all the arguments

    @overload
    def __getitem__(self, key: list[Any]) -> WindowPar[AsSeries, AsFrame, AsFrame]: ...
    @overload
    def __getitem__(self, key: Hashable) -> WindowPar[AsSeries, AsFrame, AsSeries]: ...
    @trim_tracebacks
    def __getitem__(self, key: Any) -> Any:
        """The same windows over some columns, as in pandas: a label, or a list of labels."""
        keys = (*self._windowing.keys, key)
        return type(self)(dataclasses.replace(self._windowing, keys=keys), self._given, self._pandas[key])

    @trim_tracebacks
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = attribute_of_pandas(self._pandas, name, ("apply",), self._place)
        return self[name] if type(found) is type(self._pandas) else found

    def _place(self) -> str:
        """How users write these windows."""
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
            As in pandas; what is not for ``"cython"``, the default, goes to pandas as it is. So does
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
        options = resolve(self._given)
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
    # Where somebody may want the call to end, the runner looks for that between two windows.
    here = ends_by_clock(options)
    prefix: Outcome | None = None
    if here and (windowing.whole.size <= INLINE_MAX_VALUES or not is_plain(windowing)):
        beginning = _Beginning(work, windowing.whole, options)
        try:
            return window.apply(beginning.begin(), raw=raw)
        except PandasStoppedError:
            prefix = beginning.outcome()
        if prefix.failure is not None:
            raise _annotated(prefix.failure, windowing, work)
    try:
        found = layout(windowing, raw) if windowing.whole.size else None
    except Exception:  # pandas is to say it
        found = None
    if found is None or not len(found.spans):
        return _in_pandas(windowing, window, work, raw, prefix, options)
    call = _call(windowing, work, found)
    if here and prefix is None:  # it is plain
        prefix = _done_here(call)
    if prefix is not None and len(prefix.chunk) == call.n:
        assert isinstance(prefix.returns, list)  # only what comes from a worker is packed
        return found.filled(prefix.returns)
    with ProgressScope():
        returns = run(call, options, prefix)
        failures.replace_failures(call, returns, lambda good, at, value: value)
        return found.filled(returns)


def _done_here(call: Call) -> Outcome:
    """What some milliseconds are enough for, without all that a runner needs."""
    collector, first = ResultCollector(call), Chunk(0, min(call.n, MAX_HERE))
    until = time.perf_counter() + placement.LOOK_SECONDS
    outcome = record(
        call.work, feed_for("unit", call.work.func, call.work.given), take(call.data, "unit", first), first, until
    )
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


# The beginning, inside pandas


class _Beginning(Beginning):
    """One that pandas ends, too, where the rest is not worth workers."""

    def __init__(self, work: Work, whole: Any, options: Options) -> None:
        self._whole = whole
        self._options = options
        super().__init__(work)

    def _is_worth(self, before: float) -> bool:
        """Whether workers would give back what it costs to begin once more."""
        rest = self.seconds / len(self.returns) * (self._whole.size - len(self.returns))
        gain = 0.0 if inside_worker() else 1 - 1 / self._options.workers
        worth: bool = rest * gain > placement.WARM_WORTH_SECONDS + 2 * before
        return worth


def _annotated(failure: Failure, windowing: Windowing, work: Work) -> BaseException:
    """What the function raised before there was a call, as the runner would tell it."""
    place = f"{windowing.kind}.apply, at window {failure.offset}"
    with contextlib.suppress(Exception):  # the exception matters more than its note
        found = layout(windowing, raw=True)
        if found is not None:
            place = failures.place(_call(windowing, work, found), failure.offset)
    return annotate_exception(failure, place)


# What stays in pandas


def _in_pandas(
    windowing: Windowing, window: Any, work: Work, raw: bool, prefix: Outcome | None, options: Options
) -> Any:
    """Where only pandas knows what to call the function with, it does so, here."""
    verb = f"{windowing.kind}.apply"
    func = count_calls(calling(work), options.progress, options.desc or verb, "window")
    kept: list[Any] = []
    done = Returns([] if prefix is None else [prefix.returns]).values()

    def keep(unit: Any) -> Any:
        value = done[len(kept)] if len(kept) < len(done) else func(unit)
        kept.append(value)
        return np.nan if type(value) is Failed else value

    with ProgressScope(), called_here(work):
        result = window.apply(keep, raw=raw)
    call = Call(verb, work, kept, len(kept), "window", label=range(len(kept)).__getitem__)
    failures.replace_failures(call, Returns([kept]), lambda good, at, value: value)
    return result
