"""The README: its blocks run as printed, and its figures are those that a benchmark of the repository printed.

A block says by its kind what it is: ``python`` is a session (``>>>``), or a file, whose first line is its name;
``console`` is what is typed after ``$`` and what comes; ``text`` is what was seen elsewhere, with a test below.
Installing is for the check of the wheel; here it is only that what is installed has that name.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import pdparallel
from benchmarks.works import haversine, points
from pdparallel.testing import assert_same

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

#: Kind and content of each block, in order; those of a list are indented.
BLOCKS = [
    (kind, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))
    for indent, kind, text in re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", README, flags=re.DOTALL | re.MULTILINE)
]
SESSIONS = [text for kind, text in BLOCKS if kind == "python" and text.startswith(">>>")]
FILES = {text.split()[1]: text for kind, text in BLOCKS if kind == "python" and text.startswith("# ")}
TEXTS = [text for kind, text in BLOCKS if kind == "text"]


def text_with(words: str) -> str:
    """The one block that shows this."""
    (found,) = (text for text in TEXTS if words in text)
    return found


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command as it is typed, by this Python; what it says on both streams."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        words,
        cwd=folder,
        env=environment,
        timeout=110,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def without_bars(text: str) -> str:
    """Of the lines of a bar the end of the last one only: how often it was drawn, and its rate, is for the machine."""
    text = re.sub(r"^apply_rows: [^\n]*\n(?=apply_rows: )", "", text, flags=re.MULTILINE)
    return re.sub(r"^(apply_rows: +\d+%)[^\n]*? (\d+/\d+) [^\n]*", r"\1 \2", text, flags=re.MULTILINE)


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert len(BLOCKS) == README.count("```") // 2
    assert {kind for kind, _ in BLOCKS} == {"python", "console", "text"}
    assert len(SESSIONS) + len(FILES) == sum(kind == "python" for kind, _ in BLOCKS)
    shown = ["in row 'car'", "in row 1234", "28%", "df.par.explain", "pdparallel.profile", "your process"]
    assert sorted(text_with(words) for words in shown) == sorted(TEXTS)


def test_sessions_run_as_printed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(SESSIONS) >= 2
    session = doctest.DocTestParser().get_doctest("\n".join(SESSIONS), {}, "README", "README.md", 0)
    assert len(session.examples) >= 6
    runner = doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    runner.run(session, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_commands_run_as_printed(tmp_path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = []
    for kind, text in BLOCKS:
        if kind != "console":
            continue
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, flags=re.MULTILINE):
            done.append(command)
            if command.startswith("pip install "):
                assert command.split()[2] == PROJECT["name"]
                continue
            came = run(command, tmp_path)
            assert came.returncode == 0, came.stdout
            same = doctest.OutputChecker().check_output(
                without_bars(shown), without_bars(came.stdout), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            )
            assert same, f"{command}\n{came.stdout}"
    assert {command.split()[-1] for command in done} >= set(FILES)


def test_what_is_said_of_the_file_and_its_folder(tmp_path) -> None:
    """Run again it calls nothing; without errors="return" it says which row it was, and what is safe."""
    script = FILES["trips.py"]
    quick = script.replace("* 500", "* 50").replace("1234", "124")
    (tmp_path / "trips.py").write_text(quick.replace("time.sleep(0.002)", 'open("calls", "a").write(".")'))
    for _ in range(2):
        assert run("python trips.py", tmp_path).returncode == 0
        assert len((tmp_path / "calls").read_text()) == 150
    (tmp_path / "trips.py").write_text(quick.replace(', errors="return"', "").replace('"night"', '"other"'))
    came = run("python trips.py", tmp_path)
    assert came.returncode == 1
    expected = text_with("in row 1234").replace("1,234 of 1,500", "... of 150").replace("1234", "124")
    lines = "\n".join(came.stdout.splitlines()[-3:]) + "\n"
    assert doctest.OutputChecker().check_output(expected.replace("night", "other"), lines, doctest.ELLIPSIS), (
        came.stdout
    )


def test_what_an_explanation_shows() -> None:
    df = points(500).assign(note="text")
    with pdparallel.option_context(engine="process", n_workers=2):
        found = str(df.par.explain(haversine))
    label = re.compile(r"^ {2,4}(\w+(?: \w+)*)  ", flags=re.MULTILINE)
    shown = label.findall(text_with("df.par.explain"))
    assert len(shown) > 10
    assert set(shown) - set(label.findall(found)) <= {"to change"}, found  # it depends on what is measured


def test_what_a_profile_shows() -> None:
    shown = text_with("pdparallel.profile")
    with pdparallel.profile() as p, pdparallel.option_context(engine="serial"):
        points(5).par.apply_rows(haversine)
        points(5).par.apply_rows(haversine)
    heading, titles = str(p).splitlines()[:2]
    assert heading in shown
    assert titles.split() == next(line for line in shown.splitlines() if line.startswith("call ")).split()


def moves() -> list[tuple[str, str]]:
    """What is written instead of a call of another package."""
    part = README.partition("## Coming from another package")[2].partition("\n## ")[0]
    cells = [line.split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [(cell[1], text) for cell in cells[1:] for text in re.findall(r"`([^`]*par[^`]*\(.*?)`", cell[2])]


@pytest.mark.parametrize(("before", "after"), moves())
def test_what_is_written_instead_runs(before, after, monkeypatch) -> None:
    monkeypatch.setattr("pdparallel.options._process_wide", {})
    df = pd.DataFrame({"key": [1, 1, 2, 2], "value": [3.0, 4.0, 5.0, 6.0]})
    names = {
        "df": df, "s": df["value"], "items": [1, 2], "firsts": [1, 2], "seconds": [3, 4],
        "f": lambda row: row["value"] + 1, "g": lambda part: part[["value"]] + 1, "h": lambda window: window.sum(),
        "u": lambda value: value + 1, "v": lambda row: row.value, "w": lambda one, other: one + other,
        "c": lambda column: column.sum(), "pdparallel": pdparallel,
    }  # fmt: skip
    found = eval(after, names)
    plain = {
        "df.par.apply_rows(f)": lambda: df.apply(names["f"], axis=1),
        "s.par.map(u)": lambda: df["value"].map(names["u"]),
        'df.par.groupby("key").apply(g)': lambda: df.groupby("key").apply(names["g"]),
        "df.par.apply_chunks(g)": lambda: names["g"](df),
    }
    if after in plain:
        assert_same(found, plain[after]())
    if hasattr(found, "close"):
        assert len(list(found)) >= 1


def test_the_first_session_is_short() -> None:
    first = re.search(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert first is not None
    assert len(first.group(1).splitlines()) <= 8


@pytest.mark.parametrize("name", re.findall(r"<!-- table: benchmarks/results/(\w+)\.md -->", README))
def test_tables_are_what_the_benchmark_wrote(name: str) -> None:
    begin = rf"<!-- table: benchmarks/results/{name}\.md -->\n"
    quoted = re.search(begin + r"(.*?)\n<!-- end of table -->", README, re.DOTALL)
    assert quoted is not None
    assert quoted.group(1).strip() == (ROOT / "benchmarks" / "results" / f"{name}.md").read_text().strip()


def test_there_are_tables() -> None:
    for name in ("when_it_helps", "features", "peers_short", "faults_short"):
        assert f"<!-- table: benchmarks/results/{name}.md -->" in README


def test_figures_of_the_first_screen_are_in_its_table() -> None:
    limits = README.partition("Its limits:")[2].partition("\n\n")[0]
    figures = re.findall(r"\d\.\d+", limits)
    assert len(figures) >= 2
    table = (ROOT / "benchmarks" / "results" / "when_it_helps.md").read_text()
    assert all(f"| {figure} |" in table for figure in figures)


def test_extras_are_there() -> None:
    assert set(re.findall(r"pdparallel\[(\w+)\]", README)) <= set(PROJECT["optional-dependencies"])


def test_the_error_that_is_shown() -> None:
    df = pd.DataFrame({"km": [5, 12, 9], "minutes": [10, 8, 18]}, index=["bus", "car", "bike"])
    with pytest.raises(KeyError, match="'car'") as caught:
        df.par(engine="process").apply_rows(lambda row: {"bus": 1, "bike": 2}[row.name])
    shown = f"KeyError: {caught.value}\n  {caught.value.__notes__[0]}"
    assert shown in README
    assert pdparallel.__version__


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target


def test_links_lead_to_sections() -> None:
    titles = re.findall(r"^#+ (.*)$", README, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(#([^)]+)\)", README):
        assert target in anchors, target
