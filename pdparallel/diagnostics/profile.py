"""Report of ``with pdparallel.profile() as p:`` on the time of calls, as a table, a time line, and frames.

:mod:`pdparallel.execution.events` measures the calls while they run. Outside of such a block it measures nothing.
"""

from __future__ import annotations

import math
import numbers
import time
from contextlib import ExitStack
from typing import Any, Self

import pandas as pd

from pdparallel.core.call import Call
from pdparallel.core.format import MAIN_SHARE, aligned, as_html, seconds, share, size
from pdparallel.core.options import Options
from pdparallel.core.tracebacks import trim_tracebacks
from pdparallel.errors import InvalidOptionError
from pdparallel.execution.events import observing
from pdparallel.execution.records import ChunkRecord, Observer, Record

__all__ = ["Profile", "profile"]

#: Columns of the table and their meanings, which notebooks show.
_MEANINGS = {
    "call": "The number of the call.",
    "verb": "The method that was called.",
    "units": "The rows, columns, values, groups or items.",
    "engine": "Who did the work; 'here' is this process.",
    "workers": "How many workers shared the work.",
    "chunks": "In how many parts the units were handed out.",
    "time": "From the beginning of the call to its result.",
    "function": "The time of the function, in all workers together.",
    "transport": "The time to write and read what travels, in all processes together.",
    "shaping": "The time in which pandas makes the result.",
    "idle": "The part of the time of the workers in which they did nothing.",
    "cores kept busy": "The time of the function, divided by the time of the call. This is no speed-up over pandas.",
    "speed-up": "The time of pandas, divided by the time of the call.",
}

#: Alignment of these columns; the one of "speed-up" may be absent.
_LETTERS = "rlrlrrrrrrrrr"

#: Seconds of loading above which a note reports it.
SHOWN_LOADING_SECONDS = 0.5


class Profile(Observer):
    """Report on the time of calls; made by :func:`profile`.

    You can read it while calls still run, such as calls in the background. It then shows the results so far.

    Parameters
    ----------
    pandas_seconds : float, optional
        Seconds that pandas takes for the same calls.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> with pdparallel.profile() as p:
    ...     doubled = pd.Series([1, 2, 3]).par.map(lambda value: value * 2)
    ...
    >>> len(p), p.calls["units"].tolist()
    (1, [3])
    """

    def __init__(self, pandas_seconds: float | None = None) -> None:
        self._pandas_seconds = math.nan if pandas_seconds is None else pandas_seconds
        self._records: list[Record] = []
        self._began = time.perf_counter()
        self._looking = ExitStack()

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._looking.enter_context(observing(self))
        return self

    def __exit__(self, *exception: object) -> None:
        self._looking.close()

    def begins(self, record: Record, call: Call, options: Options) -> None:
        """Keep the record of a call."""
        self._records.append(record)

    def __len__(self) -> int:
        """Return the number of calls."""
        return len(self._records)

    # Figures

    @property
    def speed_up(self) -> float:
        """The speed-up over pandas: the time of pandas, divided by the time of the calls.

        Returns
        -------
        float
            NaN if :func:`profile` has no ``pandas_seconds``, or if a call has not ended.

        Examples
        --------
        >>> import math
        >>> import pandas as pd, pdparallel
        >>> with pdparallel.profile() as p:
        ...     doubled = pd.Series([1, 2, 3]).par.map(lambda value: value * 2)
        ...
        >>> math.isnan(p.speed_up)
        True
        """
        taken = _seconds_of_any([(record.began, record.began + record.seconds) for record in self._records])
        return self._pandas_seconds / taken if taken else math.nan

    @property
    def calls(self) -> pd.DataFrame:
        """One row for each call, by its number.

        Returns
        -------
        DataFrame
            - ``verb``: the method. ``unit`` and ``units``: the kind and number of its units. ``kept``: the units that
              were in a checkpoint.
            - ``engine``: its name, or ``"here"`` for this process without an engine. ``workers``: their number.
              ``why``: the reason for this engine.
            - ``chunks``: their number. ``lost``: the chunks that ran again because their worker ended. ``retried``: the
              calls that ran again after an exception of ``retry_on``.
            - ``began``: seconds from the start of the block. ``seconds``: from the start of the call to its result.
            - ``function``: seconds of the function in all workers, with making the units and waiting for retries.
            - ``waiting``: the part of the function's time in which it waited, for example for a network. NaN if the
              call was too short to measure it. Threads also wait for the GIL.
            - ``loading``: seconds to load the function in workers, with its imports.
            - ``transport``: seconds to write and read all data that is sent, in all processes.
            - ``shaping``: seconds to build the result.
            - ``idle``: the part of the workers' time without any of this work.
            - ``cores_busy``: seconds of the function for each second of the call. This is no speed-up over pandas.
            - ``speed_up``: the speed-up over pandas if it is known and this is the only call; else NaN.
            - ``bytes_once``, ``bytes_out``, ``bytes_back``: bytes sent once for the whole call, sent with the chunks,
              and received.
            - ``error``: the type of the exception that ended the call, or "".

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> with pdparallel.profile() as p:
        ...     doubled = pd.Series([1, 2, 3]).par.map(lambda value: value * 2)
        ...
        >>> p.calls[["verb", "units", "engine", "workers", "chunks"]].to_dict("records")
        [{'verb': 'map', 'units': 3, 'engine': 'here', 'workers': 1, 'chunks': 1}]
        """
        rows = [self._of_call(record) for record in self._records]
        index = pd.RangeIndex(1, len(rows) + 1, name="call")
        return pd.DataFrame(rows, index=index, columns=list(self._of_call(_NONE)))

    def _of_call(self, record: Record) -> dict[str, Any]:
        pieces = list(record.pieces)
        return {
            "verb": record.verb,
            "unit": record.unit,
            "units": record.units or sum(map(len, pieces)),
            "kept": record.kept,
            "engine": record.engine,
            "workers": record.workers,
            "why": record.why,
            "chunks": len(pieces),
            "lost": record.lost,
            "retried": record.retried,
            "began": record.began - self._began,
            "seconds": record.seconds,
            "function": record.function,
            "waiting": record.waiting,
            "loading": record.loading,
            "transport": record.transport,
            "shaping": record.shaping,
            "idle": record.idle,
            "cores_busy": record.cores_busy,
            "speed_up": self.speed_up if len(self._records) == 1 else math.nan,
            "bytes_once": record.once,
            "bytes_out": sum(piece.out for piece in pieces),
            "bytes_back": sum(piece.back for piece in pieces),
            "error": record.error,
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each chunk, in the order of their results.

        Returns
        -------
        DataFrame
            - ``call``: the number of the call. ``verb``: its method.
            - ``start`` and ``stop``: positions of the units. ``units``: their number.
            - ``worker``: ``"parent"`` for this process, else the number of a worker, from 1 on. ``pid`` and ``thread``:
              those of the operating system; 0 if not known.
            - ``sent`` to the engine, ``began`` and ``ended`` in the worker, ``received`` by this process: seconds from
              the start of the block.
            - ``function``: seconds of the function, with making the units. ``waited``: the part of them in which it
              waited; NaN if not known.
            - ``load_function``, ``load`` (the data), ``pack``: seconds in the worker. ``write``, ``read``: seconds in
              this process.
            - ``bytes_out``, ``bytes_back``: bytes of the task and its result; 0 if only references are sent.
            - ``failed``: True if the function raised an exception that ended the chunk. ``retried``: the number of
              calls that ran again.

        Notes
        -----
        A worker on another machine has another clock. Its times are shifted so that a chunk ends when its result
        arrives.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> with pdparallel.profile() as p:
        ...     doubled = pd.Series([1, 2, 3]).par(engine="serial", chunk_size=2).map(lambda value: value * 2)
        ...
        >>> p.to_frame()[["call", "start", "stop", "units", "worker"]].to_dict("list")
        {'call': [1, 1], 'start': [0, 2], 'stop': [2, 3], 'units': [2, 1], 'worker': ['parent', 'parent']}
        """
        names = self.workers()
        rows = [
            self._of_piece(number, record, piece, names)
            for number, record in enumerate(self._records, 1)
            for piece in list(record.pieces)
        ]
        return pd.DataFrame(rows, columns=list(self._of_piece(0, _NONE, ChunkRecord(0, 0), {})))

    def _of_piece(
        self, number: int, record: Record, piece: ChunkRecord, names: dict[tuple[int, int], str]
    ) -> dict[str, Any]:
        began = self._began
        return {
            "call": number,
            "verb": record.verb,
            "start": piece.start,
            "stop": piece.stop,
            "units": len(piece),
            "worker": names.get((piece.pid, piece.thread), "?"),
            "pid": piece.pid,
            "thread": piece.thread,
            "sent": piece.sent - began,
            "began": piece.began - began,
            "ended": piece.written - began,
            "received": piece.received - began,
            "function": piece.seconds,
            "waited": piece.waited,
            "load_function": piece.ready - piece.began,
            "load": piece.loaded - piece.ready,
            "pack": piece.written - piece.called,
            "write": piece.sent - piece.writing,
            "read": piece.taken - piece.received,
            "bytes_out": piece.out,
            "bytes_back": piece.back,
            "failed": piece.failed,
            "retried": piece.retried,
        }

    def workers(self) -> dict[tuple[int, int], str]:
        """Name each worker, by process and thread: ``"parent"`` for this process, else a number.

        Returns
        -------
        dict
            Names by (pid, thread) of the operating system, in the order of the first chunks.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> with pdparallel.profile() as p:
        ...     doubled = pd.Series([1, 2, 3]).par(engine="serial").map(lambda value: value * 2)
        ...
        >>> list(p.workers().values())
        ['parent']
        """
        names: dict[tuple[int, int], str] = {}
        count = 0
        pieces = [(record, piece) for record in self._records for piece in list(record.pieces) if piece.pid]
        for record, piece in sorted(pieces, key=lambda one: one[1].began):
            key = (piece.pid, piece.thread)
            if key in names:
                continue
            if piece.here or (piece.pid == record.pid and record.engine == "serial"):
                names[key] = "parent"
            else:
                count += 1
                names[key] = str(count)
        return names

    # Text and tables

    def _rows(self) -> list[tuple[str, ...]]:
        # The seconds of pandas are for the whole block.
        is_known = len(self) == 1 and not math.isnan(self.speed_up)
        rows = [tuple(name for name in _MEANINGS if is_known or name != "speed-up")]
        for number, call in enumerate(map(self._of_call, self._records), 1):
            units = call["units"]
            rows.append(
                (
                    str(number), call["verb"], f"{units:,} {call['unit']}{'' if units == 1 else 's'}", call["engine"],
                    str(call["workers"]), str(call["chunks"]), seconds(call["seconds"]), seconds(call["function"]),
                    seconds(call["transport"]), seconds(call["shaping"]), share(call["idle"]),
                    "-" if pd.isna(call["cores_busy"]) else f"{call['cores_busy']:.2f}",
                    *([f"{call['speed_up']:.2f}"] if is_known else []),
                )
            )  # fmt: skip
        return rows

    def _notes(self) -> list[str]:
        """Return a line for each call with its reason, bytes and problems."""
        notes = []
        for number, record in enumerate(self._records, 1):
            call = self._of_call(record)
            parts = [f"{number}: {record.engine}, because {record.why}" if record.why else f"{number}: it runs"]
            if record.once or call["bytes_out"]:
                out, back = size(record.once + call["bytes_out"]), size(call["bytes_back"])
                parts.append(f"{out} went out, {back} came back")
            if record.loading > SHOWN_LOADING_SECONDS:
                parts.append(f"{seconds(record.loading)} of the workers' time went into loading the function")
            if record.waiting >= MAIN_SHARE:
                parts.append(f"the function waited {share(record.waiting)} of its time")
            if record.kept:
                parts.append(f"{record.kept:,} {record.unit}s were in the checkpoint")
            if record.lost:
                parts.append(f"{record.lost} chunks lost their worker")
            if record.retried:
                again = "1 call" if record.retried == 1 else f"{record.retried:,} calls"
                parts.append(f"{again} ran again after an exception")
            if record.error:
                parts.append(f"ended by {record.error}")
            notes.append("; ".join(parts))
        return notes

    def _title(self) -> str:
        many = len(self) > 1 and not math.isnan(self.speed_up)
        speed_up = f", speed-up over pandas {self.speed_up:.2f}" if many else ""
        return f"pdparallel profile: {len(self)} call{'' if len(self) == 1 else 's'}{speed_up}"

    def __repr__(self) -> str:
        if not self._records:
            return self._title()
        rows = self._rows()
        return "\n".join([self._title(), aligned(rows, _LETTERS[: len(rows[0])]), *self._notes()])

    def _repr_html_(self) -> str:
        from html import escape

        rows = self._rows()
        table = as_html(rows, _LETTERS[: len(rows[0])], head=True, title=self._title())
        notes = "".join(f"<div>{escape(note)}</div>" for note in self._notes())
        meanings = as_html([(name, _MEANINGS[name]) for name in rows[0]], "ll", head=False, title="columns")
        return f"{table}{notes}<details><summary>What the columns mean</summary>{meanings}</details>"

    def plot(self, ax: Any = None) -> Any:
        """Draw a time line of this process and of each worker.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            The Axes to draw on; a new figure by default.

        Returns
        -------
        Axes
            You can save its ``figure``.

        Raises
        ------
        ImportError
            If matplotlib is not installed. :attr:`calls` and :meth:`to_frame` do not need it.

        Examples
        --------
        >>> import pandas as pd, pdparallel
        >>> with pdparallel.profile() as p:
        ...     doubled = pd.Series([1, 2, 3]).par.map(lambda value: value * 2)
        ...
        >>> p.plot().figure.savefig("profile.png")  # doctest: +SKIP
        """
        from pdparallel.diagnostics.plot import draw

        return draw(list(self._records), self.workers(), self._began, ax)


_NONE = Record("", "", 0, "", 0.0)


def _seconds_of_any(spans: list[tuple[float, float]]) -> float:
    """Return the seconds that at least one of the spans covers; NaN if one has no end."""
    seconds, until = 0.0, -math.inf
    for start, stop in sorted(spans):
        if math.isnan(stop):
            return math.nan
        seconds += max(0.0, stop - max(start, until))
        until = max(until, stop)
    return seconds


@trim_tracebacks
def profile(pandas_seconds: float | None = None) -> Profile:
    """Measure the calls inside a ``with`` block, and report their time.

    Parameters
    ----------
    pandas_seconds : float, optional
        Seconds that pandas takes for the same calls, if you have measured that. The profile then has a speed-up.
        ``df.par.explain(func).seconds_pandas`` is an estimate.

    Returns
    -------
    Profile
        A table in a terminal and in a notebook. ``p.plot()`` draws a time line. ``p.calls`` is a frame with a row for
        each call, and ``p.to_frame()`` has a row for each chunk.

    Raises
    ------
    InvalidOptionError
        If ``pandas_seconds`` is no number of seconds.

    Notes
    -----
    It sees the calls of the block, in this thread or asyncio task. It also sees calls that begin in the block and
    continue in the background. A block may contain other blocks. Calls that go to pandas (names of functions, empty
    frames) do not count. Measuring costs some microseconds a chunk. Some calls start in pandas' own loop, such as a few
    values of a Series. In the block they start in the loop of pdparallel.

    ``logging.getLogger("pdparallel")`` shows the same at level DEBUG, for each call and each chunk.

    Examples
    --------
    >>> import pandas as pd, pdparallel
    >>> df = pd.DataFrame({"a": [1, 2, 3]})
    >>> with pdparallel.profile() as p:
    ...     doubled = df.par.apply_rows(lambda row: row["a"] * 2)
    ...
    >>> len(p), p.calls["verb"].tolist(), p.calls["engine"].tolist()
    (1, ['apply_rows'], ['here'])
    """
    if pandas_seconds is not None:
        is_number = isinstance(pandas_seconds, numbers.Real) and not isinstance(pandas_seconds, bool)
        if not is_number or pandas_seconds <= 0 or math.isinf(pandas_seconds):
            raise InvalidOptionError("pandas_seconds", pandas_seconds, "a number of seconds above 0, or None")
    return Profile(pandas_seconds)
