"""Pool: who has which task, what becomes of it when a worker ends, and pools that cannot have all their workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from pdparallel.engines import process_start
from pdparallel.engines.process_pool import Pool
from pdparallel.errors import WorkerDiedError, WorkerStartError
from pdparallel.worker.process import Setup
from tests.conftest import wait_until

#: A task that is answered at once, by as little.
KNOCK = b""


@pytest.fixture
def pool(alone: None) -> Iterator[Pool]:
    pool = Pool(2, "forkserver", Setup(1, os.getpid()))
    yield pool
    pool.end(kill=True)


def _twelve_tasks_of_which_the_first_worker_answers_none(pool: Pool) -> tuple[int, int, list[Future[bytes]]]:
    """Both workers, and tasks of which the first has two and the others are done.

    Workers are stopped while tasks are handed out, so that each gets its tasks however quick the other one is.
    """
    pool.submit(KNOCK).result(60)
    (first,) = pool.pids
    os.kill(first, signal.SIGSTOP)
    sent = [pool.submit(KNOCK) for _ in range(2)]
    assert sent[1].result(60) == KNOCK  # by another
    _, second = pool.pids
    os.kill(second, signal.SIGSTOP)
    sent += [pool.submit(KNOCK) for _ in range(10)]
    os.kill(second, signal.SIGCONT)
    assert wait_until(lambda: sum(future.done() for future in sent) == 10)
    return first, second, sent


def test_workers_start_when_there_is_work_for_them(pool: Pool) -> None:
    assert not pool.up
    assert pool.submit(KNOCK).result(60) == KNOCK
    assert pool.up
    assert len(pool.pids) == 1
    for future in [pool.submit(KNOCK) for _ in range(20)]:
        assert future.result(60) == KNOCK
    assert len(pool.pids) <= 2


def test_an_idle_worker_that_ends_is_replaced(pool: Pool) -> None:
    pool.submit(KNOCK).result(60)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: pid not in pool.pids)
    assert pool.submit(KNOCK).result(60) == KNOCK
    assert pool.pids != [pid]
    assert pool.usable


def test_the_task_of_a_worker_that_is_ended_fails_and_no_other(pool: Pool) -> None:
    first, _, sent = _twelve_tasks_of_which_the_first_worker_answers_none(pool)
    pool.kill(first)
    errors = [future.exception(60) for future in sent]
    (lost,) = [error for error in errors if error is not None]  # what it had not begun was done by another
    assert isinstance(lost, WorkerDiedError)
    assert lost.pid == first
    assert lost.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("way", ["kill", "abandon", "end"])
def test_a_stopped_worker_with_a_full_pipe_can_be_ended(pool: Pool, way: str) -> None:
    pool.submit(KNOCK).result(60)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    pool.n_workers = 1  # all goes to this one
    sent = [pool.submit(bytes(1 << 24)) for _ in range(2)]  # more than a pipe holds: only a thread waits for that
    assert not any(future.done() for future in sent)
    if way == "kill":
        pool.kill(pid)
    elif way == "abandon":
        pool.abandon(sent)
    else:
        pool.end(kill=True)
    assert isinstance(sent[0].exception(60), WorkerDiedError)
    assert wait_until(lambda: pid not in pool.pids)


def test_a_stopped_worker_with_a_full_pipe_holds_up_no_other(pool: Pool) -> None:
    first, _, _ = _twelve_tasks_of_which_the_first_worker_answers_none(pool)
    big = [pool.submit(bytes(1 << 24)) for _ in range(4)]
    small = [pool.submit(KNOCK) for _ in range(4)]
    pool.kill(first)
    for future in small:
        assert future.result(60) == KNOCK
    for future in big:
        assert isinstance(future.exception(60), WorkerDiedError)  # no worker can read that


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no forkserver")
@pytest.mark.parametrize("error", [EOFError("unexpected EOF"), ConnectionResetError("reset")])
def test_a_start_whose_forkserver_ended_is_tried_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    process, failures = pool.context.Process, [error, error]

    def start(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return process(*args, **kwargs)

    monkeypatch.setattr(pool.context, "Process", start)
    assert pool.submit(KNOCK).result(60) == KNOCK
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no forkserver")
@pytest.mark.parametrize("error", [TypeError("'NoneType' object cannot be interpreted as an integer"), OSError(9, "")])
def test_a_start_whose_forkserver_is_ended_by_another_thread(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    server, failures = process_start._our_forkserver(), [error]

    def connect(fds: Any) -> Any:
        process_start.stop_forkserver()  # as another thread does, after this one has found it running
        raise failures.pop()

    monkeypatch.setattr(server, "connect_to_new_process", connect, raising=False)
    assert pool.submit(KNOCK).result(60) == KNOCK
    assert not failures


def test_an_error_of_a_forkserver_that_goes_on_is_raised(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(fds: Any) -> Any:
        raise TypeError("a mistake")

    monkeypatch.setattr(process_start._our_forkserver(), "connect_to_new_process", connect, raising=False)
    with pytest.raises(WorkerStartError, match="TypeError: a mistake"):
        pool.submit(KNOCK).result(60)


def test_tasks_that_are_abandoned_end_and_no_others(pool: Pool) -> None:
    _, second, sent = _twelve_tasks_of_which_the_first_worker_answers_none(pool)
    running, behind = (future for future in sent if not future.done())
    pool.abandon({running, behind})
    assert "SIGKILL" in str(running.exception(60))
    assert "before the task began" in str(behind.exception(60))
    assert pool.submit(KNOCK).result(60) == KNOCK
    assert second in pool.pids
    pool.abandon({running})  # which is done
    assert second in pool.pids


def test_where_no_further_worker_can_be_had_those_that_there_are_go_on(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.submit(KNOCK).result(60)
    monkeypatch.setattr(pool.context, "Process", _no_process)
    (only,) = pool.pids
    os.kill(only, signal.SIGSTOP)  # so that there is work for another
    sent = [pool.submit(KNOCK) for _ in range(20)]
    assert wait_until(lambda: not pool.usable)  # the next call gets a pool of full size
    os.kill(only, signal.SIGCONT)
    for future in sent:
        assert future.result(60) == KNOCK
    assert pool.n_workers == 1


def test_where_no_worker_can_be_had_the_tasks_fail(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.context, "Process", _no_process)
    with pytest.raises(WorkerStartError, match="No worker process could be started: OSError: no more processes"):
        pool.submit(KNOCK).result(60)


def _no_process(*args: Any, **kwargs: Any) -> Any:
    raise OSError("no more processes")


def test_an_ended_pool_takes_no_task(pool: Pool) -> None:
    pool.submit(KNOCK).result(60)
    pool.end(kill=False)
    pool.end(kill=True)
    assert not pool.usable
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(KNOCK)


def test_a_pool_that_never_had_work_ends(alone: None) -> None:
    pool = Pool(2, "forkserver", Setup(1, os.getpid()))
    pool.end(kill=False)
    assert not pool.usable


def test_who_waits_when_the_pool_ends_learns_it(pool: Pool) -> None:
    pool.submit(KNOCK).result(60)
    os.kill(pool.pids[0], signal.SIGSTOP)
    waiting = pool.submit(KNOCK)
    pool.end(kill=True)
    assert isinstance(waiting.exception(60), WorkerDiedError)
