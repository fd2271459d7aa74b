"""Testing: the comparison with pandas that this project tests itself by, for users' own functions too."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal

__all__ = ["assert_same", "assert_same_as_pandas"]


def assert_same(got: Any, expected: Any) -> None:
    """Assert that two results are the same in every respect: type, values, dtypes, labels, names, attrs.

    Parameters
    ----------
    got, expected : object
        pandas objects, arrays, containers of these, or scalars.

    Raises
    ------
    AssertionError
        Says what differs.

    Examples
    --------
    >>> import pandas as pd
    >>> assert_same(pd.Series([1, 2]), pd.Series([1, 2]))
    >>> assert_same(1, 1.0)
    Traceback (most recent call last):
    ...
    AssertionError: types differ: int and float
    """
    assert type(got) is type(expected), f"types differ: {type(got).__name__} and {type(expected).__name__}"
    if isinstance(expected, pd.DataFrame):
        assert_frame_equal(got, expected, check_exact=True, check_freq=True, check_flags=True)
        _assert_same_labels(got.columns, expected.columns)
        for position in range(expected.shape[1]):
            _assert_same_objects(got.iloc[:, position], expected.iloc[:, position])
    elif isinstance(expected, pd.Series):
        assert_series_equal(got, expected, check_exact=True, check_freq=True, check_flags=True)
        _assert_same_objects(got, expected)
    elif isinstance(expected, pd.Index):
        _assert_same_labels(got, expected)
    elif isinstance(expected, np.ndarray):
        assert got.dtype == expected.dtype, f"dtypes differ: {got.dtype} and {expected.dtype}"
        assert got.shape == expected.shape, f"shapes differ: {got.shape} and {expected.shape}"
        for one, other in zip(got.ravel().tolist(), expected.ravel().tolist(), strict=True):
            assert_same(one, other)
    elif isinstance(expected, dict):
        assert_same(list(got), list(expected))
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(got) == len(expected), f"lengths differ: {len(got)} and {len(expected)}"
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif expected is pd.NA or expected is pd.NaT or expected is None:
        assert got is expected, f"{got!r} is not {expected!r}"
    elif isinstance(expected, (float, complex, np.inexact)) and expected != expected:
        assert got != got, f"{got!r} is not {expected!r}"
    else:
        same = got == expected
        # objects without an __eq__ of their own come back as copies: then their state decides
        no_eq = getattr(type(expected), "__eq__", None) is getattr(object, "__eq__", None)
        if not same and no_eq and hasattr(expected, "__dict__"):
            assert_same(vars(got), vars(expected))
            return
        assert bool(same), f"{got!r} is not {expected!r}"
    if isinstance(expected, (pd.DataFrame, pd.Series)):
        assert_same(got.attrs, expected.attrs)
        assert_index_equal(got.index, expected.index, exact=True, check_names=True)
        for name in getattr(type(expected), "_metadata", ()):
            if name != "_name":
                assert_same(getattr(got, name, None), getattr(expected, name, None))


def _assert_same_labels(got: pd.Index, expected: pd.Index) -> None:
    assert_index_equal(got, expected, exact=True, check_names=True)


def _assert_same_objects(got: pd.Series, expected: pd.Series) -> None:
    """Types of the values of an object column, which pandas' own comparison takes no notice of."""
    if expected.dtype == object:
        for one, other in zip(got.tolist(), expected.tolist(), strict=True):
            assert_same(one, other)


def assert_same_as_pandas(ours: Callable[[], Any], pandas: Callable[[], Any]) -> None:
    """Assert that a call of pdparallel does what the call of pandas does: the same result, or the same error.

    Parameters
    ----------
    ours, pandas : callable
        Make the two calls; no arguments.

    Raises
    ------
    AssertionError
        Says what differs.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [1, 2]})
    >>> func = lambda row: None if row["a"] > 1 else 1
    >>> assert_same_as_pandas(lambda: df.par.apply_rows(func), lambda: df.apply(func, axis=1))
    """
    expected, expected_error = _attempt(pandas)
    got, error = _attempt(ours)
    if expected_error is not None:
        assert error is not None, f"pandas raises {expected_error!r}, but a result came: {got!r}"
        assert type(error) is type(expected_error), f"pandas raises {expected_error!r}, ours {error!r}"
        with contextlib.suppress(AssertionError):
            assert_same(error.args, expected_error.args)
            return
        assert str(error) == str(expected_error), f"pandas raises {expected_error!r}, ours {error!r}"
        return
    if error is not None:
        raise AssertionError(f"pandas gives a {type(expected).__name__}, ours raises {error!r}") from error
    assert_same(got, expected)


def _attempt(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas warns of what it will do otherwise some day; both sides do
            return call(), None
    except Exception as error:
        return None, error
