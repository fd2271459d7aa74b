"""``make pythons``: the core of the tests on each Python and platform, and a table of what passed.

``python -m tests.pythons`` runs all legs, ``python -m tests.pythons 3.14 mac`` two of them. A Python that is not on
this machine is installed from Debian's packages, which takes root, or named in the table as one that cannot be had.
Environments and reports are kept in the folder ``.pythons``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tests import essential
from tests.pythons import find
from tests.pythons.chroot import VERSIONS, Chroot, compile_free_threaded

SOURCES = Path(__file__).parents[2]
FOLDER = SOURCES / ".pythons"
PLATFORMS = Path(__file__).parent / "platforms"

#: Seconds that the tests of a leg may take.
LIMIT = 3600

#: Their sources take long to compile: an older version that has a wheel is taken instead.
COMPILED = "hypothesis,numpy,pandas,psutil,pyarrow"

_VERSIONS = """
import platform, sys, numpy, pandas
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
print(platform.python_version(), pandas.__version__, numpy.__version__, "on" if gil else "off")
"""


@dataclass(frozen=True)
class Leg:
    """A line of the table.

    Attributes
    ----------
    name : str
        As it is asked for.
    python : str
        Version, with a ``t`` for one without the GIL.
    oldest : bool
        Whether each dependency has the oldest version that is allowed, instead of the newest.
    env : mapping
        Beside this process's.
    """

    name: str
    python: str
    oldest: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


def _simulated(name: str) -> Mapping[str, str]:
    return {"PYTHONPATH": str(PLATFORMS), "SIMULATED": name}


LEGS = (
    Leg("3.11 oldest", "3.11", oldest=True),
    Leg("3.11 newest", "3.11"),
    Leg("3.12", "3.12"),
    Leg("3.13", "3.13"),
    Leg("3.14", "3.14"),
    Leg("3.15", "3.15"),
    Leg("3.13t", "3.13t", env={"PYTHON_GIL": "0"}),
    Leg("mac", "3.13", env={**_simulated("mac"), "PDPARALLEL_START_METHOD": "spawn"}),
    Leg("win", "3.13", env=_simulated("win")),
)


class CannotBeHadError(Exception):
    """Says why a leg cannot be run here."""


def interpreter(version: str) -> tuple[str, Chroot | None]:
    """Where a Python is: its path, and the chroot that it lives in, if it does.

    Raises
    ------
    CannotBeHadError
        Where it is not here, and cannot be installed.
    """
    chroot = Chroot(FOLDER / "debian")
    try:
        if version == "3.13t":
            return str(compile_free_threaded(FOLDER / "free-threaded")), None
        major, minor = map(int, version.split("."))
        here = find.found().get((major, minor))
        if here is not None:
            return here, None
        why = chroot.cannot_be_had() if version in VERSIONS else "it is not on this machine"
        if why is not None:
            raise CannotBeHadError(why)
        chroot.make()
    except (RuntimeError, OSError) as error:
        raise CannotBeHadError(str(error)) from error
    return f"/usr/bin/python{version}", chroot


def run(leg: Leg) -> tuple[list[str], list[str]]:
    """Install, and run the core of the tests.

    Returns
    -------
    cells, failed : lists of str
        The line of the table, and the tests that failed.
    """
    began = time.monotonic()
    python, chroot = interpreter(leg.python)
    venv = FOLDER / (leg.python.replace("t", "-free-threaded") + ("-oldest" if leg.oldest else ""))
    report = FOLDER / f"{leg.name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)

    def call(command: Sequence[str], env: Mapping[str, str], **how: object) -> subprocess.CompletedProcess[str]:
        if chroot is not None:
            command, env = chroot.inside(command, env)
        else:
            env = {**os.environ, **env}
        return subprocess.run(command, env=env, cwd=SOURCES, text=True, **how)  # type: ignore[call-overload, no-any-return]

    own = str(venv / "bin" / "python")
    if not (venv / "installed").exists():
        for step in _installing(python, own, venv, leg.oldest):
            said = call(step, {}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if said.returncode:
                raise CannotBeHadError(f"{' '.join(step)}\n{said.stdout}")
        (venv / "installed").touch()
    versions = call([own, "-c", _VERSIONS], leg.env, stdout=subprocess.PIPE).stdout.split() or ["?"] * 4
    limited = [own, "-m", "tests.limited", str(LIMIT), own]
    with open(report.with_suffix(".log"), "w") as log:
        call(
            [*limited, *essential.arguments("-p", "no:cacheprovider", f"--junitxml={report}")],
            {**essential.ENVIRONMENT, **leg.env, "PYTHONDONTWRITEBYTECODE": "1"}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    counts, failed = _read(report)
    return [leg.name, *versions, *counts, f"{time.monotonic() - began:.0f}"], failed


def _installing(python: str, own: str, venv: Path, oldest: bool) -> list[list[str]]:
    pip = [own, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--only-binary", COMPILED]
    make = [python, "-m", "venv", "--clear", str(venv)]
    if not oldest:
        return [make, [*pip, "-e", ".[test]"]]
    lowest = [own, "-m", "uv", "pip", "install", "--quiet", "--python", own, "--resolution", "lowest-direct"]
    return [make, [*pip, "uv"], [*lowest, "-e", ".[test]"]]


def _read(report: Path) -> tuple[list[str], list[str]]:
    """Numbers of tests that passed, were skipped and failed, and the names of the last."""
    if not report.exists():
        return ["?", "?", "?"], [f"pytest did not come to an end: {report.with_suffix('.log')}"]
    passed, skipped, failed = 0, 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        if any(case.find(kind) is not None for kind in ("failure", "error")):
            failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return [str(passed), str(skipped), str(len(failed))], failed


def main(*names: str) -> int:
    """Run the legs of these names, or all; returns how many failed or could not be had."""
    unknown = set(names) - {leg.name for leg in LEGS}
    if unknown:
        sys.exit(f"There is no {', '.join(sorted(unknown))} among {', '.join(leg.name for leg in LEGS)}.")
    head = ["leg", "Python", "pandas", "NumPy", "GIL", "passed", "skipped", "failed", "seconds"]
    widths = [12, 10, 8, 8, 5, 7, 8, 7, 8]
    print("".join(text.ljust(width) for text, width in zip(head, widths, strict=True)), flush=True)
    bad: list[str] = []
    for leg in LEGS:
        if names and leg.name not in names:
            continue
        try:
            cells, failed = run(leg)
        except CannotBeHadError as error:
            print(f"{leg.name.ljust(widths[0])}cannot be had: {error}", flush=True)
            bad.append(leg.name)
            continue
        print("".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)), flush=True)
        print(*(f"    failed: {name}" for name in failed), sep="\n", end="\n" if failed else "", flush=True)
        bad += [leg.name] if failed else []
    print("No leg failed." if not bad else f"Not shown to work: {', '.join(bad)}. Logs and reports are in {FOLDER}.")
    return len(bad)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
