"""Check that the README is short, that its blocks run as printed, and that its figures come from a benchmark.

The kind of a block says how it is checked. ``python`` is a session (``>>>``), or a file whose first line is its name.
``console`` is a command after ``$`` with its output. ``text`` is output from elsewhere, with a test below.
``tests/project/test_package.py`` runs the command that installs the package.
"""

from __future__ import annotations

import dataclasses
import doctest
import re
import threading
import tomllib
from typing import Any

import pandas as pd
import pytest

import pdparallel
from pdparallel.testing import assert_same
from tests.prose import long_sentences, sentences, without_blocks
from tests.snippets import ROOT, run, without_bars

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAX_LINES = 180
#: Install, demo and test commands stand in these first lines.
MAX_LINES_TO_INSTALL = 40

#: Kind and content of each block, in order. The blocks of a list are indented.
BLOCKS = [
    (kind, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))
    for indent, kind, text in re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", README, flags=re.DOTALL | re.MULTILINE)
]
SESSIONS = [text for kind, text in BLOCKS if kind == "python" and text.startswith(">>>")]
FILES = {text.split()[1]: text for kind, text in BLOCKS if kind == "python" and text.startswith("# ")}
TEXTS = [text for kind, text in BLOCKS if kind == "text"]
PROSE = without_blocks(README)


def section(title: str) -> str:
    """Return the text of a section, without its blocks."""
    _, found, text = PROSE.partition(f"\n## {title}\n")
    assert found, title
    return text.partition("\n## ")[0]


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of each row of the one table in a text, without its head."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def code_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def text_with(words: str) -> str:
    """Return the one text block that shows these words."""
    (found,) = (text for text in TEXTS if words in text)
    return found


# Size and kinds


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_the_first_lines_say_how_to_begin() -> None:
    first = "\n".join(README.splitlines()[:MAX_LINES_TO_INSTALL])
    for command in ("$ pip install .", f"pip install {PROJECT['name']}`", "$ make demo", "$ make test"):
        assert command in first


def test_each_block_has_a_kind_that_is_checked() -> None:
    assert len(BLOCKS) == README.count("```") // 2
    assert {kind for kind, _ in BLOCKS} == {"python", "console", "text"}
    assert len(SESSIONS) + len(FILES) == sum(kind == "python" for kind, _ in BLOCKS)
    assert [text_with("in row 1234")] == TEXTS


def test_the_first_session_is_short() -> None:
    assert len(SESSIONS[0].splitlines()) <= 8


# Blocks


def test_sessions_run_as_printed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(SESSIONS) >= 2
    session = doctest.DocTestParser().get_doctest("\n".join(SESSIONS), {}, "README", "README.md", 0)
    assert len(session.examples) >= 5
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
                continue  # test_package.py runs it
            if command.startswith("make "):
                run(f"{command.replace('make', 'make -n', 1)}", ROOT).check_returncode()
                continue
            came = run(command, tmp_path)
            assert came.returncode == 0, came.stdout
            same = doctest.OutputChecker().check_output(
                without_bars(shown), without_bars(came.stdout), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            )
            assert same, f"{command}\n{came.stdout}"
    assert {command.split()[-1] for command in done} >= set(FILES)


def test_the_script_does_what_its_text_says(tmp_path) -> None:
    """A second run calls nothing. Without errors="return" the error names the row. An edit needs a new folder."""
    script = FILES["trips.py"]
    quick = script.replace("* 500", "* 50").replace("1234", "124")
    quick = quick.replace("time.sleep(0.002)", 'open("calls", "a").write(".")')
    path = tmp_path / "trips.py"
    path.write_text(quick)
    for _ in range(2):
        assert run("python trips.py", tmp_path).returncode == 0
        assert len((tmp_path / "calls").read_text()) == 150
    path.write_text(quick.replace("2.5", "3.5"))
    assert "CheckpointError: " in run("python trips.py", tmp_path).stdout
    path.write_text(quick.replace(', errors="return"', "").replace('"night"', '"other"'))
    came = run("python trips.py", tmp_path)
    assert came.returncode == 1
    expected = text_with("in row 1234").replace("1,234 of 1,500", "... of 150").replace("1234", "124")
    lines = "\n".join(came.stdout.splitlines()[-3:]) + "\n"
    assert doctest.OutputChecker().check_output(expected.replace("night", "other"), lines, doctest.ELLIPSIS), (
        came.stdout
    )


# Tables and what the text says


def test_rows_with_figures_are_those_of_the_benchmark() -> None:
    [(name, quoted)] = re.findall(r"<!-- rows of: (\S+) -->\n(.*?)\n<!-- end of rows -->", README, re.DOTALL)
    measured = (ROOT / name).read_text(encoding="utf-8").splitlines()
    lines = quoted.splitlines()
    assert [line for line in lines if line not in measured] == []
    assert lines[:4] == measured[:4]  # the machine and the head
    assert len(lines) == 4 + 5


def test_a_table_shows_a_loss_too() -> None:
    assert any(float(row[4]) < 1 for row in rows_of(section("How fast it is")))


@pytest.mark.parametrize("bullet", re.findall(r"^- (.*?)(?=^- |^\n|\Z)", section("When not to use it"), re.M | re.S))
def test_figures_of_a_limit_are_in_the_table_that_it_links_to(bullet: str) -> None:
    figures = re.findall(r"\d+\.\d+|\d+(?= µs)", bullet)
    tables = re.findall(r"\]\((benchmarks/[^)]+)\)", bullet)
    assert bool(figures) == bool(tables)
    cells = [cell.strip() for table in tables for cell in (ROOT / table).read_text(encoding="utf-8").split("|")]
    assert set(figures) <= set(cells)


def test_figures_of_the_engines_are_in_the_table_above() -> None:
    figures = re.findall(r"\d+\.\d+", section("Which engine for which function"))
    assert len(figures) >= 2
    assert set(figures) <= {row[4] for row in rows_of(section("How fast it is"))}


def test_threads_wait_together() -> None:
    """A speed-up "up to n_workers" needs n_workers calls at once: no call passes the barrier before the last."""
    engines = [text for row in rows_of(section("Which engine for which function")) for text in code_in(row[2])]
    [options] = [text for text in engines if "thread" in text]
    chosen: dict[str, Any] = eval(f"dict({options})")
    assert chosen["engine"] == "thread"
    barrier = threading.Barrier(chosen["n_workers"])
    s = pd.Series(range(chosen["n_workers"]))
    assert sorted(s.par(**chosen).map(lambda value: barrier.wait(60))) == s.tolist()


def test_options_have_the_defaults_that_are_printed() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(pdparallel.Options)}
    rows = rows_of(section("Six options"))
    assert len(rows) == 6
    for name, default, _ in rows:
        assert defaults[name.strip("`")] == eval(default.strip("`"))


def test_what_is_said_of_options_is_allowed(monkeypatch) -> None:
    text = section("Six options")
    errors = [code for row in rows_of(text) for code in code_in(row[2]) if row[0] == "`errors`"]
    assert [pdparallel.Options(errors=eval(value)).errors for value in errors] == ["coerce", "return"]
    [call] = [code for code in code_in(text) if code.startswith("pdparallel.set_options(")]
    eval(call)
    assert pdparallel.get_options()["n_workers"] == 4
    monkeypatch.setattr("pdparallel.core.options._process_wide", {})
    [variable] = [code for code in code_in(text) if code.startswith("PDPARALLEL_")]
    monkeypatch.setenv(*variable.split("="))
    assert pdparallel.get_options()["n_workers"] == 4


FRAME = pd.DataFrame({"key": [1, 1, 2, 2], "value": [3.0, 4.0, 5.0, 6.0]})
NAMES = {
    "df": FRAME,
    "s": FRAME["value"],
    "items": [1, 2],
    "f": lambda row: row["value"] + 1,
    "c": lambda column: column.max() - column.min(),
    "u": lambda value: value + 1,
    "g": lambda part: part[["value"]] * 2,
    "h": lambda window: window.sum(),
    "pdparallel": pdparallel,
}


@pytest.mark.filterwarnings("ignore:DataFrameGroupBy.apply operated on the grouping:DeprecationWarning")  # pandas 2
@pytest.mark.parametrize(("before", "after"), rows_of(section("From pandas to pdparallel")))
def test_both_sides_of_a_row_give_the_same(before: str, after: str) -> None:
    plain = [eval(code, NAMES.copy()) for code in code_in(before)]
    calls = [code for code in code_in(after) if code.endswith(")")]
    found = [eval(code, NAMES.copy()) for code in calls]
    found = [list(one) if isinstance(plain[0], list) else one for one in found]
    assert len(found) >= len(plain)
    for number, one in enumerate(found):
        assert_same(one, plain[min(number, len(plain) - 1)])


def test_verbs_that_a_row_names_exist() -> None:
    also = {cell.partition(" also ")[0]: code_in(cell.partition(" also ")[2]) for _, cell in
            rows_of(section("From pandas to pdparallel")) if " also " in cell}  # fmt: skip
    groups, windows = also.values()
    assert groups == ["agg", "transform", "filter"]
    assert all(callable(getattr(FRAME.par.groupby("key"), name)) for name in groups)
    assert all(callable(getattr(FRAME["value"].par, name)) for name in windows)


@pytest.mark.skipif(int(pd.__version__.split(".")[0]) < 3, reason="pandas has the hook from 3 on")
def test_the_hook_of_pandas() -> None:
    [code] = [code for code in code_in(section("From pandas to pdparallel")) if "engine=pdparallel" in code]
    assert_same(eval(code, NAMES.copy()), FRAME.apply(NAMES["f"], axis=1))


def test_accelerate_and_background() -> None:
    codes = code_in(section("From pandas to pdparallel"))
    [block] = [code for code in codes if code.startswith("with ")]
    names = {**NAMES, "seen": []}
    exec(f"{block}\n    seen.append(df.apply(f, axis=1))", names)
    [call] = [code for code in codes if ".background." in code]
    for result in (names["seen"][0], eval(call, NAMES.copy()).result()):
        assert_same(result, FRAME.apply(NAMES["f"], axis=1))


def test_an_explanation_says_what_a_call_costs() -> None:
    [code] = [code for code in code_in(section("When not to use it")) if ".explain(" in code]
    found = eval(code, NAMES.copy())
    assert found.cost > 0
    assert found.limit


def test_extras_are_there() -> None:
    extras = set(re.findall(r"\.\[(\w+)\]", README))
    assert extras
    assert extras <= set(PROJECT["optional-dependencies"])


# Links


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target


def test_links_lead_to_sections() -> None:
    titles = re.findall(r"^#+ (.*)$", README, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(#([^)]+)\)", README):
        assert target in anchors, target


# Sentences


def test_sentences_are_short() -> None:
    assert len(sentences(README)) > 40
    assert long_sentences(README) == []
