"""Run a call with a compiled function, in threads: ``engine="numba"``.

Some rows are computed by Python too, before all others, and compared. Python also computes the rows for which the
compiled code raises, and a few rows of each chunk: those with its smallest, largest and missing results.
"""

from __future__ import annotations

import functools
import itertools
import math
import queue
import threading
import time
import types
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pdparallel.core.call import Call
from pdparallel.core.cancellation import CancelToken
from pdparallel.core.chunking import Chunk, PendingRanges, PendingUnits
from pdparallel.core.columnar import DTYPES, Numbers, Packed, Runs, Tuples
from pdparallel.core.format import seconds
from pdparallel.core.options import Options
from pdparallel.core.outcome import Failed, Failure, Outcome
from pdparallel.core.units import InColumns
from pdparallel.data.iterate import feed_for
from pdparallel.data.numeric_units import NotNumericError, NumericUnits, nasty_positions, numeric_units
from pdparallel.errors import CompiledResultDiffersError, FunctionNotCompilableError
from pdparallel.execution.collector import ResultCollector
from pdparallel.execution.events import Watch, nobody
from pdparallel.execution.inline import run_inline
from pdparallel.progress.reporter import Bar
from pdparallel.worker.loop import record

__all__ = ["CompiledRunner", "Trial", "trial"]

#: Largest number of units that a trial computes.
MAX_TRIED = 20_000

#: Number of rows that Python computes, too.
MAX_CHECKED = 1000

#: Seconds that a chunk should take: Ctrl-C waits for it.
CHUNK_SECONDS = 0.02

#: Number of units that are not shared by several threads, and largest number of units of a chunk.
MIN_CHUNK, MAX_CHUNK = 4096, 1 << 20

#: Number of units that are timed, for the size of the first chunks.
MAX_TIMED = 100

#: Largest number of rows that Python computes at once after compiled code raised.
MAX_AT_ONCE = 256

#: Largest number of parts of packed and other returns in a chunk.
MAX_PARTS = 64

#: Seconds that an interrupt waits for the chunks that threads compute.
STOP_SECONDS = 2.0

#: Seconds between two looks at cancellation and interrupts while threads work.
LOOK_SECONDS = 0.05

#: What usually makes results differ, for the message.
_CAUSES = (
    "Usual causes: sums of arrays in another order, functions of NumPy with other last digits, or types that compiled "
    "code does not have. Allow small differences with df.par(engine='numba', check=1e-12), or use engine='auto'."
)


class CompiledRunner:
    """Runs the pending units of a call by compiled code."""

    def __init__(
        self, call: Call, options: Options, collector: ResultCollector, bar: Bar, gaps: PendingUnits,
        stop: CancelToken | None, watch: Watch,
    ) -> None:  # fmt: skip
        self._call = call
        self._options = options
        self._collector = collector
        self._bar = bar
        self._gaps = gaps
        self._stop = stop
        self._watch = watch
        self._check = options.check
        #: Seconds of compilation.
        self.seconds = 0.0
        self._random = np.random.default_rng(0)
        self._feed = feed_for(call.work.unit_format, call.work.func, call.work.given, call.work.views)

    def run(self) -> Generator[None, None, None]:
        """Run all pending units; yield each time the collector has got an outcome."""
        made = self.prepare()
        threads = _Threads(self._options.workers)
        try:
            for units, function, kinds in made:
                yield from self._run(threads, units, function, kinds)
                if self._collector.failure is not None:
                    return
        finally:
            threads.end(STOP_SECONDS)

    def prepare(self) -> list[tuple[NumericUnits, Any, _Types]]:
        """Compile the function, and compare some of its results with Python's."""
        from pdparallel.engines.numba import compiled  # imports numba

        call = self._call
        if "raise" in np.geterr().values() or "call" in np.geterr().values():
            raise FunctionNotCompilableError(
                "engine='numba' cannot run this call: np.seterr or np.errstate asks for exceptions, and compiled code "
                "raises none for them."
            )
        try:
            parts = numeric_units(call.data, call.work.unit_format, names_in(call.work.func))
        except NotNumericError as error:
            raise FunctionNotCompilableError(f"engine='numba' cannot run this call: {error}.") from None
        made: list[tuple[NumericUnits, Any, _Types]] = []
        for units in parts:
            try:
                function = compiled(call.work, units.layout, self._check == "exact", time.perf_counter)
            except FunctionNotCompilableError as error:
                raise _with_column(error, units) from error.__cause__
            made.append((units, function, self._checked(units, function)))
        self.seconds = sum(function.seconds for _, function, _ in made)
        took = f"compiled in {seconds(self.seconds)}" if self.seconds else "compiled in an earlier call"
        self._watch.decided(f"engine= names it; {took}", "numba", self._options.workers)
        return made

    # Checks

    def _checked(self, units: NumericUnits, function: Any) -> _Types:
        """Compare some results with Python's; return the types that Python gives."""
        places = (
            nasty_positions(units, MAX_CHECKED, self._random)
            if self._check is not None
            else np.arange(min(1, units.stop - units.start))
        )
        expected = self._by_python(units.start + places)
        length = next((len(one) for one in expected if type(one) is list), 0)
        outs, failed = function.run(units.units(places), len(places), length)
        kinds = _Types(function.kinds, outs, length, units.of_python)
        kinds.unit_seconds = self._seconds_of_a_unit(units, function, length, places[:MAX_TIMED])
        by_python = set(failed)
        results = _rows(outs, kinds.container) if outs else [()] * len(expected)
        for at, (value, found) in enumerate(zip(expected, results, strict=True)):
            if at in by_python:
                continue
            if type(value) is Failed:
                if self._check is not None:
                    self._differs(units.start + int(places[at]), value, found)
                continue
            if not kinds.accepts(value) or (self._check is not None and not self._equal(value, found, kinds)):
                self._differs(units.start + int(places[at]), value, found)
        kinds.refuse_several(self._call)
        return kinds

    def _seconds_of_a_unit(self, units: NumericUnits, function: Any, length: int, places: np.ndarray) -> float:
        """Time compiled code for some units: the first run included the compilation."""
        some = units.units(places)
        began = time.perf_counter()
        function.run(some, len(places), length)
        return (time.perf_counter() - began) / max(1, len(places))

    def _equal(self, value: Any, found: Any, kinds: _Types) -> bool:
        if kinds.container is None:
            return _same(value, found, self._check)
        return len(value) == len(found) and all(
            _same(one, other, self._check) for one, other in zip(value, found, strict=True)
        )

    def _differs(self, position: int, value: Any, found: Any) -> None:
        given = (
            f"raises {type(value.exception).__name__}: {value.exception}"
            if type(value) is Failed
            else f"gives {value!r}"
        )
        place = self._call.where(Chunk(position, position + 1), 0)
        raise CompiledResultDiffersError(
            f"{self._call.verb}, {place}: Python {given}, compiled code gives {found!r}. {_CAUSES}"
        )

    def _by_python(self, positions: np.ndarray, errors: str = "return") -> list[Any]:
        """Call the function itself for units at these positions."""
        call = self._call
        data = _picked(call.data, call.work.unit_format, positions)
        work = replace(call.work, errors=errors)  # type: ignore[arg-type]
        feed = feed_for(work.unit_format, work.func, work.given, work.views)
        outcome = record(work, feed, data, Chunk(0, len(positions)))
        if outcome.failure is not None:
            raise outcome.failure.exception
        return list(outcome.returns)

    # Chunks

    def _run(self, threads: _Threads, units: NumericUnits, function: Any, kinds: _Types) -> Generator[None, None, None]:
        flying: dict[Future[Any], Chunk] = {}
        ready: dict[int, tuple[Chunk, Any]] = {}
        order: list[int] = []
        workers = self._options.workers
        size = self._options.chunk_size or int(
            min(max(CHUNK_SECONDS / kinds.unit_seconds, 1), max(MIN_CHUNK, -(-len(self._gaps) // workers)), MAX_CHUNK)
        )
        while True:
            while len(flying) < 2 * workers and self._collector.accepts_more(len(flying)):
                chunk = self._next(units, size)
                if chunk is None:
                    break
                flying[threads.submit(_computed, units, function, kinds.length, chunk)] = chunk
                order.append(chunk.start)
            if not flying and not ready:
                return
            if flying and order[0] not in ready:
                done, _ = wait(flying, LOOK_SECONDS, FIRST_COMPLETED)
                for future in done:
                    chunk = flying.pop(future)
                    ready[chunk.start] = chunk, future.result()
            if self._stop is not None:
                self._stop.raise_if_cancelled()
            while order and order[0] in ready:
                chunk, result = ready.pop(order.pop(0))
                if self._options.chunk_size is None and result[2]:
                    per_unit = result[2] / len(chunk)
                    size = int(min(max(CHUNK_SECONDS / per_unit, 1), 16 * size, MAX_CHUNK))
                self._watch.begins()
                yield from self._pass_on(units, kinds, chunk, *result)
                if self._collector.failure is not None:
                    return

    def _next(self, units: NumericUnits, size: int) -> Chunk | None:
        if not self._gaps:
            return None
        chunk = self._gaps.first(size)
        if chunk.start >= units.stop:
            return None
        chunk = Chunk(chunk.start, min(chunk.stop, units.stop))
        self._gaps.drop(chunk.stop)
        return chunk

    def _pass_on(
        self, units: NumericUnits, kinds: _Types, chunk: Chunk, outs: list[np.ndarray], failed: list[int],
        took: float, places: list[int],
    ) -> Generator[None, None, None]:  # fmt: skip
        """Complete a chunk by what Python computes, check it, and give it to the collector."""
        if self._check is not None:
            self._check_places(kinds, chunk, outs, places)
        again = sorted({*failed, *kinds.suspicious(outs, self._call)})
        values: dict[int, Any] = {}
        failure: Failure | None = None
        errors = self._call.work.errors
        for start in range(0, len(again), MAX_AT_ONCE):
            some = again[start : start + MAX_AT_ONCE]
            found = self._by_python(np.array(some) + chunk.start, "return" if errors == "raise" else errors)
            values.update(zip(some, found, strict=True))
            large = next((at for at, value in zip(some, found, strict=True) if kinds.shows_mixture(value)), None)
            if large is not None:
                self._refuse_mixture(chunk.start + large, values[large])
            if errors == "raise":
                failure = self._first_failure(chunk, values, some)
                if failure is not None:
                    break
        stop = len(chunk) if failure is None else failure.offset
        returns = kinds.returns(outs, values, stop)
        outcome = Outcome(chunk, returns, failure, took)
        self._watch.did(outcome)
        self._collector.add(outcome)
        self._bar.add(outcome.done, outcome.count_failed, 0)
        yield

    def _refuse_mixture(self, position: int, value: Any) -> None:
        """Refuse an integer of more than 64 bits among numbers whose types are not known."""
        place = self._call.where(Chunk(position, position + 1), 0)
        raise CompiledResultDiffersError(
            f"{self._call.verb}, {place}: Python gives {value!r}, which is too large for compiled code, and in other "
            "rows numbers of other types. Convert them in each row: float(...)."
        )

    def _first_failure(self, chunk: Chunk, values: dict[int, Any], some: list[int]) -> Failure | None:
        """Return the first failure among some units, with the traceback of the function."""
        for at in some:
            if type(values[at]) is Failed:
                outcome = run_inline(self._call, self._feed, Chunk(chunk.start + at, chunk.start + at + 1))
                if outcome.failure is not None:
                    return replace(outcome.failure, offset=at)
                (values[at],) = outcome.returns  # it has succeeded now
        return None

    def _check_places(self, kinds: _Types, chunk: Chunk, outs: list[np.ndarray], places: list[int]) -> None:
        """Compare some results of a chunk with Python's."""
        if not places:
            return
        results = _rows([values[places] for values in outs], kinds.container)
        expected = self._by_python(chunk.start + np.array(places))
        for at, value, found in zip(places, expected, results, strict=True):
            if type(value) is Failed or not kinds.accepts(value) or not self._equal(value, found, kinds):
                self._differs(chunk.start + at, value, found)


class _Threads:
    """Threads that compute chunks. The process can end while they compute: nothing can stop a loop in compiled code."""

    def __init__(self, number: int) -> None:
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._futures: set[Future[Any]] = set()
        self._threads = [
            threading.Thread(target=self._work, name="pdparallel-numba", daemon=True) for _ in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, func: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        self._tasks.put((future, func, args))
        return future

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, func, args = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(func(*args))
                except BaseException as exception:
                    future.set_exception(exception)
            del task, future, func, args  # they keep the data alive

    def end(self, seconds: float) -> None:
        """End the threads; wait at most so long for what they compute."""
        for future in list(self._futures):
            future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))


class Trial(NamedTuple):
    """What compiled code would do for a call."""

    #: Seconds of compilation, of the check of each call, and of a unit in one thread.
    compilation: float = math.nan
    check: float = math.nan
    unit: float = math.nan
    #: Why it cannot, or an empty text.
    problem: str = ""


def trial(call: Call, options: Options) -> Trial:
    """Compile the function of a call, and time it for some units; keep no result."""
    work = replace(call.work, errors="raise")
    check = options.check if options.engine == "numba" else "exact"
    runner = CompiledRunner(
        replace(call, work=work), replace(options, check=check), ResultCollector(call), Bar(), PendingRanges(call.n),
        None, nobody,
    )  # fmt: skip
    try:
        runner.prepare()
        compilation, began = runner.seconds, time.perf_counter()
        made = runner.prepare()
    except (FunctionNotCompilableError, CompiledResultDiffersError) as error:
        return Trial(problem=str(error).partition("\n")[0])
    check_seconds = time.perf_counter() - began
    units, function, kinds = made[0]
    some = Chunk(units.start, min(units.stop, units.start + MAX_TRIED))
    _computed(units, function, kinds.length, some)
    took = min(_computed(units, function, kinds.length, some)[2] for _ in range(3))
    return Trial(compilation, check_seconds, took / len(some))


def _computed(
    units: NumericUnits, function: Any, length: int, chunk: Chunk
) -> tuple[list[np.ndarray], list[int], float, list[int]]:
    """Compute a chunk; return also what Python must compute, the seconds, and the places to check."""
    began = time.perf_counter()
    at = slice(chunk.start - units.start, chunk.stop - units.start)
    outs, failed = function.run(units.units(at), len(chunk), length)
    places = sorted(_extremes(outs) - set(failed))
    return outs, failed, time.perf_counter() - began, places


def _extremes(outs: list[np.ndarray]) -> set[int]:
    """Return the places of the smallest, largest and missing results."""
    places: set[int] = set()
    for values in outs:
        lowest, highest = int(np.argmin(values)), int(np.argmax(values))
        places |= {lowest, highest}  # both find a NaN first
        if values[lowest] != values[lowest]:
            missing = np.isnan(values)
            if not missing.all():
                shown = np.where(missing, values[~missing][0], values)
                places |= {int(np.argmin(shown)), int(np.argmax(shown))}
    return places


def _picked(data: Any, unit_format: str, positions: np.ndarray) -> Any:
    """Return the data of the units at these positions."""
    if isinstance(data, np.ndarray):
        return (
            _picked_units(data.T, positions).T if unit_format.startswith("column") else _picked_units(data, positions)
        )
    if isinstance(data, list):
        return [data[at] for at in positions]
    if isinstance(data, InColumns):
        return type(data)([one for at in positions.tolist() for one in data.cut(at, at + 1).columns])
    return data.iloc[positions]


def _picked_units(data: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return some units. Their values stay apart in memory if they were: then NumPy finds another zero as minimum."""
    taken = data[positions]
    if data.ndim < 2 or data.shape[1] < 2 or data.strides[1] == data.itemsize:
        return np.ascontiguousarray(taken)
    kept = np.empty((len(positions) + 1, data.shape[1]), data.dtype, order="F")[:-1]
    kept[...] = taken
    return kept


def _rows(outs: list[np.ndarray], container: type | None) -> list[Any]:
    """Return results as Python objects, one for each unit."""
    columns = [values.tolist() for values in outs]
    return columns[0] if container is None else list(map(container, zip(*columns, strict=True)))


def _same(value: Any, found: Any, check: Any) -> bool:
    """Return whether a result of compiled code is that of Python."""
    if isinstance(found, bool) or isinstance(value, (bool, np.bool_)):
        return bool(isinstance(value, (bool, np.bool_)) and isinstance(found, bool) and value == found)
    if value != value or found != found:
        return bool(value != value and found != found)
    if check is not None and check != "exact":
        return math.isclose(value, found, rel_tol=check, abs_tol=check if abs(value) < check else 0.0)
    if value == 0 and isinstance(value, float):
        return bool(found == 0 and math.copysign(1, value) == math.copysign(1, found))
    return bool(value == found)


#: Types of Python and NumPy that stand for each kind of dtype.
_TYPES: dict[str, tuple[type, ...]] = {
    "f": (float, np.floating),
    "i": (int, np.integer),
    "u": (np.integer,),
    "b": (bool, np.bool_),
}


class _Types:
    """The types that Python gives for the values of compiled code."""

    def __init__(self, kinds: Any, outs: list[np.ndarray], length: int, of_python: bool) -> None:
        self.container: type | None = kinds.container
        self.length = length
        self._of_python = of_python
        width = len(outs)
        self._mixed = kinds.mixed * width if self.container is list else kinds.mixed
        self._dtypes = [values.dtype for values in outs]
        self._seen: list[set[type]] = [set() for _ in outs]
        self._origins: list[frozenset[str]] = list(
            kinds.origins if len(kinds.origins) == width else kinds.origins[:1] * width
        )
        #: Seconds of a unit in one thread.
        self.unit_seconds = math.inf

    def accepts(self, value: Any) -> bool:
        """Note the types of a return of Python; return whether compiled code has them, too."""
        if (type(value) if type(value) in (tuple, list) else None) is not self.container:
            return False
        values = [value] if self.container is None else value
        if len(values) != len(self._dtypes):
            return False
        for one, dtype, mixed, seen in zip(values, self._dtypes, self._mixed, self._seen, strict=True):
            if type(one) in seen:
                continue
            if isinstance(one, (bool, np.bool_)) != (dtype.kind == "b"):
                return False
            if not isinstance(one, _TYPES[dtype.kind]) and not (mixed and isinstance(one, (int, np.integer))):
                return False
            if isinstance(one, np.generic) and not mixed and one.dtype != dtype and dtype.kind != "b":
                return False
            seen.add(type(one))
        return True

    def shows_types(self, call: Call) -> bool:
        """Return whether the result shows whether a float is one of Python or of NumPy, or an integer."""
        return call.work.errors == "return" or (self.container is not None and call.shows_types)

    def _origins_of(self, number: int) -> set[str]:
        """Return whether a value may be a number of Python, of NumPy, or both, by the code."""
        unit = "python" if self._of_python else "numpy"
        return {unit if one == "unit" else one for one in self._origins[number]}

    def shows_mixture(self, value: Any) -> bool:
        """Return whether a value makes the result one of objects, so that it shows types that are not known here."""
        return (
            self.container is None and isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
            and (any(self._mixed) or len(self._origins_of(0)) > 1 or len(self._seen[0]) > 1)
        )  # fmt: skip

    def refuse_several(self, call: Call) -> None:
        """Refuse a function that returns numbers of Python in some rows and of NumPy in others, if that shows."""
        for number, (seen, dtype) in enumerate(zip(self._seen, self._dtypes, strict=True)):
            kinds = sorted(one.__name__ for one in seen if issubclass(one, _TYPES[dtype.kind]))
            plain = {"f": "float", "i": "int", "u": "int", "b": "bool"}[dtype.kind]
            if len(kinds) <= 1 and len(self._origins_of(number)) > 1:
                kinds = sorted({plain, dtype.type.__name__})
            if len(kinds) > 1 and self.shows_types(call):
                what = "it" if self.container is None else f"value {number} of the {self.container.__name__}"
                raise FunctionNotCompilableError(
                    f"The function cannot be compiled: {what} is {' or '.join(kinds)}, from row to row, and the result "
                    f"shows that. Convert it in each row: {plain}(...)."
                )

    def suspicious(self, outs: list[np.ndarray], call: Call) -> list[int]:
        """Return the places of floats that may be integers in Python, if that matters."""
        if not any(self._mixed):
            return []
        known = not self.shows_types(call) and not call.work.unit_format.endswith("array")
        found: set[int] = set()
        for values, mixed, seen in zip(outs, self._mixed, self._seen, strict=True):
            if not mixed or (known and any(issubclass(one, (float, np.floating)) for one in seen)):
                continue
            with np.errstate(all="ignore"):
                found |= set(np.flatnonzero(values == np.floor(values)).tolist())
        return sorted(found)

    def type_of(self, number: int) -> type:
        """Return the type of a value in Python."""
        dtype = self._dtypes[number]
        fitting = {one for one in self._seen[number] if issubclass(one, _TYPES[dtype.kind])}
        plain = {"f": float, "i": int, "u": int, "b": bool}[dtype.kind]
        if len(fitting) == 1:
            return fitting.pop()
        if not fitting and self._origins_of(number) == {"numpy"}:  # Python computed all rows that were tried
            return dtype.type
        return plain

    def returns(self, outs: list[np.ndarray], values: dict[int, Any], stop: int) -> list[Any] | Packed:
        """Return the first returns of a chunk; ``values`` has those that Python computed."""
        parts: list[Any] = []
        start = 0
        for at in sorted(values):
            if at >= stop:
                break
            if at > start:
                parts.append(self._packed(outs, start, at))
            if parts and isinstance(parts[-1], list):
                parts[-1].append(values[at])
            else:
                parts.append([values[at]])
            start = at + 1
        if start < stop or (outs and not parts):
            parts.append(self._packed(outs, start, stop))
        if not parts:
            return []
        if len(parts) == 1:
            only: list[Any] | Packed = parts[0]
            return only
        if len(parts) <= MAX_PARTS:
            return Runs(tuple(parts))
        return list(itertools.chain.from_iterable(parts))

    def _packed(self, outs: list[np.ndarray], start: int, stop: int) -> Packed:
        columns = []
        for number, values in enumerate(outs):
            kind = self.type_of(number)
            dtype = DTYPES.get(kind, values.dtype)
            columns.append(Numbers(values[start:stop].astype(dtype, copy=False), kind))
        return columns[0] if self.container is None else Tuples(tuple(columns), self.container)


def names_in(func: Any) -> frozenset[Any]:
    """Return all texts and integers that a function may use as labels, with those of its helpers."""
    found: set[Any] = set()
    seen: set[int] = set()

    def take(value: Any) -> None:
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            found.add(value)
        elif isinstance(value, (tuple, list, set, frozenset)):
            for one in value:
                take(one)
        elif isinstance(value, types.CodeType):
            found.update(value.co_names)
            take(value.co_consts)
        elif id(value) not in seen:
            seen.add(id(value))
            value = getattr(value, "py_func", value)
            if isinstance(value, functools.partial):
                take((value.func, *value.args, *value.keywords.values()))
            if isinstance(value, types.FunctionType):
                take(value.__code__)
                take(value.__defaults__ or ())
                space = value.__globals__
                take(tuple(space[name] for name in value.__code__.co_names if name in space))
                for cell in value.__closure__ or ():
                    try:
                        take(cell.cell_contents)
                    except ValueError:  # not yet assigned
                        continue

    take(func)
    return frozenset(found)


def _with_column(error: FunctionNotCompilableError, units: NumericUnits) -> FunctionNotCompilableError:
    """Add the reason why a column cannot be read, if the function names such a column."""
    if not units.without:
        return error
    reasons = "; ".join(units.without.values())
    return FunctionNotCompilableError(
        f"{error}\nOf the columns that the function names, these are not numbers: {reasons}."
    )
