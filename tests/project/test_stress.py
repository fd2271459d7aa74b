"""Stress: what threads do to each other, for 20 seconds, in a process of its own; see :mod:`tests.stress`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SECONDS = float(os.environ.get("STRESS_SECONDS", "20"))


@pytest.mark.timeout(SECONDS + 150)
def test_threads_that_call_cancel_shut_down_and_kill() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.stress", str(SECONDS)],
        capture_output=True, text=True, timeout=SECONDS + 140, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 wrong" in done.stdout
