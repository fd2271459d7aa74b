"""``make pythons``: which Pythons are found, what a report says, and that the simulated systems are what they claim."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.pythons import __main__ as pythons
from tests.pythons import find
from tests.pythons.chroot import Chroot


def test_this_python_is_found() -> None:
    here = find.found()
    assert sys.version_info[:2] in here
    for version, path in here.items():
        asked = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
        assert tuple(map(int, asked.stdout.split())) == version


@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_the_oldest_and_the_newest_are_printed(which: str, capsys: pytest.CaptureFixture[str]) -> None:
    find.main(which)
    path = capsys.readouterr().out.strip()
    here = [version for version in find.found() if find.OLDEST <= version <= find.NEWEST_WITH_ALL_WHEELS]
    assert find.found()[min(here) if which == "oldest" else max(here)] == path


def test_a_shim_of_a_version_that_is_not_active_is_no_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shim = tmp_path / "python3.14"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.14: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert str(shim) not in find.found().values()


def test_the_table_has_each_python_and_platform() -> None:
    names = ["3.11 oldest", "3.11 newest", "3.12", "3.13", "3.14", "3.15", "3.13t", "mac", "win"]
    assert [leg.name for leg in pythons.LEGS] == names
    with pytest.raises(SystemExit, match=r"There is no 2\.7 among 3\.11 oldest"):
        pythons.main("2.7")


def test_what_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(find, "found", dict)
    monkeypatch.setattr(Chroot, "cannot_be_had", lambda self: "it takes root")
    assert pythons.main("3.12", "3.14") == 2
    said = capsys.readouterr().out
    assert "3.12        cannot be had: it is not on this machine\n" in said
    assert "3.14        cannot be had: it takes root\n" in said
    assert "Not shown to work: 3.12, 3.14." in said


def test_a_report_is_read(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="one"/><testcase classname="a" name="two"><skipped/>'
        '</testcase><testcase classname="a" name="three"><failure/></testcase></testsuite></testsuites>'
    )
    assert pythons._read(report) == (["1", "1", "1"], ["a::three"])
    assert pythons._read(tmp_path / "none.xml")[0] == ["?", "?", "?"]


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that looks like another system")
@pytest.mark.parametrize(
    ("system", "missing"), [("mac", "memfd_create sched_getaffinity"), ("win", "memfd_create fork pread geteuid")]
)
def test_a_simulated_system_lacks_what_it_should_and_calls_work(system: str, missing: str, tmp_path: Path) -> None:
    code = f"""
        import multiprocessing, os, pathlib, tempfile
        import pandas as pd, pdparallel
        assert not [name for name in {missing.split()} if hasattr(os, name)]
        frame = pd.DataFrame({{"a": range(500)}})
        for engine in ("process", "pathos"):
            got = frame.par(engine=engine, n_workers=2).apply_rows(lambda row: row["a"] * 2)
            assert got.tolist() == list(range(0, 1000, 2))
        print(sorted(multiprocessing.get_all_start_methods()))
        """
    env = {**os.environ, "PYTHONPATH": str(pythons.PLATFORMS), "SIMULATED": system, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == ("['spawn']\n" if system == "win" else "['fork', 'forkserver', 'spawn']\n")
    assert not list(tmp_path.glob("pdparallel-*"))
