"""The engine for ``df.apply(func, axis=1, engine=pdparallel)``, from pandas 3 on.

pandas looks for ``__pandas_udf__`` on the object ``engine=``, and calls its ``apply`` or ``map``.  It passes the data,
the function, and that object, which has the options.  Both methods make the same call as the accessor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Unpack

import numpy as np
import pandas as pd

from pdparallel.core.mistakes import by_name, refuse_options_of_hook
from pdparallel.core.options import checked, resolve, show_options
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.core.validation import axis_number
from pdparallel.operations import apply
from pdparallel.typing import OptionsDict

__all__ = ["Hook", "engine"]


class Hook(pd.api.executors.BaseExecutionEngine if hasattr(pd.api, "executors") else object):  # type: ignore[misc]
    """Methods that pandas calls, with keyword arguments only."""

    @staticmethod
    @trim_tracebacks
    def apply(
        data: pd.DataFrame | np.ndarray, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any],
        decorator: Any, axis: Any,
    ) -> Any:  # fmt: skip
        """Run ``df.apply(func, axis, raw, args=args, **kwargs)``; with ``raw=True``, data is an array."""
        if kwargs:
            refuse_options_of_hook(func, kwargs)
        raw = isinstance(data, np.ndarray)
        df = pd.DataFrame(data, copy=False) if raw else data
        number = axis_number(axis)
        unit_format: Any = "row" if number else "column"
        options = resolve(_given(decorator))
        result = apply.apply_frame(df, func, number, args, dict(kwargs), raw, None, "apply", unit_format, options)
        return result.to_numpy() if raw else result

    @staticmethod
    @trim_tracebacks
    def map(
        data: pd.Series, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any],
        decorator: Any, skip_na: bool,
    ) -> Any:  # fmt: skip
        """Run ``s.map(func, na_action, **kwargs)``."""
        if kwargs:
            refuse_options_of_hook(func, kwargs)
        na_action = "ignore" if skip_na else None
        return apply.apply_series(data, func, args, dict(kwargs), na_action, "map", resolve(_given(decorator)))


def _given(decorator: Any) -> Mapping[str, Any] | None:
    # First, because isinstance() of a module is slow compared with the rest of this call.
    if type(decorator) is ModuleType:
        return None
    return decorator.options if isinstance(decorator, engine) else None


@show_options()
class engine:  # noqa: N801 - it reads as a function, and is called like one
    """Options for pandas' own ``engine=``: ``df.apply(func, axis=1, engine=pdparallel.engine(n_workers=4))``.

    It needs pandas 3 or later. ``engine=pdparallel`` is the same without options.

    Parameters
    ----------
    **options
        Any of :class:`pdparallel.Options`.

    Raises
    ------
    InvalidOptionError
        Names the option, its value, and the allowed values.

    Notes
    -----
    With an engine, pandas allows no ``result_type=``, and a result of ``raw=True`` loses its ``attrs``. The accessor
    supports both.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> s = pd.Series([1, 2, 3])
    >>> def double(value):
    ...     return value * 2
    ...
    >>> if pd.__version__ >= "3":
    ...     s = s.map(double, engine=pdparallel.engine(n_workers=2))
    ...
    """

    __pandas_udf__ = Hook

    @trim_tracebacks
    @by_name("pdparallel.engine", skip=1)
    def __init__(self, **options: Unpack[OptionsDict]) -> None:
        self.options = checked(options)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"pdparallel.engine({given})"
