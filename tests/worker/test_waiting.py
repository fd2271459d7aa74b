"""The clock of waiting: what a function computes, here or elsewhere, is no waiting, and neither is a busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pandas as pd
import pytest

from pdparallel.core.call import Work
from pdparallel.core.chunking import Chunk
from pdparallel.data.iterate import feed_for
from pdparallel.worker import waiting
from pdparallel.worker.loop import record
from pdparallel.worker.waiting import WaitClock

SERIES = pd.Series(range(3))


class Time:
    """What the clocks of the machine say; it goes on when a test says so."""

    def __init__(self) -> None:
        self.computed = self.elsewhere = 0.0


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Time:
    told = Time()
    monkeypatch.setattr(waiting, "_seconds_elsewhere", lambda: told.elsewhere)
    return told


def test_what_is_not_computed_is_waited(clocks: Time) -> None:
    clock = WaitClock(lambda: clocks.computed)
    for computed, waited in ((0.0, 10.0), (4.0, 6.0), (10.0, 0.0), (16.0, 0.0)):  # the last by several threads
        clock.start()
        clocks.computed += computed
        assert clock.waited(10.0) == waited


def test_a_busy_machine_and_programs_are_no_waiting(clocks: Time) -> None:
    clock = WaitClock(lambda: clocks.computed)
    clock.start()
    clocks.elsewhere += 7.0
    assert clock.waited(10.0) == 3.0
    clock.start()
    assert clock.waited(10.0) == 10.0
    clock.start()
    clocks.elsewhere += 70.0
    assert clock.waited(10.0) == 0.0


def test_what_was_elsewhere_is_read_only_after_some_waiting(clocks: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WaitClock(lambda: clocks.computed)
    monkeypatch.setattr(waiting, "_seconds_elsewhere", None)
    clock.start()
    clocks.computed += 10.0
    assert clock.waited(10.0005) == pytest.approx(0.0005)


def test_of_a_function_that_sleeps() -> None:
    work = Work(lambda value: time.sleep(0.02), (), {}, "value")
    outcome = record(work, feed_for("value", work.func), SERIES, Chunk(0, 3), clock=WaitClock())
    assert outcome.waited is not None
    assert 0 < outcome.waited <= outcome.seconds
    assert record(work, feed_for("value", work.func), SERIES, Chunk(0, 3)).waited is None


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell what children computed")
def test_of_a_program_that_computes() -> None:
    clock = WaitClock()
    clock.start()
    program = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-S", "-c", program], check=True)
    assert clock.waited(10.0) < 9.75


def test_a_platform_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = waiting._seconds_elsewhere()
    waiting.knows_delay.cache_clear()
    monkeypatch.setattr(waiting, "_SCHEDULE", "/nowhere")
    assert not waiting.knows_delay()
    assert waiting._seconds_elsewhere() <= before
    monkeypatch.setattr(waiting, "resource", None)
    assert waiting._seconds_elsewhere() == 0.0
    waiting.knows_delay.cache_clear()
