"""The result of ``explain``: figures of a call before it runs, as text in a terminal or a table in a notebook."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pdparallel.core.format import LARGE_SHARE, aligned, as_html, few, seconds, share, size

__all__ = ["Explanation", "counted"]

#: Largest number of characters in a line of text, without its name.
WIDTH = 90


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Explanation:
    """Report on a call before it runs, with reasons; made by ``df.par.explain(func)``.

    Times are in seconds. Values that are not known are NaN or None.

    Attributes
    ----------
    verb, unit : str
        The method, and its units: row, column, value or group.
    units : int
        Number of units.
    calls : int
        Number of calls of the function for this report. It keeps no results.
    sampled : tuple of (int, int)
        The positions of these units as ranges, in the order of the calls. Some units were called again in pandas' loop.
    cost : float
        Seconds of a unit in this process: making the unit, and the function.
    function : float
        Seconds of the function alone, with its reads of the unit.
    handing : float
        Seconds to make a unit here.
    pandas_handing : float
        Seconds that pandas takes to make a row; NaN for other units.
    pandas_cost : float
        Seconds of a unit in pandas.
    waiting : float
        The part of the time in which the function waited (for a file, the network, ``sleep``) instead of computing.
    travel_parent, travel_workers : float
        Seconds to send a unit and its result, in this process and in the workers. The workers share theirs.
    bytes_data, bytes_unit, bytes_return : float
        Bytes of all data, of a unit, and of its result, as they are sent.
    bytes_function : int or None
        Bytes of the function and its arguments; None if they cannot be sent.
    engine : str
        The engine of the call: ``"here"`` for this process alone, else the name of an engine.
    warm : bool
        True if the workers of ``engine="auto"`` and ``"process"`` already run.
    workers, cores : int
        Workers that share the work, and cores that this process may use.
    chunk_size : int
        Units of a chunk, as soon as the cost is known.
    reason : str
        The reason for this engine.
    seconds, seconds_here, seconds_pandas : float
        Expected seconds of the call, of the same call in this process alone, and of pandas.
    speed_up : float
        Expected ``seconds_pandas`` divided by ``seconds``.
    lazy : bool or None
        True if the function gets rows without a Series for each; None if its units are not rows as Series.
    columns_read, columns_unread : tuple or None
        The columns that the function read, and the columns that it neither read nor names. None if not known.
    compiled : str
        What ``engine="numba"`` would do, or why it cannot; "" if numba is not installed or was not tried.
    limit : str
        The limit of the speed-up.
    problem : str
        The exception of the function, or the reason that it cannot be sent; "" if there is none.
    advice : tuple of str
        Changes that make the call faster.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> found = pd.Series(range(100)).par.explain(lambda value: value * 2)
    >>> found.units, found.engine, found.problem
    (100, 'here', '')
    """

    verb: str
    unit: str
    units: int
    calls: int = 0
    sampled: tuple[tuple[int, int], ...] = ()
    cost: float = math.nan
    function: float = math.nan
    handing: float = math.nan
    pandas_handing: float = math.nan
    pandas_cost: float = math.nan
    waiting: float = math.nan
    travel_parent: float = 0.0
    travel_workers: float = 0.0
    bytes_data: float = math.nan
    bytes_unit: float = math.nan
    bytes_return: float = math.nan
    bytes_function: int | None = None
    engine: str = "here"
    warm: bool = False
    workers: int = 1
    cores: int = 1
    chunk_size: int = 0
    reason: str = ""
    seconds: float = math.nan
    seconds_here: float = math.nan
    seconds_pandas: float = math.nan
    speed_up: float = math.nan
    lazy: bool | None = None
    columns_read: tuple[Any, ...] | None = None
    columns_unread: tuple[Any, ...] | None = None
    compiled: str = ""
    limit: str = ""
    problem: str = ""
    advice: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes by name.

        Returns
        -------
        dict
            The values by name, for example as a row of a frame that compares several functions.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> pd.Series(["a", "bc"]).par.explain(len).to_dict()["units"]
        2
        """
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _title(self) -> str:
        return f"{self.verb} of {counted(self.units, self.unit)}"

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Yield the name and text of each line."""
        yield "measured", self._measured()
        if self.problem:
            yield "problem", self.problem
        if not math.isnan(self.cost):
            yield f"a {self.unit}", f"{seconds(self.cost)} here, {seconds(self.pandas_cost)} in pandas"
            yield "  the function", seconds(self.function) + self._waits()
            yield "  making it", self._handing()
            yield (
                "  sending it",
                f"{seconds(self.travel_parent)} in this process, {seconds(self.travel_workers)} in workers",
            )
        if not math.isnan(self.bytes_unit):
            returned = "" if math.isnan(self.bytes_return) else f", a return {size(self.bytes_return)}"
            yield "bytes", f"a {self.unit} {size(self.bytes_unit)}, all {size(self.bytes_data)}{returned}"
        if self.bytes_function is not None:
            yield "  the function", size(self.bytes_function)
        if self.columns_read is not None:
            yield "columns read", few(self.columns_read) if self.columns_read else "none"
        if self.engine:
            yield "runs in", self._done_by()
        if self.reason:
            yield "because", self.reason
        if not math.isnan(self.seconds):
            yield "expected", self._expected()
        if self.compiled:
            yield "with numba", self.compiled
        if self.limit:
            yield "limited by", self.limit
        for number, one in enumerate(self.advice):
            yield "" if number else "advice", one

    def _measured(self) -> str:
        if not self.calls:
            return "nothing: the function was not called"
        units = sum(stop - start for start, stop in self.sampled)
        places = len(self.sampled)
        where = f" at {places} places, spread evenly" if places > 1 else ""
        times = "once" if self.calls == 1 else f"{self.calls:,} times"
        return f"the function was called {times}, with {counted(units, self.unit)}{where}; the results are not kept"

    def _waits(self) -> str:
        return f", {share(self.waiting)} of it waiting" if self.waiting >= LARGE_SHARE else ""

    def _handing(self) -> str:
        if math.isnan(self.pandas_handing):
            return seconds(self.handing)
        kind = "" if self.lazy is None else ", as lazy rows" if self.lazy else ", as real Series"
        return f"{seconds(self.handing)}{kind}; pandas takes {seconds(self.pandas_handing)} to make a Series"

    def _done_by(self) -> str:
        if self.engine == "here":
            return f"this process ({counted(self.cores, 'core')} available)"
        start = (
            "" if self.engine not in ("auto", "process") else ", already running" if self.warm else ", not started yet"
        )
        if self.engine == "asyncio":
            return f"engine 'asyncio', up to {counted(self.workers, 'call')} at once"
        chunks = f", chunks of {counted(self.chunk_size, self.unit)}"
        return f"engine {self.engine!r}, {counted(self.workers, 'worker')}{start}{chunks}"

    def _expected(self) -> str:
        text = f"{seconds(self.seconds)}; this process alone {seconds(self.seconds_here)}"
        if math.isnan(self.seconds_pandas):
            return text
        return f"{text}, pandas {seconds(self.seconds_pandas)}: speed-up {self.speed_up:.1f}"

    def __repr__(self) -> str:
        rows = [
            (f"  {'' if number else name}", part)
            for name, text in self._lines()
            for number, part in enumerate(textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))
        ]
        return "\n".join([self._title(), aligned(rows, "ll")])

    def _repr_html_(self) -> str:
        return as_html(((name.strip(), text) for name, text in self._lines()), "ll", head=False, title=self._title())


def counted(number: int, unit: str) -> str:
    """Return a number with its unit, as ``1 row`` or ``1,000 rows``."""
    return f"{number:,} {unit}" + ("" if number == 1 else "s")
