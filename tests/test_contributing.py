"""What contributors read: its examples do what it says, what it names is there, and each module has its place.

An example is run as if it stood in the file that its first line names: with the names of that file.
"""

from __future__ import annotations
import __future__

import doctest
import importlib
import itertools
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pdparallel
from pdparallel import series_verbs, verbs
from tests import core
from tests import test_engines as contract
from tests.faults import test_table as faults
from tests.faults.table import Fault

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
DATE = r"\d{4}-\d\d-\d\d"
#: By the file that each would go into.
EXAMPLES = {
    path: code for code, path in re.findall(r"^```python\n(# ([^\n,]+).*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
}


def names_of(path: str, **more: Any) -> dict[str, Any]:
    """What an example defines, amid the names of the file that it would go into, and more."""
    amid: dict[str, Any] = {"__name__": path}
    if (ROOT / path).exists():
        amid |= vars(importlib.import_module(path.removesuffix(".py").replace("/", ".")))
    amid |= more
    after = dict(amid)
    # As each file here begins, so that annotations are not looked at.
    exec(compile(EXAMPLES[path], path, "exec", __future__.annotations.compiler_flag, dont_inherit=True), after)
    return {name: value for name, value in after.items() if name not in amid or amid[name] is not value}


def cases_of(test: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The arguments of each case of a parametrized test, but for those that a fixture makes of them."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize" and not mark.kwargs]
    for case in itertools.product(*([{mark.args[0]: value} for value in mark.args[1]] for mark in marks)):
        yield {name: value for one in case for name, value in one.items()}


# An engine


def contracts() -> Iterator[Any]:
    """What each engine must keep, and what one must of which workers may die."""
    for name, test in vars(contract).items():
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        if name.startswith("test_") and any(mark.args[0] == "engine" for mark in marks):
            for case in cases_of(test):
                if case.get("death") in ("SIGSEGV", "exit 3"):  # as SIGKILL and exit 0, at a second each
                    continue
                yield pytest.param(test, case, id="-".join([name, *map(str, case.values())]))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, alone: None) -> Iterator[Any]:
    module = types.ModuleType("pdparallel.engines.fresh")
    vars(module).update(names_of("pdparallel/engines/fresh.py"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    engines: dict[str, Any] = {}
    names_of("tests/test_engines.py", ENGINES=engines)
    [(name, make)] = engines.items()
    assert "process" in name
    [engine] = make()
    assert isinstance(engine, module.FreshEngine)
    yield engine
    engine.close(kill=True)


@pytest.mark.parametrize(("test", "case"), list(contracts()))
def test_the_engine_keeps_the_contract(engine: Any, test: Callable[..., None], case: dict[str, Any]) -> None:
    test(engine, **case)


def test_the_engine_is_taken_as_it_is(engine: Any) -> None:
    assert pdparallel.map(lambda x: x * 2, range(5), engine=engine, chunk_size=2) == [0, 2, 4, 6, 8]


# A verb


@pytest.fixture
def combine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    [(name, verb)] = names_of("pdparallel/verbs.py").items()
    monkeypatch.setattr(verbs, name, verb, raising=False)
    [(name, method)] = names_of("pdparallel/series_verbs.py").items()
    monkeypatch.setattr(series_verbs.SeriesVerbs, name, method, raising=False)
    return method


TEST_OF_THE_VERB = names_of("tests/oracle/test_table_series.py")["test_combine"]


@pytest.mark.parametrize("case", list(cases_of(TEST_OF_THE_VERB)), ids=lambda case: "-".join(case.values()))
def test_the_verb_gives_what_pandas_gives(combine: Callable[..., Any], case: dict[str, Any]) -> None:
    TEST_OF_THE_VERB(**case)


def test_the_example_of_the_verb(combine: Callable[..., Any]) -> None:
    [example] = doctest.DocTestFinder().find(combine, "combine", module=False)
    assert doctest.DocTestRunner().run(example) == doctest.TestResults(0, len(example.examples))
    assert len(example.examples) >= 2


# A fault


def new_faults() -> tuple[Fault, ...]:
    found: tuple[Fault, ...] = names_of("tests/faults/table.py", FAULTS=())["FAULTS"]
    return found


@pytest.mark.parametrize("engine", faults.SOME)
def test_the_fault_is_as_the_row_says(engine: str, alone: None) -> None:
    [fault] = new_faults()
    assert (fault.stage, fault.sabotage) not in {(one.stage, one.sabotage) for one in faults.FAULTS}
    if engine in fault.engines:
        faults.test_a_fault(fault, engine, None)
    else:
        assert engine == "serial"


# A figure


def test_tables_are_put_into_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("a\n<!-- table: some/one.md -->\nold\n\n| x |\n<!-- end of table -->\nb\n")
    Path("some").mkdir()
    Path("some", "one.md").write_text("| y |\n")
    names_of("from the root of the repository")
    assert Path("README.md").read_text() == "a\n<!-- table: some/one.md -->\n| y |\n<!-- end of table -->\nb\n"


# What is named


def test_each_example_is_run() -> None:
    assert len(EXAMPLES) == TEXT.count("```python\n") == 7


def test_what_it_names_is_there() -> None:
    folders = [ROOT, ROOT / "pdparallel", *(path for path in (ROOT / "pdparallel").iterdir() if path.is_dir())]
    named = set(re.findall(r"`((?:[\w.]+/)*\w+\.(?:py|md))`", TEXT)) | set(re.findall(r"\]\(([^)]+)\)", TEXT))
    assert len(named) > 60
    assert not [name for name in named if not any((folder / name).exists() for folder in folders)]


TABLE = "".join(line for line in TEXT.splitlines() if line.startswith("|"))


@pytest.mark.parametrize("path", sorted((ROOT / "pdparallel").iterdir()), ids=lambda path: path.name)
def test_each_module_has_its_place_in_it(path: Path) -> None:
    if path.suffix == ".py" and path.name != "__init__.py":
        assert f"`{path.name}`" in TABLE
    elif path.is_dir() and path.name != "__pycache__":
        assert f"`{path.name}/" in TABLE


def targets() -> set[str]:
    [line] = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, flags=re.MULTILINE)
    return set(line.split())


def test_what_ci_runs_exists() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert set(re.findall(r"run: make (\w+)", text)) <= targets()
    modules = re.findall(r"python -m tests\.(\w+)", text)
    assert set(modules) == {"core", "fuzz"}
    for name in modules:
        assert (ROOT / "tests" / f"{name}.py").exists()
    for name in core.TESTS:
        assert (ROOT / "tests" / name).exists()


def test_make_tells_of_each_target() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [target for target in targets() - {"help"} if not re.search(rf"\b(make |, ){target}\b", told)]
    assert targets() == set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, flags=re.MULTILINE))


def test_make_clean_removes_what_git_ignores() -> None:
    said = subprocess.run(["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    removed = set(shlex.split(said, comments=False))
    environments = set(re.findall(r"^[A-Z]+ := (\.venv\S*)$", MAKEFILE, flags=re.MULTILINE))
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    # Jupyter's and an editable install's are no target's.
    made = {name for name in ignored if not name.startswith(("*", ".venv"))} - {".ipynb_checkpoints"}
    assert len(environments) >= 4
    assert environments | made <= removed


# Versions


def test_the_changelog_begins_with_this_version() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    released, dev, _ = pdparallel.__version__.partition(".dev")
    assert re.fullmatch(rf"\[{re.escape(released)}\] - {'Unreleased' if dev else DATE}", sections[0])
    assert all(re.fullmatch(rf"\[\d+\.\d+\.\d+\] - {DATE}", section) for section in sections[1:])


def test_a_release_changes_two_lines(tmp_path: Path) -> None:
    [commands] = re.findall(
        r"^```\n(version=.*?)^git diff", (ROOT / "RELEASING.md").read_text(), re.DOTALL | re.MULTILINE
    )
    for name in ("pdparallel/__init__.py", "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    version = pdparallel.__version__.partition(".dev")[0]
    commands = re.sub(r"^version=.*", f"version={version}", commands)
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True)
    assert f'\n__version__ = "{version}"\n' in (tmp_path / "pdparallel/__init__.py").read_text()
    assert re.search(rf"^## \[{re.escape(version)}\] - {DATE}$", (tmp_path / "CHANGELOG.md").read_text(), re.MULTILINE)
