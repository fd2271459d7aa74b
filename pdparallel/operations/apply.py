"""``apply``, ``map`` and chunks: build the ``Call``, run it, and rebuild pandas' result.

The arguments were checked in :mod:`pdparallel.api`.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.core import random_state
from pdparallel.core.call import Call, Work, work_of
from pdparallel.core.cancellation import mark_started
from pdparallel.core.chunking import Chunk, cut, cut_for_chunks, cut_whole, pieces_for_chunks
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failed, Outcome
from pdparallel.core.returns import Returns
from pdparallel.core.validation import goes_to_pandas
from pdparallel.data.fastpath.row import LazyRows, are_views, dtypes_of
from pdparallel.data.values import (
    FrameValues,
    backing_array,
    bytes_of,
    cells_of,
    converted,
    is_plain,
    iter_python_values,
    values_pandas_would_pass,
)
from pdparallel.execution import failures, placement
from pdparallel.execution.inline import run_loop
from pdparallel.execution.pandas_driver import PandasStart, PandasStoppedError, inline_context, run_in_pandas
from pdparallel.execution.placement import Placement, place
from pdparallel.execution.runner import run
from pdparallel.operations import build_result, concat
from pdparallel.progress.reporter import ProgressScope
from pdparallel.transport.data import take
from pdparallel.typing import Combine, Func, ResultType, UnitFormat
from pdparallel.worker.event_loop import awaiting, without_coroutines
from pdparallel.worker.loop import calling, record
from pdparallel.worker.retrying import retrying

__all__ = [
    "apply_chunks",
    "apply_frame",
    "apply_series",
    "call_by_chunks",
    "map_frame",
    "map_items",
    "of_no_rows",
]


def apply_frame(
    df: Any, func: Func, axis: int, args: Sequence[Any], kwargs: dict[str, Any],
    raw: bool, result_type: ResultType, verb: str, unit_format: UnitFormat, options: Options,
) -> Any:  # fmt: skip
    """Run ``df.apply(func, axis, ...)``; ``unit_format`` says in which form the function gets a row or column."""
    options = placement.options_for(func, options)
    labels = df.index if axis else df.columns
    # With broadcast, pandas selects units by label. A repeated label gives a frame, so pandas makes that call.
    by_pandas = 0 in df.shape or (result_type == "broadcast" and not labels.is_unique)
    # For an empty frame pandas calls the function once and ignores exceptions, except with these.
    tries = result_type not in ("broadcast", "reduce")
    if goes_to_pandas(func) or (by_pandas and (tries or options.errors == "raise")):
        work = work_of(func, args, kwargs, unit_format, options)
        func = awaiting(func) if goes_to_pandas(func) else retrying(without_coroutines(work))[0].func
        mark_started()
        with random_state.whole(work.seed) if goes_to_pandas(func) else inline_context(work):
            return df.apply(func, axis=axis, raw=raw, result_type=result_type, args=tuple(args), **kwargs)
    prefix: Outcome | None = None
    as_in_pandas = unit_format == ("row" if axis else "column") and result_type != "broadcast" and not by_pandas
    most = placement.PANDAS_MAX_ROWS if axis else math.inf
    if as_in_pandas and place(options, len(labels), max_in_pandas=most) is Placement.PASS_TO_PANDAS:
        start = PandasStart(work_of(func, args, kwargs, unit_format, options))
        try:
            return df.apply(start.function(), axis=axis, raw=raw, result_type=result_type)
        except PandasStoppedError:
            prefix = start.outcome()
    data: Any = df
    views: bool | None = None
    if result_type == "broadcast":
        unit_format = "row-broadcast" if axis else "column-broadcast"
    elif raw:
        unit_format = "row-array" if axis else "column-array"
    if unit_format.endswith("-array"):
        # The whole frame decides the common dtype, not a part of its columns.
        data = df.to_numpy()
    elif axis and len(df):
        dtypes = list(dtypes_of(df))
        with contextlib.nullcontext() if prefix is None else np.errstate(all="ignore"):  # pandas has already warned
            made = None if all(isinstance(dtype, np.dtype) for dtype in dtypes) else converted(df, unit_format, dtypes)
        data = df if made is None else made
        # Only rows of the frame itself: rows of a converted frame may be views although pandas' rows are not.
        views = unit_format == "row" and made is None and are_views(df, dtypes)
    work = work_of(func, args, kwargs, unit_format, options, views)
    call = Call(
        verb=verb,
        work=work,
        data=data,
        n=len(labels),
        unit="row" if axis else "column",
        label=labels.__getitem__,
        validate_prefix=(
            functools.partial(_taken_raw, df, axis)
            if unit_format.endswith("-array") and raw and options.errors == "raise"
            else None
        ),
        again=functools.partial(_again, data, work) if views else None,
        shows_types=result_type != "expand",
    )
    raw = raw and result_type != "broadcast"
    fill = failures.in_frame(df, axis, raw, result_type)
    if by_pandas:
        how: dict[str, Any] = {"axis": axis, "result_type": result_type}
        return run_in_pandas(
            call,
            lambda keep: df.apply(keep, **how),
            options,
            fill,
            placeholder=0,
            shape=lambda returns: failures.with_room(df, returns, False, result_type, options.errors).apply(
                build_result.replay(returns), **how
            ),
        )
    with ProgressScope():
        returns = run(call, options, prefix)
        if failures.replace_failures(call, returns, fill):
            df = failures.with_room(df, returns, raw, result_type, options.errors)
        return build_result.build_apply(df, returns, axis, raw, result_type)


def _again(df: pd.DataFrame, work: Work, position: int) -> Outcome:
    """Call the function with a row as pandas does after a function has written into an earlier row."""
    chunk = Chunk(position, position + 1)
    return record(work, LazyRows(work.func, work.given, work.views, unshared=True).feed, take(df, "row", chunk), chunk)


def _taken_raw(df: pd.DataFrame, axis: int, returns: Returns) -> None:
    """Raise as pandas does if a return does not fit into the dtype of the first one (``raw=True``)."""
    part = df.iloc[: len(returns)] if axis else df.iloc[:, : len(returns)]
    build_result.build_apply(part, returns, axis, True, None)


def apply_series(
    s: Any, func: Func, args: Sequence[Any], kwargs: dict[str, Any], na_action: str | None, verb: str, options: Options
) -> Any:
    """Run ``s.map(func, na_action)`` or ``s.apply(func)``."""
    options = placement.options_for(func, options)
    how = {"na_action": na_action} if verb == "map" else {}
    unit_format: UnitFormat = "value"
    data: Any = s
    plain = type(s) is pd.Series and is_plain(s.dtype)
    if not plain:
        unit_format, data = "item", values_pandas_would_pass(lambda look: getattr(s, verb)(look, **how))
    elif na_action == "ignore":
        data = s[s.notna().to_numpy()]
    prefix: Outcome | None = None
    if plain and place(options, len(data), max_in_loop=placement.LOOP_MAX_UNITS) is Placement.LOOP:
        prefix = run_loop(
            work_of(func, args, kwargs, unit_format, options), list(iter_python_values(backing_array(data)))
        )
        if prefix.failure is None and len(prefix.returns) == len(data) and not prefix.awaits:
            return build_result.build_map(s, Returns([prefix.returns]), verb, **how)
    by_pandas = len(s) == 0 or data is None  # pandas maps categories and fill values of an empty Series, too
    if by_pandas:
        unit_format, data = "item", []
    elif isinstance(s.dtype, pd.CategoricalDtype):
        func = build_result.DetectNan(func)
    call = Call(
        verb=verb,
        work=work_of(func, args, kwargs, unit_format, options),
        data=data,
        n=len(data),
        unit="value",
        label=(lambda position: data[position]) if unit_format == "item" else data.index.__getitem__,
        validate_prefix=(
            functools.partial(_taken_sparse, s, na_action)
            if options.errors == "raise" and _is_sparse(s.dtype) and not by_pandas
            else None
        ),
    )
    if by_pandas:
        return run_in_pandas(
            call,
            lambda keep: getattr(s, verb)(keep, **how),
            options,
            failures.in_series(verb),
            placeholder=np.nan,
            seen=data,
            shape=lambda returns: getattr(s, verb)(build_result.replay(returns), **how),
        )
    with ProgressScope():
        returns = run(call, options, prefix)
        failures.replace_failures(call, returns, failures.in_series(verb))
        return build_result.build_map(s, returns, verb, **how)


def map_frame(df: Any, func: Func, kwargs: dict[str, Any], na_action: str | None, options: Options) -> Any:
    """Run ``df.map(func, na_action)``."""
    options = placement.options_for(func, options)
    how: dict[str, Any] = {"na_action": na_action}
    if df.empty:
        return df.map(awaiting(func), **how)
    dtypes = list(df.dtypes)  # read once: pandas builds it each time
    cells = cells_of(df, dtypes, na_action)
    seen: list[Any] = []
    if cells is not None and any(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        func = build_result.DetectNan(func)
    call = Call(
        verb="map",
        work=work_of(func, (), kwargs, "item" if cells is None else "unit", options),
        data=seen if cells is None else cells,
        n=0 if cells is None else len(cells),
        unit="value",
        label=seen.__getitem__ if cells is None else functools.partial(_label_of_cell, df, cells, na_action),
        validate_prefix=(
            functools.partial(_taken_columns, df, cells, na_action)
            if options.errors == "raise" and cells is not None and any(map(_is_sparse, dtypes))
            else None
        ),
    )
    fill = failures.in_series("map")
    if cells is None:
        return run_in_pandas(
            call,
            lambda keep: df.map(keep, **how),
            options,
            fill,
            placeholder=np.nan,
            seen=seen,
            shape=lambda returns: df.map(build_result.replay(returns), **how),
        )
    prefix: Outcome | None = None
    most = placement.LOOP_MAX_UNITS if call.validate_prefix is None else -1
    if place(options, call.n, max_in_loop=most) is Placement.LOOP:
        prefix = run_loop(call.work, list(cells.values()))
        if prefix.failure is None and len(prefix.returns) == call.n and not prefix.awaits:
            return build_result.build_frame_map(df, dtypes, cells.sizes, Returns([prefix.returns]), na_action)
    with ProgressScope():
        returns = run(call, options, prefix)
        failures.replace_failures(call, returns, fill)
        return build_result.build_frame_map(df, dtypes, cells.sizes, returns, na_action)


def _label_of_cell(df: pd.DataFrame, cells: FrameValues, na_action: str | None, position: int) -> tuple[Any, Any]:
    """Return the labels of row and column. A category or fill value stands in place of the row."""
    number, at = cells.place(position)
    column = df.iloc[:, number]
    rows = df.index[column.notna().to_numpy()] if na_action == "ignore" else df.index
    by_row = not (isinstance(column.dtype, pd.CategoricalDtype) or _is_sparse(column.dtype))
    return rows[at] if by_row else cells.columns[number][at], df.columns[number]


def _is_sparse(dtype: Any) -> bool:
    return isinstance(dtype, pd.SparseDtype)


def _taken_columns(df: pd.DataFrame, cells: FrameValues, na_action: str | None, returns: Returns) -> None:
    for number, part in enumerate(returns.split(cells.sizes)):
        _taken_sparse(df.iloc[:, number], na_action, part)


def _taken_sparse(s: Any, na_action: str | None, returns: Returns) -> None:
    """Raise as pandas does if it rejects the return for a sparse value."""
    if _is_sparse(s.dtype):
        given = iter(returns.values())

        def give(value: Any) -> Any:
            try:
                return next(given)
            except StopIteration:
                raise PandasStoppedError from None

        with contextlib.suppress(PandasStoppedError):
            s.array.map(give, na_action=na_action)


def apply_chunks(
    data: Any, whole: Any, func: Func, args: Sequence[Any], kwargs: dict[str, Any],
    by: Any, around: tuple[int, int] | None, combine: Combine, options: Options,
) -> Any:  # fmt: skip
    """Call ``func`` with consecutive chunks, and combine the results."""
    index = data.index
    call, order = call_by_chunks("apply_chunks", data, whole, func, args, kwargs, by, around, options)
    data, plan = call.data, call.plan
    assert plan is not None
    with ProgressScope():
        pieces = run(call, placement.options_for(func, options)).values() if len(data) else [of_no_rows(call)]
        if around is not None:
            pieces = [
                piece if type(piece) is Failed else concat.without_overlap(piece, chunk)
                for piece, chunk in zip(pieces, plan, strict=True)
            ]
        if options.errors != "raise":
            pieces, combine = _settled_pieces(call, pieces, combine, lambda chunk: data.index[chunk.start : chunk.stop])
        return concat.combined(pieces, combine, index, plan, order)


def call_by_chunks(
    verb: str, data: Any, whole: Any, func: Func, args: Sequence[Any], kwargs: dict[str, Any],
    by: Any, around: tuple[int, int] | None, options: Options,
) -> tuple[Call, np.ndarray | None]:  # fmt: skip
    """Return the ``Call`` for chunks and, with ``by``, the order of its rows."""
    order, plan = None, _plan(data, options, *(around or (0, 0)))
    if by is not None:
        order, plan = _plan_by(whole, by, options)
        data = data.iloc[order]
    call = Call(
        verb=verb,
        work=work_of(func, args, kwargs, "chunk", options),
        data=data,
        n=len(data),
        unit="row",
        label=data.index.__getitem__,
        plan=plan,
    )
    return call, order


def of_no_rows(call: Call) -> Any:
    """Call the function with the empty chunk, which has no position for a runner."""
    with inline_context(call.work):
        return calling(without_coroutines(call.work))(call.data)


def _settled_pieces(
    call: Call, pieces: list[Any], combine: Combine, labels: Callable[[Chunk], pd.Index]
) -> tuple[list[Any], Combine]:
    """Replace failed chunks, and return how the results can be combined then."""
    assert call.plan is not None
    good = {number: piece for number, piece in enumerate(pieces) if type(piece) is not Failed}
    if len(good) == len(pieces):
        return pieces, combine
    blank = concat.blank(good, combine, call.plan, labels)
    returns = Returns([pieces])
    failures.replace_failures(call, returns, lambda _, number, value: blank(number) if value is np.nan else value)
    if combine == "concat" and (not good or call.work.errors == "return"):
        combine = "list"  # exceptions and None cannot be concatenated with frames
    return returns.values(), combine


def _plan(data: pd.DataFrame | pd.Series, options: Options, before: int, after: int) -> tuple[Chunk, ...]:
    n, size = len(data), options.chunk_size
    chunks = cut_for_chunks(n, options.workers, bytes_of(data)) if size is None else cut(0, n, size=size)
    return tuple(
        Chunk(chunk.start, chunk.stop, min(before, chunk.start), min(after, n - chunk.stop)) for chunk in chunks
    ) or (Chunk(0, 0),)


def _plan_by(obj: Any, by: Any, options: Options) -> tuple[np.ndarray, tuple[Chunk, ...]]:
    """Return the order of the rows, and chunks that keep groups whole."""
    n = len(obj)
    number = obj.groupby(by, sort=True, dropna=False, observed=True).ngroup().to_numpy()
    sizes = np.bincount(number)[np.unique(number)] if n else np.array([], dtype=np.intp)
    pieces = pieces_for_chunks(n, options.workers, bytes_of(obj))
    chunks = cut_whole([int(size) for size in sizes], size=options.chunk_size, pieces=pieces)
    by_group = np.argsort(number, kind="stable")
    # Inside a chunk, rows keep their order in the frame.
    order = [np.sort(by_group[chunk.start : chunk.stop]) for chunk in chunks]
    return (np.concatenate(order) if order else by_group), chunks or (Chunk(0, 0),)


def map_items(func: Func, items: list[Any], unit_format: UnitFormat, options: Options) -> list[Any]:
    """Call ``func`` for each item of a list."""
    call = Call(
        verb="map",
        work=work_of(func, (), {}, unit_format, options),
        data=items,
        n=len(items),
        unit="item",
        label=items.__getitem__,
    )
    if not items:
        return []
    with ProgressScope():
        returns = run(call, placement.options_for(func, options))
        failures.replace_failures(call, returns, failures.none_for_nan)
        return returns.values()
