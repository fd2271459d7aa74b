"""The doctor: what it finds is what is there, and what is broken is told, with the exit code that belongs to it."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import pdparallel
from pdparallel.__main__ import main
from pdparallel.cli import demo, doctor
from pdparallel.cli.doctor import Fact, Report
from pdparallel.core.cpu_count import Cores
from pdparallel.core.options import Options
from pdparallel.errors import PdParallelError, WorkerDiedError
from pdparallel.transport import shared_memory


def fact(report: Report, name: str) -> Fact:
    return next(fact for fact in report.facts if fact.name == name)


def test_columns_are_aligned():
    report = Report("found", [Fact("a", "long found", "why"), Fact("longer", "b"), Fact("c", "d", "e")])
    assert report.text().splitlines() == [
        "found",
        "  a       long found  why",
        "  longer  b",
        "  c       d           e",
    ]


def test_cores_and_why(monkeypatch):
    monkeypatch.setattr(doctor, "usable_cores", lambda: Cores(3, "cgroup quota of 2.5 cores (8 in the machine)"))
    assert fact(doctor.examine(), "cores") == ("cores", "3", "cgroup quota of 2.5 cores (8 in the machine)")


def test_workers():
    with pdparallel.option_context(n_workers=5):
        assert fact(doctor.examine(), "workers") == ("workers", "5", "n_workers was set")
    with pdparallel.option_context(n_workers=None):
        assert fact(doctor.examine(), "workers").why == "one for each core"


def test_load(monkeypatch):
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(doctor, "load", lambda: 2.0)
    assert fact(doctor.examine(), "load")[1:] == ("2.0", "tasks that wanted a core in the last minute")
    monkeypatch.setattr(doctor, "load", lambda: 2.26)
    assert fact(doctor.examine(), "load").found == "2.3"
    assert fact(doctor.examine(), "load").why.endswith("times will vary")
    monkeypatch.setattr(doctor, "load", lambda: None)
    assert "load" not in [fact.name for fact in doctor.examine().facts]


@pytest.mark.parametrize("methods", [["fork", "spawn", "forkserver"], ["spawn"]])
def test_start_method(monkeypatch, methods):
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: methods)
    found = fact(doctor.examine(), "start method")
    assert found.found == methods[-1] == Options().method
    assert ("forked" in found.why) == (methods[-1] == "forkserver")


def test_start_method_that_was_set():
    with pdparallel.option_context(start_method="spawn"):
        assert fact(doctor.examine(), "start method")[1:] == ("spawn", "start_method was set")


@pytest.mark.skipif(not shared_memory._memfd_can_be_shared(), reason="no memfd here")
def test_data_travel_in_memory():
    assert fact(doctor.examine(), "data travels").found == "in memory"


@pytest.mark.parametrize("memfd", [True, False])
def test_data_travel_by_file(monkeypatch, memfd):
    monkeypatch.setattr(shared_memory, "_memfd_can_be_shared", lambda: False)
    if memfd:
        monkeypatch.setattr(doctor.os, "memfd_create", lambda *args: None, raising=False)
    else:
        monkeypatch.delattr(doctor.os, "memfd_create", raising=False)
    found = fact(doctor.examine(), "data travels")
    assert found.found == "by file"
    assert tempfile.gettempdir() in found.why
    assert found.why.endswith("of this process" if memfd else "this platform has no memfd")


def test_no_way_for_the_data(monkeypatch):
    def refuse(buffers):
        raise PermissionError("read-only")

    monkeypatch.setattr(doctor, "Arena", refuse)
    found = fact(doctor.examine(), "data travels")
    assert found[1:] == ("NO WAY", "no file can be made: PermissionError: read-only")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


GIB = 2**30
LIMITS = {
    "v2": ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": f"{2 * GIB}\n"}, "2.0 GiB"),
    "v2, smaller above": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/a/memory.max": f"{GIB // 2}\n",
        },
        "512 MiB",
    ),
    "v1": (
        {"proc/self/cgroup": "3:memory:/a\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{3 * GIB}"},
        "3.0 GiB",
    ),
    "v2, none": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, "16.0 GiB"),
    "v1, none": (
        {"proc/self/cgroup": "3:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
        "16.0 GiB",
    ),
    "nonsense": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "much\n"}, "16.0 GiB"),
}


@pytest.mark.parametrize(("files", "found"), LIMITS.values(), ids=LIMITS)
def test_memory(tmp_path, monkeypatch, files, found):
    monkeypatch.setattr(doctor.os, "sysconf", {"SC_PHYS_PAGES": 16 * GIB // 4096, "SC_PAGE_SIZE": 4096}.get)
    write(tmp_path, files | {"proc/meminfo": "MemTotal: 99 kB\nMemAvailable:    5242880 kB\n"})
    got = doctor.memory(tmp_path)
    assert got.found == found
    assert got.why == (
        "all of the machine; 5.0 GiB available" if found == "16.0 GiB" else "cgroup limit (16.0 GiB in the machine)"
    )


def test_memory_that_is_not_told(tmp_path, monkeypatch):
    monkeypatch.delattr(doctor.os, "sysconf")
    assert doctor.memory(tmp_path).found == "unknown"
    write(tmp_path, LIMITS["v2"][0])
    assert doctor.memory(tmp_path)[1:] == ("2.0 GiB", "cgroup limit")


@pytest.mark.parametrize("text", ["MemAvailable:\n", "MemAvailable: much\n", "MemTotal: 1 kB\n"])
def test_odd_meminfo(tmp_path, monkeypatch, text):
    monkeypatch.setattr(doctor.os, "sysconf", {"SC_PHYS_PAGES": 16 * GIB // 4096, "SC_PAGE_SIZE": 4096}.get)
    write(tmp_path, {"proc/meminfo": text})
    assert doctor.memory(tmp_path)[1:] == ("16.0 GiB", "all of the machine")


def test_options_that_were_set():
    with pdparallel.option_context(engine="thread", chunk_size=7):
        assert "engine='thread', chunk_size=7" in fact(doctor.examine(), "options set").found


def test_options_as_they_are(monkeypatch):
    for name in pdparallel.get_options():
        monkeypatch.delenv(f"PDPARALLEL_{name.upper()}", raising=False)
    with pdparallel.option_context(**{name: getattr(Options(), name) for name in pdparallel.get_options()}):
        assert fact(doctor.examine(), "options set").found == "none"


def test_versions(monkeypatch):
    report = doctor.versions()
    assert fact(report, "Python").found.startswith(platform.python_version())
    assert fact(report, "pdparallel").found == pdparallel.__version__
    for package in ("pandas", "numpy", "dill", "pathos"):
        assert fact(report, package).found == importlib.metadata.version(package)

    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    assert fact(doctor.versions(), "pyarrow").found == "none"


def test_a_pool_works():
    report = doctor.try_pool()
    assert report.works
    assert report.heading == "A pool of processes works here"
    for name in ("first call", "warm call"):
        assert re.fullmatch(r"\d+\.\d{3} s", fact(report, name).found)
    assert fact(report, "result").found == "right"


class _Pool:
    """In place of ``par``: a pool that does something else."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, frame=None, **options):
        return self

    def apply_rows(self, func):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_pool_that_does_not_work(monkeypatch, capsys):
    error = WorkerDiedError("worker process 7 was killed by SIGSYS")
    error.add_note("pdparallel: apply_rows")
    monkeypatch.setattr(doctor, "par", _Pool(error))
    assert main([]) == 1
    text = capsys.readouterr().out
    assert "A pool of processes does NOT work here\n" in text
    assert "WorkerDiedError: worker process 7 was killed by SIGSYS\n    pdparallel: apply_rows\n" in text
    assert 'engine="thread"' in text
    assert "beside plain pandas" not in text


def test_a_pool_that_gives_a_wrong_result(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "par", _Pool([1]))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "A pool of processes gives a WRONG result here\n  wrong result  types differ: list and Series" in text


def test_the_whole_command(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(demo, "run", lambda rows: ran.append((rows, pdparallel.get_options()["n_workers"])) or True)
    assert main(["--rows", "30", "--workers", "2"]) == 0
    assert ran == [(30, 2)]
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line and not line.startswith(" ")] == [
        "What pdparallel found",
        "Versions",
        "Trying out a pool of processes ...",
        "A pool of processes works here",
    ]
    assert text.isascii()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rows", "0"], "argument --rows: '0' is not a whole number of at least 1"),
        (["--rows", "many"], "argument --rows: 'many' is not a whole number of at least 1"),
        (["--workers", "-1"], "argument --workers"),
        (["nurse"], "invalid choice: 'nurse'"),
    ],
)
def test_wrong_arguments(capsys, arguments, told):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


def test_a_wrong_environment(monkeypatch, capsys):
    monkeypatch.setenv("PDPARALLEL_CHUNK_SIZE", "some")
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert "PDPARALLEL_CHUNK_SIZE='some' is not allowed: give a whole number of at least 1" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (PdParallelError("the data takes 9 bytes"), 1, "\npdparallel: PdParallelError: the data takes 9 bytes\n"),
        (KeyboardInterrupt(), 130, "\npdparallel: stopped\n"),
    ],
)
def test_ends_without_a_traceback(monkeypatch, capsys, error, code, told):
    def run(rows):
        raise error

    monkeypatch.setattr(demo, "run", run)
    assert main(["demo"]) == code
    assert capsys.readouterr().err == told


def command(*arguments: str, **how) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "pdparallel", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], **how,
    )  # fmt: skip


def test_as_a_command():
    process = command("doctor", "--workers", "2")
    out, err = process.communicate(timeout=100)
    assert err == ""
    assert process.returncode == 0
    assert "What pdparallel found" in out
    assert "A pool of processes works here" in out


def test_a_reader_that_goes_away():
    process = command("doctor", "--workers", "1")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=100) == 1
    process.stderr.close()
