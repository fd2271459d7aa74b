"""The benchmarks: that they run, and that each work means the same to pandas and to us; no time is looked at."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import stat
import sys
import tempfile
from pathlib import Path

import pytest

import benchmarks
import pdparallel
from benchmarks import (
    contenders,
    doors,
    faults,
    features,
    first_call,
    measure,
    memory,
    peers,
    plots,
    progress,
    quote,
    small,
    speed,
    tries,
    waiting,
)
from benchmarks.__main__ import ALL, main
from benchmarks.works import BY_NAME, FAULTS, WORKS, Groups
from pdparallel.testing import assert_same

ROWS = {"heavy": 8, "uneven": 30}


@pytest.fixture
def results(monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    return tmp_path


# The works


@pytest.mark.part(2)
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
@pytest.mark.parametrize("engine", ["auto", "process"])
def test_each_work_gives_what_pandas_gives(work, engine):
    data = work.frame(ROWS.get(work.name, 60))
    with pdparallel.option_context(engine=engine, n_workers=2):
        assert_same(work.ours(data), work.pandas(data))


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_the_bare_function_takes_the_units_that_lie_ready(work):
    assert speed.bare(work, work.frame(ROWS.get(work.name, 60))) > 0


@pytest.mark.parametrize("name", [work.name for work in WORKS if isinstance(work, Groups)])
def test_groups_by_hand_give_what_pandas_gives(name):
    work, data = BY_NAME[name], BY_NAME[name].frame(150)
    parts = contenders.parts(work, data, 2)
    assert sum(map(len, parts)) == 150
    assert not set(parts[0]["key"]) & set(parts[1]["key"])
    assert_same(contenders.together(work, data, [work.pandas(part) for part in parts]), work.pandas(data))


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in doors.SIZES))
def test_each_door_leads_to_the_same(name):
    found = doors.measure(BY_NAME[name], 10, 1)
    assert len(found) == len(doors.doors(BY_NAME[name], BY_NAME[name].frame(10))) - 1
    assert all(door.same and door.pairs == 1 for door in found)


@pytest.mark.parametrize("kind", small.KINDS, ids=lambda kind: kind.title)
def test_small_calls_give_the_same_by_each_way(kind):
    found = small.measure(kind, 20, 1)
    assert found.same
    assert found.pairs == 1


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("engine", progress.ENGINES)
def test_a_bar_changes_nothing(engine):
    found = progress.measure(engine, 30, 1)
    assert len(found) == 3
    assert all(cost.same for cost in found)


def test_rows_that_wait_give_the_same_by_each_way():
    pytest.importorskip("joblib")
    found = waiting.measure(waiting.Case("wait", 12, 0.01, 2))
    assert len(found) >= 6
    assert all(row.same for row in found)
    assert all(row.limit == "1.15 times" for row in found if "coroutines" in row.way)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_of_rows_that_wait_is_measured_in_a_new_process():
    found = waiting.in_new_process(sys.executable, {"way": waiting.BARE, "rows": 2_000})
    assert waiting.Peak(**found).rows == 2_000
    with pytest.raises(RuntimeError, match="KeyError: 'no such'"):
        waiting.in_new_process(sys.executable, {"way": "no such", "rows": 1})


def test_names_are_unique():
    assert len(BY_NAME) == len(WORKS) + len(FAULTS)
    assert set(peers.SIZES) <= set(BY_NAME)
    assert {*peers.NEW, *peers.OLD} == set(contenders.CONTENDERS) == set(plots.LOOKS)


# How it is measured


def test_interleaved_rounds():
    order = []
    took, first = measure.in_turn({"a": lambda: order.append("a") or 1, "b": lambda: order.append("b") or 2}, 2)
    assert order == ["a", "b", "a", "b"]
    assert {name: len(times) for name, times in took.items()} == {"a": 2, "b": 2}
    assert first == {"a": 1, "b": 2}


def test_the_median_of_paired_ratios():
    assert measure.paired([1.0, 8.0, 3.0], [1.0, 2.0, 1.0]) == 3.0


def test_another_result_is_told():
    assert measure.difference(1, 1) == ""
    assert measure.difference(1, 1.0) == "types differ: int and float"
    assert not measure.compare("sum", 1, lambda: 1, lambda: 2, pairs=1).same


def test_a_measurement_in_a_new_process():
    times = first_call.in_new_process("rows-10", 10, "ours", 2)
    assert len(times) == 2
    with pytest.raises(RuntimeError, match="KeyError: 'no such'"):
        first_call.in_new_process("no such", 10, "ours")


# Peers that go wrong


def test_contenders_side_by_side():
    names = ["pandas", "pdparallel", "multiprocessing.Pool", "pandarallel"]
    version, found = peers.side_by_side(sys.executable, "rows-10", 10, 2, names)
    assert version.partition(".")[0] in "23"
    assert list(found) == names
    assert len(found["pdparallel"].seconds) == len(found["multiprocessing.Pool"].seconds) == 2
    assert not found["pdparallel"].differs
    if importlib.util.find_spec("pandarallel") is None:
        assert found["pandarallel"].problem == "fails: ModuleNotFoundError: No module named 'pandarallel'"


def script(folder, hangs):
    """A program that reports as the contenders do, and hangs where it is told to."""
    python = folder / "python"
    python.write_text(f"""#!{sys.executable}
import json, os, sys, time

def say(**what):
    print(json.dumps(what), flush=True)

asked = json.loads(sys.argv[-1])
say(version="9")
for name in asked["names"]:
    say(begins=name)
    if {hangs}:
        time.sleep(60)
    if name == "dies":
        print("no more", file=sys.stderr)
        os._exit(3)
    say(ends=name, seconds=1.0)
say(done=True)
""")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return python


def test_a_peer_that_hangs_or_dies_is_told_and_the_others_go_on(tmp_path):
    python = script(tmp_path, 'name == "hangs"')
    version, found = peers.side_by_side(python, "light", 10, 1, ["pandas", "hangs", "dies", "joblib"], limit=1.0)
    assert version == "9"
    assert found["pandas"].seconds == found["joblib"].seconds == [1.0]
    assert found["hangs"].problem == "hangs: no result after 1 s"
    assert found["dies"].problem == "ends its process (3): no more"


def test_a_peer_that_hangs_only_beside_others_is_measured_alone(tmp_path):
    python = script(tmp_path, 'name == "shy" and len(asked["names"]) > 2')
    found = peers.side_by_side(python, "light", 10, 1, ["pandas", "joblib", "shy"], limit=1.0)[1]
    assert found["shy"].alone
    assert found["shy"].seconds == found["shy"].plain == [1.0]
    assert not found["shy"].problem


# Features and faults


def test_every_feature_can_be_tried():
    assert all(feature.names() for feature in features.FEATURES)
    assert {name for feature in features.FEATURES for name in feature.names()} == set(tries.TRIES)
    assert {name for feature in features.FEATURES for name in feature.who} <= set(contenders.CONTENDERS)
    assert set(features.ALONE) <= set(tries.TRIES)


def test_what_is_tried_is_told():
    asked = ["lambdas", "returns: a dict", "types", "errors"]
    found = list(features.tried(sys.executable, "pdparallel", asked))
    assert found == [features.Tried("pdparallel", name, "yes") for name in asked]
    (found,) = features.tried(sys.executable, "multiprocessing.Pool", ["lambdas"])
    assert found.saw == "no: AttributeError"


def test_tries_that_hang_or_end_their_process_are_told_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "LIMIT", 1.0)
    python = tmp_path / "python"
    python.write_text(f"""#!{sys.executable}
import json, os, sys, time

for name in json.loads(sys.argv[-1])["tries"]:
    print(json.dumps({{"begins": name}}), flush=True)
    if name == "hangs":
        time.sleep(60)
    if name == "dies":
        sys.exit("no more")
    print(json.dumps({{"ends": name, "saw": "yes"}}), flush=True)
print(json.dumps({{"done": True}}), flush=True)
""")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    found = list(features.tried(python, "some", ["one", "hangs", "two", "dies", "three"]))
    assert {one.attempt: one.saw for one in found} == {
        "one": "yes", "hangs": "hangs", "two": "yes", "dies": "no: ends its process (1): no more", "three": "yes"
    }  # fmt: skip


def test_cells_of_features():
    several, one = (features.Feature(name, name, ("a",)) for name in ("returns", "lambdas"))
    found = [features.Tried("a", name, "yes") for name in several.names()[1:]]
    found += [
        features.Tried("a", several.names()[0], "other result"),
        features.Tried("a", "lambdas", "no: PicklingError"),
    ]
    assert features.cell(several, "a", found) == str(len(found) - 2)
    assert features.cell(one, "a", found) == "no"
    assert features.cell(one, "b", found) == "-"


@pytest.mark.parametrize(
    ("said", "expected"),
    [("f:  5%|x | 2/40 [", "yes"), ("x 20 / 20 |", "one a worker"), ("1 out of   2 | 1 out of 2", "counts chunks"),
     ("[###  ] | 60% Completed", "counts chunks"), ("", "no")],
)  # fmt: skip
def test_what_a_bar_counts(said, expected):
    assert tries.counted(said) == expected


def test_errors_that_name_the_row():
    error = ValueError("bad")
    assert not contenders.names_row(error, 17)
    error.add_note("pdparallel: apply_rows, in row 17 (position 17)")
    assert contenders.names_row(error, 17)
    assert not contenders.names_row(error, 1)


def test_a_fault_in_short():
    assert faults.Seen("f", "a", "hangs: no result after 20 s", 0.0, False).short() == "hangs"
    assert faults.Seen("f", "a", "ValueError: bad", 0.64, True).short() == "error in 0.6 s, names the row"
    assert faults.Seen("f", "a", "ValueError: bad", 0.64, False).short() == "error in 0.6 s, no row"
    assert faults.Seen("f", "a", "no error: a result", 0.0, False).short() == "no error: a result"


def test_peers_without_notes(results):
    row = {
        "work": "w",
        "title": "rows",
        "rows": 10,
        "pandas_version": "3",
        "seconds": 1.0,
        "problem": "",
        "differs": "",
    }
    rows = [row | {"contender": name, "ratio": 1.5} for name in peers.NEW]
    rows[2] |= {"problem": "hangs: no result after 40 s"}
    rows[3] |= {"differs": "dtypes differ"}
    peers.write_short(rows)
    line = (results / "peers_short.md").read_text().splitlines()[-1]
    assert line == "| rows | 10 | 1 s | 1.50 | hangs | 1.50, other result | 1.50 | 1.50 |"


# What is written


def test_every_benchmark_can_be_named():
    modules = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    assert set(ALL) <= modules
    with pytest.raises(SystemExit):
        main(["no such"])


def test_each_constant_stands_beside_the_benchmark_that_chose_it():
    root = Path(benchmarks.__file__).parents[1]
    chosen = set()
    for path in (root / "pdparallel").rglob("*.py"):
        for comment, names in re.findall(r"((?:^#: .*\n)+)([A-Z][A-Z_, ]+) = ", path.read_text(), re.MULTILINE):
            for benchmark in re.findall(r"``benchmarks/(\w+\.py)``", comment):
                chosen |= {(benchmark, name, path.relative_to(root).as_posix()) for name in names.split(", ")}
    told = set()
    for line in (root / "benchmarks" / "README.md").read_text().splitlines():
        for names, path in re.findall(r"((?:`[A-Z_]+`(?:, )?)+) \(`([^`]+)`\)", line if line.startswith("| `") else ""):
            told |= {(line.split("`")[1], name, path) for name in re.findall(r"[A-Z_]+", names)}
    assert told == chosen


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_of_a_process_and_its_files():
    before = memory.files_of(os.getpid())
    with tempfile.TemporaryFile() as file:
        file.write(bytes(2_000_000))
        file.flush()
        assert memory.files_of(os.getpid()) - before >= 1.9
    assert memory.own_memory(os.getpid()) > 10
    assert memory.status("self", "VmHWM") >= memory.status("self", "VmRSS") > 10


def test_results_of_a_quick_look_go_elsewhere(results, capsys):
    measure.write("some", [{"a": 1}], "| a |", quick=True, more=[{"b": 2}])
    found = json.loads((results / "quick" / "some.json").read_text())
    assert found["rows"] == [{"a": 1}]
    assert found["more"] == [{"b": 2}]
    assert "| a |" in (results / "quick" / "some.md").read_text()
    assert "| a |" in capsys.readouterr().out


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    plots.bars(tmp_path / "bars.png", "bars", [("one", 2.0, 1.0, 4.0), ("other", 0.5, 1.0, 4.0)])
    panel = [("one", {"pdparallel": 2.0, "joblib": 0.01}, ""), ("other", {"pdparallel": 1.0}, "joblib hangs")]
    plots.dots(tmp_path / "dots.png", "dots", {"pandas 3": panel, "pandas 2": panel})
    line = {"pdparallel": [(1.0, 2.0), (10.0, 3.0)]}
    plots.lines(tmp_path / "lines.png", "lines", "x", "y", line)
    plots.lines(tmp_path / "ratios.png", "ratios", "x", "y", line, ratios=True)
    assert {path.stat().st_size > 1_000 for path in tmp_path.iterdir()} == {True}


def test_rows_are_quoted_by_their_names(tmp_path):
    (tmp_path / "one.md").write_text("new machine\n\n| work | rows |\n|---|---|\n| a | 1 | 7 |\n| b | 1 | 8 |\n")
    old = (
        "x\n<!-- rows of: one.md -->\nold machine\n\n| work | rows |\n|---|---|\n| b | 1 | 5 |\n<!-- end of rows -->\ny"
    )
    assert quote.renewed(old, tmp_path) == old.replace("old", "new").replace("| 5 |", "| 8 |")
    with pytest.raises(LookupError, match=r"one\.md has no such row: \| c"):
        quote.renewed(old.replace("| b |", "| c |"), tmp_path)


def test_the_readme_quotes_the_newest_figures():
    readme = (quote.ROOT / "README.md").read_text(encoding="utf-8")
    assert quote.renewed(readme) == readme
