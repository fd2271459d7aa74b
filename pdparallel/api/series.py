"""The methods of ``s.par`` that call a function with values of a Series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, Never, cast, overload

import pandas as pd
from pandas.api.types import is_dict_like

from pdparallel.api.chunks import Holding
from pdparallel.core.cancellation import mark_started
from pdparallel.core.mistakes import refuse_options
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import check_na_action, goes_to_pandas, is_called_by_map
from pdparallel.errors import InvalidOptionError
from pdparallel.operations import apply
from pdparallel.typing import AsEither, AsFrame, AsSeries, Func, Named, Plain
from pdparallel.worker.event_loop import awaiting

__all__ = ["SeriesVerbs"]


class SeriesVerbs(Holding, Generic[AsSeries, AsFrame, AsEither]):
    """Base of the accessor of a Series, with types as in :class:`pdparallel.api.frame.FrameVerbs`."""

    @trim_tracebacks
    def map(
        self, func: Func | Mapping[Any, Any] | pd.Series, na_action: Literal["ignore"] | None = None, **kwargs: Any
    ) -> AsSeries:
        """Call a function with each value: ``s.map(func)`` on all cores.

        Parameters
        ----------
        func : callable, dict or Series
            Takes a value. A dict or Series goes to pandas as it is.
        na_action : {None, "ignore"}, default None
            With ``"ignore"`` missing values stay and are not passed to ``func``.
        **kwargs
            Further keyword arguments of ``func``.

        Returns
        -------
        Series or Index-like
            Exactly what ``s.map(func, na_action)`` returns. As in pandas, ``func`` gets the categories of a categorical
            Series, not its values.

        Raises
        ------
        Exception
            The exception of ``func`` for the first failing value (option ``errors``), with a note that names it.
        InvalidOptionError
            For arguments that are not allowed, before the call runs.
        FunctionNotSerializableError
            If ``func`` cannot be sent to another process; names the variable.
        WorkerDiedError
            If a worker ended.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series(["cat", float("nan"), "dog"]).par.map(str.upper, na_action="ignore").tolist()
        ['CAT', nan, 'DOG']
        >>> pd.Series([1, 2, 3]).par(n_workers=2, chunk_size=1000).map(lambda value: value * 2).tolist()
        [2, 4, 6]
        """
        check_na_action(na_action)
        if not is_called_by_map(func):
            if is_dict_like(func):
                mark_started()
                return cast("AsSeries", self._obj.map(func, na_action=na_action))
            raise InvalidOptionError("func", func, "a function, a dict or a Series")
        if kwargs:
            refuse_options(func, kwargs, "map", self._obj)
        return cast("AsSeries", apply.apply_series(self._obj, func, (), kwargs, na_action, "map", self._options()))

    @overload
    def apply(
        self, func: Callable[..., Never], args: Sequence[Any] = (), by_row: Any = "compat", **kwargs: Any
    ) -> AsEither: ...
    @overload
    def apply(
        self, func: Callable[..., Plain | pd.DataFrame], args: Sequence[Any] = (), by_row: Any = "compat", **kwargs: Any
    ) -> AsSeries: ...
    @overload
    def apply(
        self, func: Callable[..., pd.Series], args: Sequence[Any] = (), by_row: Any = "compat", **kwargs: Any
    ) -> AsFrame: ...
    @overload
    def apply(self, func: Named, args: Sequence[Any] = (), by_row: Any = "compat", **kwargs: Any) -> AsEither: ...
    @trim_tracebacks
    def apply(self, func: Any, args: Sequence[Any] = (), by_row: Any = "compat", **kwargs: Any) -> Any:
        """Call a function with each value: ``s.apply(func)`` on all cores.

        Strings, lists, dicts and ufuncs, and ``by_row=False``, go to pandas as they are.

        Parameters
        ----------
        func, args, by_row, **kwargs
            As in :meth:`pandas.Series.apply`.

        Returns
        -------
        Series or DataFrame
            Exactly what pandas returns.

        Raises
        ------
        Exception
            The exception of ``func`` for the first failing value (option ``errors``), with a note that names it.
        InvalidOptionError
            If pandas cannot apply ``func``.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series([1, 2, 3]).par.apply(lambda x, power: x**power, power=2).tolist()
        [1, 4, 9]
        >>> pd.Series([1, 2, 3]).par(engine="thread", n_workers=2).apply(lambda x: x + 1).tolist()
        [2, 3, 4]
        """
        if goes_to_pandas(func) or by_row != "compat":
            mark_started()
            return self._obj.apply(awaiting(func), args=tuple(args), by_row=by_row, **kwargs)
        self._check(func, kwargs, "apply")
        return apply.apply_series(self._obj, func, args, kwargs, None, "apply", self._options())
