"""Imports go one way: a module imports only from folders below its own, engines never each other; all exports exist."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import pdparallel
import pdparallel.testing
from pdparallel.core import tracebacks

ROOT = Path(pdparallel.__file__).parent

#: The folders of the package, from the bottom to the top. A module imports from its own folder and from lines above.
FOLDERS: list[set[str]] = [
    {"errors", "typing", "compat"},
    {"core"},
    {"data"},
    {"transport"},
    {"worker"},
    {"engines", "progress", "checkpoint"},
    {"execution"},
    {"operations", "diagnostics"},
    {"api"},
    {""},
    {"testing"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(FOLDERS) for name in names}

#: What an engine may import of its own folder: no engine imports another one.
SHARED_BY_ENGINES = {
    "base",
    "cluster_worker",
    "numba_checked",
    "numba_origins",
    "numba_passes",
    "numba_review",
    "pool_cache",
    "pool_futures",
    "process_pool",
    "process_start",
}
ENGINES = {"serial", "thread", "process", "pathos", "executor", "numba", "dask", "ray", "ray_driver"}


def modules() -> list[str]:
    paths = [path.relative_to(ROOT).with_suffix("") for path in ROOT.rglob("*.py") if path.name != "__init__.py"]
    return sorted([".".join(path.parts) for path in paths] + ["testing"])  # a package with names of its own


MODULES = ["", *modules()]


def path_of(name: str) -> Path:
    path = ROOT / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports_of(name: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path_of(name).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pdparallel":
            base = node.module.removeprefix("pdparallel").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in MODULES or inner in RANK else base)
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("pdparallel").lstrip(".")
                for alias in node.names
                if alias.name.split(".")[0] == "pdparallel"
            }
    return found


def folder_of(name: str) -> str:
    return name.split(".")[0]


def test_each_folder_has_its_place() -> None:
    assert {folder_of(name) for name in MODULES} == set(RANK)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name: str) -> None:
    own = folder_of(name)
    wrong = {other for other in imports_of(name) if folder_of(other) != own and RANK[folder_of(other)] >= RANK[own]}
    assert not wrong, f"{name or '__init__'} imports {wrong} from the folders beside its own or above"


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_no_engine_imports_another_one(name: str) -> None:
    inside = {
        other.removeprefix("engines.") for other in imports_of(f"engines.{name}") if folder_of(other) == "engines"
    }
    assert inside <= SHARED_BY_ENGINES


def test_no_circle_within_a_folder() -> None:
    graph = {
        name: {other for other in imports_of(name) if folder_of(other) == folder_of(name) and other != name}
        for name in MODULES
        if "." in name
    }
    late = {("engines.registry", f"engines.{name}") for name in ENGINES}  # imported when a call needs one
    list(
        graphlib.TopologicalSorter(  # raises CycleError
            {name: {other for other in others if (name, other) not in late} for name, others in graph.items()}
        ).static_order()
    )


@pytest.mark.parametrize("name", MODULES)
def test_each_module_says_why_it_exists(name: str) -> None:
    path = path_of(name)
    first = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
    assert len(first) > 30


def test_modules_that_are_named_exist() -> None:
    """Tables of module names, as those of tracebacks, must follow a module that moves."""
    named = set()
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert 'f"pdparallel.{' not in text, f"{path}: write the names out, so that they are found when a module moves"
        named |= set(re.findall(r'"(pdparallel\.\w+(?:\.\w+)*)"', text))
    named -= {"pdparallel.progress"}  # a logger
    wrong = []
    for name in sorted(named):
        parent, _, last = name.rpartition(".")
        if not (
            name.removeprefix("pdparallel.") in {*MODULES, *RANK} or hasattr(importlib.import_module(parent), last)
        ):
            wrong.append(name)
    assert len(named) > 15
    assert not wrong


def test_functions_that_raise_for_users_exist() -> None:
    for module, name in tracebacks._RAISE_FOR_USERS:
        if module != "*":
            assert f"def {name}(" in path_of(module.removeprefix("pdparallel.")).read_text(), (module, name)


def test_only_public_pandas_names() -> None:
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pandas":
                assert not node.module.startswith(("pandas.core", "pandas._")), f"{path}: {node.module}"


@pytest.mark.parametrize("name", ["pdparallel", *(f"pdparallel.{name}" for name in modules() if name != "__main__")])
def test_exports_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # what the forkserver imports changes it, and the filters
    with warnings.catch_warnings():
        module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    assert exported is not None, f"{name} has no __all__"
    for export in exported:
        assert hasattr(module, export), f"{name}.{export}"


def test_the_public_names() -> None:
    assert set(pdparallel.__all__) == {
        "CallTimeoutError", "CheckpointError", "CompiledResultDiffersError", "FailedCallsWarning",
        "FunctionNotCompilableError", "FunctionNotSerializableError",
        "InvalidOptionError", "Options",
        "PdParallelError", "PerformanceHint",
        "RemoteError", "ResultNotSerializableError", "WorkerDiedError", "WorkerStartError",
        "Explanation", "Profile",
        "accelerate", "engine", "get_options", "imap", "map", "option_context", "par", "profile", "restore",
        "set_options", "shutdown", "warm_up",
    }  # fmt: skip


def test_the_public_names_for_tests() -> None:
    assert set(pdparallel.testing.__all__) == {
        "Finding", "Fitness", "assert_fit", "assert_same", "assert_same_as_pandas", "check", "leaves_nothing",
        "saboteurs", "serial",
    }  # fmt: skip


def test_import_starts_nothing_and_loads_no_engine() -> None:
    """Importing is what every notebook does first: it must not cost a process, a thread or a pool's library."""
    code = (
        "import sys, threading, pandas\n"
        "before = set(sys.modules)\n"
        "import pdparallel\n"
        "new = {name for name in set(sys.modules) - before}\n"
        "engines = [n for n in new if n.startswith('pdparallel.engines.') and n.split('.')[-1] not in\n"
        "           ('base', 'registry')]\n"
        "assert not engines, engines\n"
        "heavy = {'pathos', 'tqdm', 'dask', 'ray', 'distributed', 'dill', 'cloudpickle'}\n"
        "heavy &= {n.split('.')[0] for n in new}\n"
        "assert not heavy, heavy\n"
        "assert threading.active_count() == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
