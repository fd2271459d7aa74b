"""The methods of an accessor that return groups, spans of time or windows."""

from __future__ import annotations

from typing import Any, Generic, Literal, cast, overload

from pdparallel.api.chunks import Holding
from pdparallel.api.groupby import GroupByPar
from pdparallel.api.resample import ResamplePar
from pdparallel.api.rolling import WindowPar
from pdparallel.core.mistakes import refuse_options_of_view
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.operations.rolling import Windowing
from pdparallel.typing import AsEither, AsFrame, AsSeries, AsWhole

__all__ = ["Views"]


class Views(Holding, Generic[AsSeries, AsFrame, AsEither, AsWhole]):
    """Base of the accessors, with the methods that return views; ``AsWhole`` is a result like the whole data."""

    @trim_tracebacks
    def rolling(
        self,
        window: Any,
        min_periods: int | None = None,
        center: bool = False,
        win_type: str | None = None,
        on: Any = None,
        closed: Any = None,
        step: int | None = None,
        method: str = "single",
        **kwargs: Any,
    ) -> WindowPar[AsSeries, AsFrame, AsWhole]:
        """Make rolling windows: ``df.rolling(...)``, whose ``apply`` uses all cores.

        Parameters
        ----------
        window, min_periods, center, win_type, on, closed, step, method, **kwargs
            As in :meth:`pandas.DataFrame.rolling`.

        Returns
        -------
        WindowPar
            Select columns as in pandas. All methods except ``apply`` are those of pandas.

        Raises
        ------
        ValueError
            For arguments that do not fit together. This and all other exceptions are those of pandas.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> df = pd.DataFrame({"a": [1.0, 5.0, 2.0], "b": [0.0, 0.0, 3.0]})
        >>> df.par.rolling(2, min_periods=1)["a"].apply(max).tolist()
        [1.0, 5.0, 5.0]
        """
        refuse_options_of_view(kwargs, "rolling(...)", self._obj)
        given = {
            "window": window, "min_periods": min_periods, "center": center, "win_type": win_type, "on": on,
            "closed": closed, "step": step, "method": method, **kwargs,
        }  # fmt: skip
        return WindowPar(Windowing(self._data(), "rolling", given), self._given)

    @trim_tracebacks
    def expanding(
        self, min_periods: int = 1, method: str = "single", **kwargs: Any
    ) -> WindowPar[AsSeries, AsFrame, AsWhole]:
        """Make windows from the first row on: ``df.expanding()``, whose ``apply`` uses all cores.

        Parameters
        ----------
        min_periods, method, **kwargs
            As in :meth:`pandas.DataFrame.expanding`.

        Returns
        -------
        WindowPar
            Select columns as in pandas. All methods except ``apply`` are those of pandas.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> s = pd.Series([2.0, 9.0, 4.0])
        >>> s.par.expanding().apply(lambda window: window.max() - window.min(), raw=True).tolist()
        [0.0, 7.0, 7.0]
        """
        refuse_options_of_view(kwargs, "expanding(...)", self._obj)
        given = {"min_periods": min_periods, "method": method, **kwargs}
        return WindowPar(Windowing(self._data(), "expanding", given), self._given)

    @overload
    def groupby(
        self, by: Any = None, *, as_index: Literal[True] = True, **kwargs: Any
    ) -> GroupByPar[AsSeries, AsFrame, AsEither, AsWhole]: ...
    @overload
    def groupby(
        self, by: Any = None, *, as_index: bool, **kwargs: Any
    ) -> GroupByPar[AsEither, AsFrame, AsEither, AsEither]: ...
    @trim_tracebacks
    def groupby(self, by: Any = None, **kwargs: Any) -> Any:
        """Group the rows: ``df.groupby(...)``, whose ``apply`` and similar methods use all cores.

        Parameters
        ----------
        by : label, list of labels, function, array, Series, Grouper, optional
            As in :meth:`pandas.DataFrame.groupby`.
        **kwargs
            Further arguments of pandas: ``level``, ``as_index``, ``sort``, ``group_keys``, ``observed``, ``dropna``.

        Returns
        -------
        GroupByPar
            With ``[columns]``, ``apply``, ``agg``, ``transform`` and ``filter``, and all other methods of pandas.

        Raises
        ------
        Exception
            The exception of pandas for these arguments.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> s = pd.Series([1, 2, 3, 4], index=["a", "b", "a", "b"])
        >>> s.par.groupby(level=0).apply(lambda group: group.max() - group.min()).to_dict()
        {'a': 2, 'b': 2}
        """
        refuse_options_of_view(kwargs, "groupby(...)", self._obj)
        grouped, only = self._obj.groupby(by, **kwargs), self._only()
        return GroupByPar(grouped if only is None else grouped[only], self._given)

    @trim_tracebacks
    def resample(self, rule: Any, **kwargs: Any) -> ResamplePar[AsSeries, AsFrame, AsEither, AsWhole]:
        """Cut the rows into spans of time: ``df.resample(...)``, whose ``apply`` uses all cores.

        Parameters
        ----------
        rule : str, offset or Timedelta
            As in :meth:`pandas.DataFrame.resample`.
        **kwargs
            Further arguments of pandas: ``closed``, ``label``, ``on``, ``level``, ``origin``, ``offset``,
            ``group_keys``.

        Returns
        -------
        ResamplePar
            With ``[columns]``, ``apply``, ``agg`` and ``transform``, and all other methods of pandas.

        Raises
        ------
        Exception
            The exception of pandas for these arguments.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> s = pd.Series([1, 2, 3], index=pd.to_datetime(["2026-01-01", "2026-01-01", "2026-01-02"]))
        >>> s.par.resample("D").apply(len).tolist()
        [2, 1]
        """
        refuse_options_of_view(kwargs, "resample(...)", self._obj)
        resampler, only = self._obj.resample(rule, **kwargs), self._only()
        spans = ResamplePar[Any, Any, Any, Any](resampler, self._obj, resampler.freq, kwargs, self._given)
        return spans if only is None else cast("Any", spans[only])

    def _only(self) -> Any:
        """Return the columns of the call; None for all."""
        return None if self._columns is None else list(self._columns)
