"""The methods of ``df.par.resample(...)``, which call a function with spans of time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Generic, cast, overload

import pandas as pd

from pdparallel.api.groupby import GroupByPar
from pdparallel.core.mistakes import attribute_of_pandas, place_of, refuse_options
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import goes_to_pandas
from pdparallel.operations.groupby import call_grouped
from pdparallel.typing import AsEither, AsFrame, AsSeries, AsWhole

__all__ = ["ResamplePar"]

#: Arguments of ``resample`` for ``pandas.Grouper``. The others do not change the rows of a span.
_OF_GROUPER = ("closed", "label", "convention", "origin", "offset")

#: Types of span lengths for which ``origin`` and ``offset``, the last two, have an effect.
_WITH_ORIGIN = (pd.offsets.Tick, pd.offsets.Day)


class ResamplePar(Generic[AsSeries, AsFrame, AsEither, AsWhole]):
    """Spans of time of ``df.par.resample(...)``: pandas' own object, with your functions on all cores.

    ``apply`` (or ``agg``) and ``transform`` of a Python function run on workers. All other methods are those of pandas.

    Parameters
    ----------
    resampler : Resampler
        The object of pandas.
    obj : DataFrame or Series
        The data.
    rule : offset
        The length of a span, from that object.
    how : mapping
        Further arguments of pandas' ``resample``.
    given : mapping
        The options of the accessor.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> s = pd.Series(range(6), index=pd.date_range("2026-01-01", periods=6, freq="12h"))
    >>> s.par.resample("D").apply(lambda day: int(day.max() - day.min())).tolist()
    [1, 1, 1]
    """

    def __init__(self, resampler: Any, obj: Any, rule: Any, how: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self._resampler = resampler
        self._obj = obj
        self._rule = rule
        self._how = how
        self._given = given

    def _grouped(self) -> Any:
        """Return the spans as a groupby object."""
        # Without origin and offset if they have no effect: the resampler has warned about them already.
        names = _OF_GROUPER if isinstance(self._rule, _WITH_ORIGIN) else _OF_GROUPER[:-2]
        given = {name: self._how[name] for name in names if self._how.get(name) is not None}
        key, level = self._how.get("on"), self._how.get("level")
        spans = pd.Grouper(freq=self._rule, key=key, level=level, **given)
        return self._obj.groupby(spans, group_keys=self._how.get("group_keys", False))

    def __repr__(self) -> str:
        return f"<pdparallel accessor of a {type(self._resampler).__name__}>"

    @overload
    def __getitem__(self, key: list[Any]) -> GroupByPar[AsSeries, AsFrame, AsEither, AsFrame]: ...
    @overload
    def __getitem__(self, key: Hashable) -> GroupByPar[AsSeries, AsFrame, AsEither, AsSeries]: ...
    @trim_tracebacks
    def __getitem__(self, key: Any) -> Any:
        # pandas gives a GroupBy here, whose agg is not its apply, as it is of the Resampler itself
        groups = GroupByPar[AsSeries, AsFrame, AsEither, Any](self._resampler[key], self._given)
        groups._whole = self._obj
        return groups

    @trim_tracebacks
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._obj.ndim == 2 and name in self._obj.columns:
            return self[name]
        verbs = ("agg", "apply", "transform")
        return attribute_of_pandas(self._resampler, name, verbs, lambda: f"{place_of(self._obj)}.resample(...)")

    def __iter__(self) -> Any:
        return iter(self._resampler)

    def __len__(self) -> int:
        return len(self._resampler)

    @trim_tracebacks
    def apply(self, func: Any = None, *args: Any, **kwargs: Any) -> AsEither:
        """Call a function with each span of time: ``df.resample(...).apply(func)`` on all cores.

        Parameters
        ----------
        func : callable
            Takes a Series, a column of a span, and returns one value. If that fails, pandas calls it with the whole
            span, a frame. Names, lists and dicts go to pandas as they are.
        *args, **kwargs
            Further arguments of ``func``.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            The exception of ``func`` for the first failing span (option ``errors``), with a note that names it.
        InvalidOptionError
            For arguments that are not allowed, before the call runs.
        FunctionNotSerializableError
            If ``func`` cannot be sent to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"x": [1.0, 2.0, 5.0]}, index=pd.to_datetime(["2026-01-01", "2026-01-01", "2026-01-03"]))
        >>> df.par.resample("D").apply(lambda column: float(column.sum()))["x"].tolist()
        [3.0, 0.0, 5.0]
        >>> df.par(n_workers=2, errors="coerce").resample("D").apply(lambda column: len(column))["x"].tolist()
        [2, 0, 1]
        """
        return cast("AsEither", self._call("resample", func, args, kwargs, self._resampler.apply))

    agg = aggregate = apply

    @trim_tracebacks
    def transform(self, func: Any, *args: Any, **kwargs: Any) -> AsWhole:
        """Call a function with each span of time for a result like the whole, on all cores.

        Parameters
        ----------
        func : callable
            Takes a column of a span, and returns a Series of the same index or one value.
        *args, **kwargs
            Further arguments of ``func``.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            As for :meth:`apply`.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> s = pd.Series([1.0, 2.0, 6.0], index=pd.to_datetime(["2026-01-01", "2026-01-01", "2026-01-02"]))
        >>> s.par.resample("D").transform(lambda day: day - day.mean()).tolist()
        [-0.5, 0.5, 0.0]
        >>> s.par(n_workers=2, retries=0).resample("D").transform(lambda day: day / day.max()).tolist()
        [0.5, 1.0, 1.0]
        """
        return cast("AsWhole", self._call("transform", func, args, kwargs, self._resampler.transform))

    def _call(self, method: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], bound: Any) -> Any:
        if kwargs and not goes_to_pandas(func):
            name = "apply" if method == "resample" else method
            refuse_options(func, kwargs, f"resample(...).{name}", self._obj)
        straight = self._how.get("axis", 0) not in (0, "index")
        return call_grouped(self._grouped, method, func, args, kwargs, bound, self._given, straight=straight)
