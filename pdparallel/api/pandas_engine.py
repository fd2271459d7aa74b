"""Hook: pandas' own way to another engine, ``df.apply(func, axis=1, engine=pdparallel)``, from pandas 3 on.

pandas finds ``__pandas_udf__`` on what it is given as ``engine=`` and calls its ``apply`` or ``map`` with the data, the
function, and that very object, which so carries the options.  What they do is what the verbs of the accessor do.
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
    """What pandas calls; all arguments come by keyword."""

    @staticmethod
    @trim_tracebacks
    def apply(
        data: pd.DataFrame | np.ndarray, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any],
        decorator: Any, axis: Any,
    ) -> Any:  # fmt: skip
        """``df.apply(func, axis, raw, args=args, **kwargs)``; ``raw=True`` makes the data an array."""
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
        """``s.map(func, na_action, **kwargs)``."""
        if kwargs:
            refuse_options_of_hook(func, kwargs)
        na_action = "ignore" if skip_na else None
        return apply.apply_series(data, func, args, dict(kwargs), na_action, "map", resolve(_given(decorator)))


def _given(decorator: Any) -> Mapping[str, Any] | None:
    # Asked first, because isinstance() of a module takes long beside all else that this door costs.
    if type(decorator) is ModuleType:
        return None
    return decorator.options if isinstance(decorator, engine) else None


@show_options()
class engine:  # noqa: N801 - it reads as a function, and is called like one
    """Options for pandas' own ``engine=``: ``df.apply(func, axis=1, engine=pdparallel.engine(n_workers=4))``.

    For pandas 3 and later; ``engine=pdparallel`` is the same without options.

    Parameters
    ----------
    **options
        Any of :class:`pdparallel.Options`.

    Raises
    ------
    InvalidOptionError
        Names the option, its value, and what is allowed.

    Notes
    -----
    pandas itself takes no ``result_type=`` with an engine, and gives a ``raw=True`` result no ``attrs``; the accessor
    does both.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> s = pd.Series([1, 2, 3])
    >>> def double(value):
    ...     return value * 2
    >>> if pd.__version__ >= "3":
    ...     s = s.map(double, engine=pdparallel.engine(n_workers=2))
    """

    __pandas_udf__ = Hook

    @trim_tracebacks
    @by_name("pdparallel.engine", skip=1)
    def __init__(self, **options: Unpack[OptionsDict]) -> None:
        self.options = checked(options)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"pdparallel.engine({given})"
