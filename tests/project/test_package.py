"""The package as users get it: built, installed into a bare environment elsewhere, and run there from an empty folder.

Nothing of the repository is in reach: what runs here by chance, because a file or a package lies about, fails there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

import pdparallel

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

pytestmark = [
    pytest.mark.timeout(600),  # packages are fetched, on a machine that may be busy
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="what is to be in the package is known by git"),
]


def run(*command: object, cwd: Path) -> str:
    """What a command prints, away from all that this process has been told."""
    ours = ("PYTHON", "PYTEST", "PDPARALLEL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def in_git(under: str = "") -> set[str]:
    """Files of the repository: those that are in git, and new ones that it does not ignore."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    return {name for name in names if name.startswith(under) and (ROOT / name).is_file()}


@dataclass(frozen=True)
class Built:
    """The two files that go to users."""

    sdist: Path
    wheel: Path

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            return message_from_string(archive.read(name).decode())


@dataclass(frozen=True)
class Bare:
    """An environment in which the wheel is, with what it depends on."""

    folder: Path
    empty: Path

    @property
    def scripts(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    def python(self, *arguments: object) -> str:
        return run(self.scripts / "python", *arguments, cwd=self.empty)

    def pip(self, *arguments: object) -> str:
        # This environment's pip: the other one is to have nothing that the package does not ask for.
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.scripts / "python")
        return run(*pip, *arguments, cwd=self.empty)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of this folder, and the wheel that is built from it, by a backend that is fetched for that."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def bare(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    bare = Bare(tmp_path_factory.mktemp("bare"), tmp_path_factory.mktemp("empty"))
    venv.create(bare.folder, symlinks=os.name != "nt")
    bare.pip("install", "--quiet", "--no-compile", built.wheel)  # only what is imported is compiled
    return bare


# What is built


def test_the_sdist_is_the_repository(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == in_git() | {"PKG-INFO"}
    folders = {name.partition("/")[0] for name in names}
    assert folders >= {"pdparallel", "tests", "notebooks", "benchmarks", "README.md", "CHANGELOG.md", "LICENSE"}


def test_the_wheel_is_the_package(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    assert names - about == in_git("pdparallel/")
    assert "pdparallel/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in about)


def test_what_an_index_shows(built: Built) -> None:
    told = built.metadata()
    assert (told["Name"], told["Version"]) == ("pdparallel", pdparallel.__version__)
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload(decode=False).strip() == (ROOT / "README.md").read_text().strip()
    assert told["License-Expression"] == "BSD-3-Clause"


def test_classifiers_name_the_pythons_that_the_tests_run_on() -> None:
    named = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)}
    tested = set(re.findall(r'python: "(3\.\d+)"', (ROOT / ".github/workflows/ci.yml").read_text()))
    oldest = min(tested, key=lambda version: int(version.partition(".")[2]))
    assert named == tested
    assert PROJECT["requires-python"] == f">={oldest}"


# What is installed


def test_it_is_the_installed_one(bare: Bare) -> None:
    found = bare.python("-c", "import pdparallel; print(pdparallel.__version__, pdparallel.__file__)")
    version, _, path = found.strip().partition(" ")
    package = Path(path).parent
    assert version == pdparallel.__version__
    assert package.parent.name == "site-packages"
    assert bare.folder.resolve() in package.resolve().parents
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {path.relative_to(package.parent).as_posix() for path in files} == in_git("pdparallel/")


def test_the_readme_installs_it_from_a_clone(tmp_path: Path) -> None:
    """Run the README's command in a copy of the repository. ``bare`` checks the dependencies."""
    for name in in_git():
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / "clone" / name)
    venv.create(tmp_path / "new", with_pip=True, symlinks=os.name != "nt")
    python = Bare(tmp_path / "new", tmp_path).scripts / "python"
    [command] = re.findall(r"^\$ pip (install .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    run(python, "-m", "pip", "--disable-pip-version-check", *command.split(), "--no-deps", cwd=tmp_path / "clone")
    asked = "from importlib import metadata; print(metadata.version('pdparallel'))"
    assert run(python, "-c", asked, cwd=tmp_path).strip() == pdparallel.__version__


def plain(requirement: str) -> str:
    """The name of a requirement, as an index compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


def test_nothing_is_there_that_it_does_not_need(bare: Bare) -> None:
    there = {plain(one["name"]) for one in json.loads(bare.pip("list", "--format", "json"))}
    needed = {plain(one) for one in PROJECT["dependencies"]}
    extras = {plain(one) for extra in PROJECT["optional-dependencies"].values() for one in extra}
    assert needed < there
    assert there & (extras - {"pdparallel"}) == set()
    assert "pip" not in there
    bare.pip("check")


SCRIPT = """\
import os
import pandas as pd
import pdparallel

factor = 3
seen = pd.DataFrame({"a": range(20)}).par(engine="process", n_workers=2).apply_rows(
    lambda row: (row["a"] * factor, os.getpid()), result_type="expand"
)
assert seen[0].tolist() == [3 * a for a in range(20)], seen
assert os.getpid() not in set(seen[1]), "it ran here"
print(len(set(seen[1])), "workers")
"""


def test_a_script_without_a_guard(bare: Bare) -> None:
    script = bare.empty.parent / f"{bare.empty.name}-script.py"  # the folder that it runs in stays empty
    script.write_text(SCRIPT)
    assert re.fullmatch(r"[12] workers\n", bare.python("-W", "error", script))


def test_the_command_line(bare: Bare) -> None:
    said = bare.python("-m", "pdparallel", "doctor")
    assert "A pool of processes works here" in said
    assert re.search(rf"^  pdparallel  {re.escape(pdparallel.__version__)}$", said, re.MULTILINE)
    shown = run(bare.scripts / "pdparallel", "demo", "--rows", "200", cwd=bare.empty)
    assert "generated; for the real flights" in shown
    assert shown.count("  yes\n") == 4
    assert not list(bare.empty.iterdir())
