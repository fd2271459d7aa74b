"""Works: what is measured, each with pandas' way, ours, the bare function, and the speed-up that is to be reached.

Importing this module does not import pdparallel: peers' workers import it, some anew at each call, and are not to pay
for that.  ``data.par`` is there once the measuring side has imported pdparallel.

All functions are of this module, so that every peer can send them to its workers, the plain multiprocessing included.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

# Functions


def haversine(row: pd.Series) -> float:
    """Kilometres between two points of a row, in plain Python."""
    lat1, lat2 = math.radians(row["lat1"]), math.radians(row["lat2"])
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin(math.radians(row["lon2"] - row["lon1"]) / 2) ** 2
    return 12_742 * math.asin(math.sqrt(half))


def haversine_by_attribute(row: Any) -> float:
    """Kilometres between two points of a row, read as ``row.x``."""
    lat1, lat2 = math.radians(row.lat1), math.radians(row.lat2)
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin(math.radians(row.lon2 - row.lon1) / 2) ** 2
    return 12_742 * math.asin(math.sqrt(half))


def haversine_of_tuple(row: Any) -> float:
    """Kilometres between two points of a row that is a tuple."""
    lat1, lon1, lat2, lon2 = row
    lat1, lat2 = math.radians(lat1), math.radians(lat2)
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    return 12_742 * math.asin(math.sqrt(half))


def price(row: Any) -> float:
    """What an order costs: a float, an int and a text of a row."""
    total = row["price"] * row["pieces"]
    return total * 0.9 if row["customer"].startswith("club") else total


def distance(row: Any) -> float:
    """The demo's great circle between two airports; written out, since importing the demo imports pdparallel."""
    lat1, lon1 = math.radians(row["origin_lat"]), math.radians(row["origin_lon"])
    lat2, lon2 = math.radians(row["dest_lat"]), math.radians(row["dest_lon"])
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0 * math.asin(math.sqrt(h))


def two_values(row: pd.Series) -> pd.Series:
    """A Series for each row."""
    return pd.Series({"x": row["lat1"] + row["lat2"], "y": row["lon1"] - row["lon2"]})


def both_ways(row: Any) -> list[float]:
    """A list for each row, to be spread over columns."""
    return [row["lat1"] + row["lat2"], row["lon1"] - row["lon2"]]


def middle(row: pd.Series) -> float:
    """A method of the Series that a row is."""
    return float(row.median())


def total(row: pd.Series) -> float:
    """A row as a whole, by a method of Series."""
    return row.sum()


def busy(seconds: float) -> None:
    """Keep a core busy for so many seconds of its own time, whatever else the machine does."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def two_milliseconds(row: Any) -> float:
    busy(0.002)
    return float(row["lat1"])


def at_its_cost(row: Any) -> float:
    """As long as the row says."""
    busy(row["cost"])
    return float(row["cost"])


def first(row: Any) -> float:
    """Next to nothing: what is left is the way there and back."""
    return float(row["lat1"])


def shout(text: str) -> str:
    """A light function of a text."""
    return text.strip().upper().replace("-", " ")


def words(text: str) -> int:
    """A heavier function of a text: distinct letter pairs."""
    return len({text[i : i + 2] for _ in range(20) for i in range(len(text) - 1)})


def spread(column: pd.Series) -> float:
    """A column in plain Python."""
    mean = sum(column) / len(column)
    return math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))


def loop_seconds() -> float:
    """How long the plain Python of a column takes, ten times over, where nothing is handed out or sent."""
    column: Any = [number / 7 for number in range(50_000)]
    began = time.perf_counter()
    for _ in range(10):
        spread(column)
    return time.perf_counter() - began


def weighted(group: pd.DataFrame) -> float:
    """The mean price of a group, by what was bought of each."""
    return float(np.average(group["price"], weights=group["pieces"]))


def with_share(group: pd.DataFrame) -> pd.DataFrame:
    """The group with what part of all that was paid each row is."""
    paid = group["price"] * group["pieces"]
    return group.assign(share=paid / paid.sum())


def dearest(group: pd.DataFrame) -> pd.DataFrame:
    """The three dearest rows of the group."""
    return group.sort_values("price", ascending=False).head(3)


def standardised(values: pd.Series) -> pd.Series:
    """How far each value of a group is from its mean."""
    return (values - values.mean()) / values.std()


WEIGHTS = np.linspace(0.0, 1.0, 50)


def weigh(window: np.ndarray) -> float:
    """A weighted sum over a window."""
    return (window * WEIGHTS).sum()


def clean(chunk: pd.DataFrame) -> pd.DataFrame:
    """Vectorised cleaning of texts."""
    text = chunk["text"].str.strip().str.replace(r"[-_\s]+", " ", regex=True).str.title()
    return chunk.assign(text=text, long=text.str.len() > 12)


# Functions that go wrong in one of 40 rows, in a worker: pandas has none, and many peers try some rows without one

MAIN = "PDPARALLEL_BENCHMARK_MAIN"  # the process that is no worker
WRONG = 17  # the row, by its label


def goes_wrong(row: Any) -> bool:
    return row["lat1"] == points(40)["lat1"][WRONG] and os.environ.get(MAIN) != str(os.getpid())


class TwoArgumentsError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class WithLockError(Exception):
    def __init__(self) -> None:
        super().__init__("it holds a lock")
        self.lock = threading.Lock()


def killed(row: Any) -> float:
    if goes_wrong(row):
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


def exits(row: Any) -> float:
    if goes_wrong(row):
        os._exit(3)
    return 1.0


def raises_two(row: Any) -> float:
    if goes_wrong(row):
        raise TwoArgumentsError("one", "two")
    return 1.0


def raises_lock(row: Any) -> float:
    if goes_wrong(row):
        raise WithLockError
    return 1.0


def returns_generator(row: Any) -> Any:
    return (number for number in range(3)) if goes_wrong(row) else 1.0


# Frames


def points(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "lat1": rng.uniform(-80, 80, n),
            "lon1": rng.uniform(-180, 180, n),
            "lat2": rng.uniform(-80, 80, n),
            "lon2": rng.uniform(-180, 180, n),
        }
    )


def texts(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame({"text": [f"  new-york_{number} jfk " for number in rng.integers(0, n, n)]})


def orders(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "price": rng.uniform(1, 100, n).round(2),
            "pieces": rng.integers(1, 9, n),
            "customer": rng.choice(["club-1", "club-2", "shop", "web"], n),
        }
    )


def groups(n: int, size: int) -> pd.DataFrame:
    """Orders of customers with so many each, in no order."""
    rng = np.random.default_rng(6)
    return orders(n)[["price", "pieces"]].assign(key=rng.permutation(np.arange(n) // size))


def groups_of_50(n: int) -> pd.DataFrame:
    return groups(n, 50)


def groups_of_3(n: int) -> pd.DataFrame:
    return groups(n, 3)


def flights(n: int) -> pd.DataFrame:
    """Real flights from New York with the places of their airports."""
    from pdparallel.cli.demo import load_flights

    return load_flights(n)[0]


def uneven(n: int) -> pd.DataFrame:
    """One row in a hundred, somewhere, costs a hundred times as much as the others, which take 0.2 ms."""
    rng = np.random.default_rng(5)
    cost = np.full(n, 0.0002)
    cost[rng.permutation(n)[: max(1, n // 100)]] = 0.02
    return pd.DataFrame({"cost": cost, "other": rng.normal(size=n)})


def lines(n: int) -> pd.Series:
    return texts(n)["text"]


def prices(n: int) -> pd.Series:
    return pd.Series(np.random.default_rng(4).normal(size=n).cumsum() + 100)


def columns(n: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(3).normal(size=(n, 64)))


# Works


@dataclass(frozen=True)
class Work:
    """A function upon a frame, in pandas' way and in ours.

    Attributes
    ----------
    name, title : str
        To select it by, and to show it as.
    frame : callable
        Makes the data of so many rows.
    rows : int
        Rows of the official run.
    func : callable
        What is called with each row (value, column, chunk); the peers get the same.
    to_reach, stretch : float
        Speed-up over pandas, on two cores.
    workers : int, optional
        Workers asked for; None leaves it to pdparallel, which takes all usable cores.
    pairs : int
        How many times both sides are measured in turn.
    """

    name: str
    title: str
    frame: Callable[[int], Any]
    rows: int
    func: Callable[[Any], Any]
    to_reach: float
    stretch: float
    workers: int | None = None
    pairs: int = 3

    def pandas(self, data: Any) -> Any:
        """The call of plain pandas."""
        raise NotImplementedError

    def ours(self, data: Any) -> Any:
        """The call of pdparallel, with the default options."""
        raise NotImplementedError

    def units(self, data: Any) -> Iterable[Any]:
        """What ``func`` is called with, made beforehand in the cheapest form that it takes."""
        raise NotImplementedError

    def par(self, data: Any) -> Any:
        return data.par if self.workers is None else data.par(n_workers=self.workers)


@dataclass(frozen=True)
class Rows(Work):
    """``df.apply(func, axis=1)``."""

    cheapest: str = "dict"
    result_type: Any = None

    def pandas(self, data: pd.DataFrame) -> Any:
        return data.apply(self.func, axis=1, result_type=self.result_type)

    def ours(self, data: pd.DataFrame) -> Any:
        return self.par(data).apply_rows(self.func, result_type=self.result_type)

    def units(self, data: pd.DataFrame) -> Iterable[Any]:
        if self.cheapest == "dict":
            return data.to_dict("records")
        if self.cheapest == "namedtuple":
            return list(data.itertuples(index=False))
        if self.cheapest == "tuple":
            return list(data.itertuples(index=False, name=None))
        return [row for _, row in data.iterrows()]


@dataclass(frozen=True)
class Tuples(Rows):
    """``apply_rows(func, rows="tuple")`` instead of the same thing by ``row["x"]`` in ``df.apply(..., axis=1)``."""

    cheapest: str = "tuple"

    def pandas(self, data: pd.DataFrame) -> Any:
        return data.apply(haversine, axis=1)

    def ours(self, data: pd.DataFrame) -> Any:
        return self.par(data).apply_rows(self.func, rows="tuple")


@dataclass(frozen=True)
class InWorkers(Rows):
    """Rows that worker processes are to do, however few and light they are: what they do there is what is looked at."""

    def ours(self, data: pd.DataFrame) -> Any:
        return self.par(data)(engine="process").apply_rows(self.func)


@dataclass(frozen=True)
class Values(Work):
    """``s.map(func)``."""

    def pandas(self, data: pd.Series) -> Any:
        return data.map(self.func)

    def ours(self, data: pd.Series) -> Any:
        return self.par(data).map(self.func)

    def units(self, data: pd.Series) -> Iterable[Any]:
        return data.tolist()


@dataclass(frozen=True)
class Columns(Work):
    """``df.apply(func)``."""

    def pandas(self, data: pd.DataFrame) -> Any:
        return data.apply(self.func)

    def ours(self, data: pd.DataFrame) -> Any:
        return self.par(data).apply_cols(self.func)

    def units(self, data: pd.DataFrame) -> Iterable[Any]:
        return [column.tolist() for _, column in data.items()]


@dataclass(frozen=True)
class Chunks(Work):
    """``func(df)``, a function of a whole frame that treats each row by itself."""

    def pandas(self, data: pd.DataFrame) -> Any:
        return self.func(data)

    def ours(self, data: pd.DataFrame) -> Any:
        return self.par(data).apply_chunks(self.func)

    def units(self, data: pd.DataFrame) -> Iterable[Any]:
        return [data]


@dataclass(frozen=True)
class Groups(Work):
    """``df.groupby("key")[columns].apply(func)``, or ``.transform(func)``."""

    verb: str = "apply"
    columns: Any = "price"

    def grouped(self, of: Any) -> Any:
        """The grouping of a frame, or of what has a method of that name."""
        columns = self.columns if isinstance(self.columns, str) else list(self.columns)
        return of.groupby("key")[columns]

    def pandas(self, data: pd.DataFrame) -> Any:
        return getattr(self.grouped(data), self.verb)(self.func)

    def ours(self, data: pd.DataFrame) -> Any:
        return getattr(self.grouped(self.par(data)), self.verb)(self.func)

    def units(self, data: pd.DataFrame) -> Iterable[Any]:
        return [group for _, group in self.grouped(data)]


@dataclass(frozen=True)
class Windows(Work):
    """``s.rolling(50).apply(func, raw=True)``."""

    size: int = len(WEIGHTS)

    def pandas(self, data: pd.Series) -> Any:
        return data.rolling(self.size).apply(self.func, raw=True)

    def ours(self, data: pd.Series) -> Any:
        return self.par(data).rolling(self.size).apply(self.func, raw=True)

    def units(self, data: pd.Series) -> Iterable[Any]:
        return np.lib.stride_tricks.sliding_window_view(data.to_numpy(), self.size)


WORKS: tuple[Work, ...] = (
    Rows("light", "light rows: distance by row['x']", points, 400_000, haversine, 8, 9),
    Rows("attribute", "light rows by row.x", points, 400_000, haversine_by_attribute, 8, 10, cheapest="namedtuple"),
    Rows("mixed", "light rows of mixed dtypes", orders, 400_000, price, 8, 10),
    Rows("flights", "flights: distance by row['x']", flights, 336_776, distance, 6, 10),
    Tuples("tuple", "rows='tuple' instead of row['x']", points, 400_000, haversine_of_tuple, 16, 20),
    Rows("series", "rows that return a Series", points, 20_000, two_values, 3.0, 3.4),
    Rows("expand", "rows that return a list, expanded", points, 200_000, both_ways, 10, 15, result_type="expand"),
    Rows("methods-1", "rows by row.sum(), 1 worker", points, 50_000, total, 1.0, 1.2, workers=1, cheapest="series"),
    Rows("methods-2", "rows by row.sum(), 2 workers", points, 50_000, total, 1.9, 2.2, workers=2, cheapest="series"),
    Rows(
        "methods-3",
        "rows by row.median(), which needs a Series, 1 worker",
        points,
        20_000,
        middle,
        1.0,
        1.2,
        workers=1,
        cheapest="series",
    ),
    Rows("heavy", "heavy rows, 2 ms each", points, 4_000, two_milliseconds, 1.95, 1.99),
    Rows("uneven", "uneven rows: 1 % cost 100 times as much", uneven, 10_000, at_its_cost, 1.9, 1.98),
    Values("map", "Series.map, a light function of texts", lines, 500_000, shout, 1.7, 2.2, pairs=9),
    Columns("columns", "64 columns in plain Python", columns, 50_000, spread, 1.9, 1.98, pairs=7),
    Windows("rolling", "rolling.apply, raw", prices, 1_000_000, weigh, 1.9, 2.2, pairs=5),
    Chunks("chunks", "whole chunks, vectorised text", texts, 2_000_000, clean, 1.7, 1.9),
    Groups(
        "groups-50",
        "groupby.apply, 10,000 groups of 50",
        groups_of_50,
        500_000,
        weighted,
        1.9,
        2.5,
        columns=("price", "pieces"),
    ),
    Groups(
        "groups-3",
        "groupby.apply, 100,000 groups of 3",
        groups_of_3,
        300_000,
        weighted,
        1.9,
        2.5,
        columns=("price", "pieces"),
    ),
    Groups(
        "groups-frames",
        "groupby.apply that returns frames, 10,000 groups of 50",
        groups_of_50,
        500_000,
        with_share,
        1.7,
        2.0,
        columns=("price", "pieces"),
    ),
    Groups(
        "groups-top",
        "groupby.apply that returns some rows, 10,000 groups of 50",
        groups_of_50,
        500_000,
        dearest,
        1.7,
        2.0,
        columns=("price", "pieces"),
    ),
    Groups(
        "transform",
        "groupby.transform, 10,000 groups of 50",
        groups_of_50,
        500_000,
        standardised,
        1.9,
        2.5,
        verb="transform",
    ),
    Rows("rows-10", "10 light rows", points, 10, haversine, 1.0, 2.0, pairs=101),
    Rows("rows-100", "100 light rows", points, 100, haversine, 1.0, 2.0, pairs=101),
    Rows("rows-1000", "1,000 light rows", points, 1_000, haversine, 1.0, 2.0, pairs=31),
)

#: What goes wrong in a worker, to see what becomes of it; with pdparallel in processes, as with the others.
FAULTS: tuple[Work, ...] = (
    InWorkers("killed", "the worker is killed (memory)", points, 40, killed, 0, 0),
    InWorkers("exits", "the function calls os._exit()", points, 40, exits, 0, 0),
    InWorkers("two", "an exception of two arguments", points, 40, raises_two, 0, 0),
    InWorkers("lock", "an exception that holds a lock", points, 40, raises_lock, 0, 0),
    InWorkers("generator", "a result that cannot travel", points, 40, returns_generator, 0, 0),
)

BY_NAME: dict[str, Work] = {work.name: work for work in (*WORKS, *FAULTS)}


def quick_rows(work: Work) -> int:
    """Rows for a look whether all runs: nothing is to be read from such times."""
    return work.rows if work.rows <= 1_000 else max(10, work.rows // 2_000)
