"""Progress: one bar for a call, counting rows (columns, items); tqdm does the drawing, and it can never break a run."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from pdparallel.typing import Progress

__all__ = ["bar"]

Advance = Callable[[int], None]


@contextlib.contextmanager
def bar(kind: Progress, total: int | None, label: str, unit: str) -> Iterator[Advance]:
    """A bar for the length of a ``with`` block, as a function that is told how many units are done more.

    Parameters
    ----------
    kind : bool, str or callable
        The option ``progress``.
    total : int or None
        Units in all; None where that is not known.
    label, unit : str
        What stands before the bar, and what it counts.
    """
    if kind is False or total == 0:
        yield lambda more: None
        return
    draw, end = _called(kind, total) if callable(kind) else _drawn(kind, total, label, unit)
    broken = False

    def advance(more: int) -> None:
        nonlocal broken
        if broken:
            return
        try:
            draw(more)
        except Exception as error:  # whatever a callable or a closed stream raises: the run matters more
            broken = True
            warnings.warn(f"the progress display failed and is off: {type(error).__name__}: {error}", stacklevel=2)

    try:
        yield advance
    finally:
        with contextlib.suppress(Exception):
            end()


def _called(kind: Callable[[int, Any], object], total: int | None) -> tuple[Advance, Callable[[], None]]:
    done = 0

    def draw(more: int) -> None:
        nonlocal done
        done += more
        kind(done, total)

    return draw, lambda: None


def _drawn(kind: object, total: int | None, label: str, unit: str) -> tuple[Advance, Callable[[], None]]:
    module = {"text": "tqdm.std", "notebook": "tqdm.notebook"}.get(str(kind), "tqdm.auto")
    large = total is None or total >= 10_000
    try:
        drawn = importlib.import_module(module).tqdm(total=total, desc=label, unit=unit, unit_scale=large)
    except Exception as error:  # no widgets, no stream: run without a bar
        warnings.warn(f"no progress display: {type(error).__name__}: {error}", stacklevel=2)
        return (lambda more: None), (lambda: None)
    return drawn.update, drawn.close
