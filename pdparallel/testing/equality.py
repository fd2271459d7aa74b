"""A comparison of two results that is stricter than pandas' own comparisons."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from pandas.testing import assert_index_equal, assert_series_equal

__all__ = ["assert_same"]


def assert_same(got: Any, expected: Any) -> None:
    """Assert that two results are the same in every respect: type, values, dtypes, labels, names, attrs.

    Parameters
    ----------
    got, expected : object
        The two results: objects of pandas, arrays, containers of these, or scalars.

    Raises
    ------
    AssertionError
        Names the first difference.

    Examples
    --------
    >>> import pandas as pd
    >>> assert_same(pd.Series([1, 2]), pd.Series([1, 2]))
    >>> assert_same(1, 1.0)
    Traceback (most recent call last):
    ...
    AssertionError: types differ: int and float
    """
    _hold(_same_type(got, expected), "types differ: {} and {}", type(got).__name__, type(expected).__name__)
    if isinstance(expected, (pd.DataFrame, pd.Series)):
        _assert_same_pandas(got, expected)
    elif isinstance(expected, pd.Index):
        _assert_same_labels(got, expected)
    elif isinstance(expected, pd.api.extensions.ExtensionArray):
        _assert_same_values(pd.Series(got, copy=False), pd.Series(expected, copy=False))
    elif isinstance(expected, np.ndarray):
        _hold(got.dtype == expected.dtype, "dtypes differ: {} and {}", got.dtype, expected.dtype)
        _hold(got.shape == expected.shape, "shapes differ: {} and {}", got.shape, expected.shape)
        _assert_same_items(got.ravel().tolist(), expected.ravel().tolist())
    elif isinstance(expected, dict):
        _assert_same_items(list(got), list(expected))
        _assert_same_items(list(got.values()), list(expected.values()))
    elif isinstance(expected, (list, tuple)):
        _assert_same_items(got, expected)
    elif isinstance(expected, (set, frozenset)):
        # 1 and 1.0 are the same element of a set, so the types need a comparison of their own, in sorted order.
        _hold(got == expected, "{!r} is not {!r}", got, expected)
        _hold(sorted(map(_described, got)) == sorted(map(_described, expected)), "{!r} is not {!r}", got, expected)
    elif expected is pd.NA or expected is pd.NaT or expected is None:
        _hold(got is expected, "{!r} is not {!r}", got, expected)
    elif isinstance(expected, (float, complex, np.inexact, np.datetime64, np.timedelta64)) and expected != expected:
        _hold(got != got, "{!r} is not {!r}", got, expected)
    elif isinstance(expected, (float, np.floating)):
        same_zero = math.copysign(1, got) == math.copysign(1, expected)
        _hold(got == expected and same_zero, "{!r} is not {!r}", got, expected)
    else:
        _assert_same_object(got, expected)


def _same_type(got: Any, expected: Any) -> bool:
    mine, theirs = type(got), type(expected)
    if mine is theirs:
        return True
    # Each call of df.itertuples() makes a new class.
    fields = getattr(theirs, "_fields", None)
    named = fields is not None and mine.__bases__ == theirs.__bases__ == (tuple,)
    return named and mine.__name__ == theirs.__name__ and getattr(mine, "_fields", None) == fields


def _hold(condition: object, otherwise: str, *parts: Any) -> None:
    # Not an assert statement: python -O removes it, and pytest adds text to its message.
    if not condition:
        raise AssertionError(otherwise.format(*parts))


def _assert_same_object(got: Any, expected: Any) -> None:
    same = got == expected
    # Objects without their own __eq__ return from a worker as copies, so compare their state.
    no_eq = getattr(type(expected), "__eq__", None) is getattr(object, "__eq__", None)
    if not same and no_eq and hasattr(expected, "__dict__"):
        assert_same(vars(got), vars(expected))
        return
    _hold(bool(same), "{!r} is not {!r}", got, expected)
    # Equal times may have different zones or units.
    for part in ("tzinfo", "unit"):
        mine, theirs = getattr(got, part, None), getattr(expected, part, None)
        _hold(str(mine) == str(theirs), "{!r} is not {!r}: {} {} and {}", got, expected, part, mine, theirs)


def _described(item: Any) -> str:
    return f"{type(item).__qualname__} {item!r}"


def _assert_same_pandas(got: Any, expected: Any) -> None:
    _hold(got.shape == expected.shape, "shapes differ: {} and {}", got.shape, expected.shape)
    _assert_same_labels(got.index, expected.index)
    if isinstance(expected, pd.DataFrame):
        _assert_same_labels(got.columns, expected.columns)
        for position in range(expected.shape[1]):
            try:
                _assert_same_values(got.iloc[:, position], expected.iloc[:, position])
            except AssertionError as error:
                error.add_note(f"in column {expected.columns[position]!r} (position {position})")
                raise
    else:
        _assert_same_part("name", got.name, expected.name)
        _assert_same_values(got, expected)
    _assert_same_part("attrs", got.attrs, expected.attrs)
    mine, theirs = got.flags.allows_duplicate_labels, expected.flags.allows_duplicate_labels
    _hold(mine == theirs, "flags differ: allows_duplicate_labels {} and {}", mine, theirs)
    for name in getattr(type(expected), "_metadata", ()):
        if name not in ("name", "_name"):
            _assert_same_part(name, getattr(got, name, None), getattr(expected, name, None))


def _assert_same_part(part: str, got: Any, expected: Any) -> None:
    """Compare an attribute, and name it if it differs."""
    try:
        assert_same(got, expected)
    except AssertionError as error:
        error.add_note(f"in the attribute {part!r}: {got!r} and {expected!r}")
        raise


def _assert_same_labels(got: pd.Index, expected: pd.Index) -> None:
    mine, theirs = getattr(got, "freq", None), getattr(expected, "freq", None)
    _hold(mine == theirs, "freq differs: {} and {}", mine, theirs)
    assert_index_equal(got, expected, exact=True, check_names=True)
    _assert_same_items(list(got.names), list(expected.names))
    if isinstance(expected, pd.MultiIndex) and isinstance(got, pd.MultiIndex):
        for level in range(expected.nlevels):
            _assert_same_labels(got.get_level_values(level), expected.get_level_values(level))
            _assert_same_labels(got.levels[level], expected.levels[level])
    elif expected.dtype == object:
        _assert_same_items(got.tolist(), expected.tolist())


def _assert_same_values(got: pd.Series, expected: pd.Series) -> None:
    """Compare values and dtype only, and the types in object columns, which pandas' comparison ignores."""
    _hold(got.dtype == expected.dtype, "dtypes differ: {} and {}", got.dtype, expected.dtype)
    if expected.dtype == object:
        _assert_same_items(got.tolist(), expected.tolist())
        return
    mine, theirs = (pd.Series(one.array, copy=False) for one in (got, expected))
    assert_series_equal(mine, theirs, check_exact=True)
    if isinstance(expected.dtype, np.dtype) and expected.dtype.kind == "f":
        minus, expected_minus = (np.signbit(one.fillna(0.0).to_numpy()) for one in (got, expected))
        _hold(bool(np.array_equal(minus, expected_minus)), "0.0 and -0.0 differ")


def _assert_same_items(got: Any, expected: Any) -> None:
    _hold(len(got) == len(expected), "lengths differ: {} and {}", len(got), len(expected))
    for one, other in zip(got, expected, strict=True):
        assert_same(one, other)
