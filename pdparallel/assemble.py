"""Assemble: one pandas object from the recorded returns, shaped once, by pandas itself.

Joining the results of ``apply`` on chunks is wrong: whether pandas makes floats of an int and a None, or a frame of
lists, depends on *all* returns together.  So pandas' own ``apply`` or ``map`` runs once more in the parent, over
the real frame or a stand-in of the same shape, with a function that only hands out what was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pdparallel.errors import InvalidOptionError
from pdparallel.plan import Chunk
from pdparallel.typing import Combine, ResultType

__all__ = ["combined", "in_row_order", "replay_apply", "replay_map", "without_overlap"]


def _hand_out(returns: Sequence[Any]) -> Any:
    following = iter(returns).__next__
    return lambda *_args, **_kwargs: following()


def replay_apply(df: pd.DataFrame, returns: Sequence[Any], axis: int, raw: bool, result_type: ResultType) -> Any:
    """What ``df.apply`` would have made of these returns.

    Parameters
    ----------
    df : DataFrame
        The frame of the call.
    returns : sequence
        One for each row (axis 1) or column (axis 0), in order.
    axis, raw, result_type
        As in :meth:`pandas.DataFrame.apply`.
    """
    target: Any = df if result_type == "broadcast" or type(df) is not pd.DataFrame else _stand_in(df, axis, raw)
    return target.apply(_hand_out(returns), axis=axis, raw=raw, result_type=result_type)


def _stand_in(df: pd.DataFrame, axis: int, raw: bool) -> pd.DataFrame:
    """A frame that pandas shapes results upon as upon ``df``, but whose rows cost nothing to hand out."""
    if raw:
        values = np.broadcast_to(np.int8(0), df.shape)
        stand_in = pd.DataFrame(values, index=df.index, columns=df.columns, copy=False)
    elif axis == 1:
        stand_in = pd.DataFrame(np.zeros((len(df), 1), np.int8), index=df.index)
    else:
        return df
    stand_in = stand_in.set_flags(allows_duplicate_labels=df.flags.allows_duplicate_labels)
    stand_in.attrs = df.attrs
    return stand_in


def replay_map(s: pd.Series, returns: Sequence[Any], verb: str, **how: Any) -> Any:
    """What ``s.map`` or ``s.apply`` would have made of these returns.

    Parameters
    ----------
    s : Series
        The Series of the call.
    returns : sequence
        One for each call that pandas makes, in order.
    verb : {"map", "apply"}
        Which of the two.
    **how
        Passed on: ``na_action=`` of map.
    """
    if isinstance(s.dtype, pd.CategoricalDtype):
        # Whether the result is categorical depends upon what became of np.nan *being* np.nan; a nan that travelled
        # is another object.
        returns = [np.nan if type(value) is float and value != value else value for value in returns]
    return getattr(s, verb)(_hand_out(returns), **how)


def combined(pieces: list[Any], combine: Combine) -> Any:
    """The results of ``apply_chunks`` as one, or as a list.

    Parameters
    ----------
    pieces : list
        What the function returned, in order of the chunks.
    combine : {"auto", "concat", "list"} or callable
        ``"auto"``: frames and Series are concatenated, arrays stacked along axis 0, anything else is a list.
    """
    try:
        return _combined(pieces, combine)
    except Exception as error:
        # The work of hours may lie in the pieces: whoever catches the error gets them.
        error.add_note(f"pdparallel: the results of all {len(pieces)} chunks are kept in this exception's .pieces")
        error.pieces = pieces  # type: ignore[attr-defined]
        raise


def _combined(pieces: list[Any], combine: Combine) -> Any:
    if callable(combine):
        return combine(pieces)
    kinds = {_kind(piece) for piece in pieces}
    if combine == "list" or (combine == "auto" and (len(kinds) != 1 or kinds == {"other"})):
        return pieces
    if len(pieces) == 1 and kinds != {"other"}:
        return pieces[0]
    if kinds == {"array"}:
        return np.concatenate(pieces, axis=0)
    if kinds <= {"frame", "series"}:
        return pd.concat(pieces)
    raise InvalidOptionError(
        "combine", combine, "'auto', 'list' or a callable for a function that returns "
        + " and ".join(sorted({type(piece).__name__ for piece in pieces})),
        "'concat' joins frames, Series or arrays of at least one dimension.",
    )  # fmt: skip


def _kind(piece: Any) -> str:
    if isinstance(piece, pd.DataFrame):
        return "frame"
    if isinstance(piece, pd.Series):
        return "series"
    if isinstance(piece, np.ndarray) and piece.ndim > 0:
        return "array"
    return "other"


def without_overlap(piece: Any, chunk: Chunk) -> Any:
    """A chunk's result without the rows that belong to its neighbours.

    Raises
    ------
    ValueError
        Where the result has not one row for each row that the function was given.
    """
    given = len(chunk) + chunk.before + chunk.after
    if _kind(piece) == "other" or len(piece) != given:
        got = f"{len(piece)} rows" if _kind(piece) != "other" else f"a {type(piece).__name__}"
        raise ValueError(
            f"with overlap= the function must return a frame, Series or array with one row for each row of its chunk: "
            f"it was given {given} rows and returned {got}, so the neighbours' rows cannot be taken away again"
        )
    cut = slice(chunk.before, given - chunk.after)
    return piece[cut] if isinstance(piece, np.ndarray) else piece.iloc[cut]


def in_row_order(pieces: list[Any], index: pd.Index, order: np.ndarray, plan: Sequence[Chunk]) -> list[Any] | None:
    """With ``by=``: the pieces as one in the frame's own order of rows, where each has exactly the rows of its chunk.

    Parameters
    ----------
    pieces : list
        What the function returned for each chunk.
    index : Index
        Row labels in the order of the chunks.
    order : ndarray of int
        Position in the frame of each of these rows.
    plan : sequence of Chunk
        The chunks.

    Returns
    -------
    list of one, or None
        None where some piece has other rows than its chunk, so that only the order of the chunks is left.
    """
    for piece, chunk in zip(pieces, plan, strict=True):
        if not isinstance(piece, (pd.DataFrame, pd.Series)) or not piece.index.equals(index[chunk.start : chunk.stop]):
            return None
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return [pd.concat(pieces).iloc[back]]
