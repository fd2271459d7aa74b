"""Warm: when a kept pool goes away, seen with a pool that only notes what is done to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pdparallel.engines import warm
from pdparallel.engines.warm import Warm


class _Pool:
    usable = up = True

    def __init__(self) -> None:
        self.ended = threading.Event()

    def end(self, *, kill: bool) -> None:
        self.ended.set()


@pytest.fixture
def kept() -> Iterator[Warm[_Pool]]:
    kept: Warm[_Pool] = Warm()
    yield kept
    kept.drop()
    Warm._all.remove(kept)


def test_an_idle_pool_goes_away(kept: Warm[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "IDLE_SECONDS", 0.05)
    pool = kept.borrow("key", _Pool)
    kept.give_back(pool)
    assert pool.ended.wait(20)
    assert not kept.has("key")


def test_a_pool_that_is_lent_does_not(kept: Warm[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "IDLE_SECONDS", 0.05)
    kept.give_back(kept.borrow("key", _Pool))
    timer = kept._idle._timer
    pool = kept.borrow("key", _Pool)
    assert timer is not None
    timer.join(20)  # the look has come, and has found it lent
    assert not pool.ended.is_set()
    kept.give_back(pool)
    assert pool.ended.wait(20)


def test_it_says_whether_another_call_has_the_pool(kept: Warm[_Pool]) -> None:
    pool = kept.borrow("key", _Pool)
    assert kept.borrow("key", _Pool) is pool
    assert kept.give_back(pool, kill=True)
    assert not pool.ended.is_set()
    assert not kept.give_back(pool, kill=True)
    assert pool.ended.is_set()


def test_a_pool_that_this_process_has_not_borrowed_is_left_alone(kept: Warm[_Pool]) -> None:
    pool = _Pool()  # as a fork of the process that has
    assert not kept.give_back(pool, kill=True)
    assert not pool.ended.is_set()


def test_many_calls_share_one_look(kept: Warm[_Pool]) -> None:
    kept.give_back(kept.borrow("key", _Pool))
    timer = kept._idle._timer
    kept.give_back(kept.borrow("key", _Pool))
    assert timer is not None
    assert kept._idle._timer is timer


def test_a_look_that_comes_before_the_pool_was_idle_long_enough_is_repeated(
    kept: Warm[_Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = kept.borrow("key", _Pool)
    kept.give_back(pool)
    timer = kept._idle._timer
    kept._idle._look()
    assert kept._idle._timer is not timer
    assert not pool.ended.is_set()
    monkeypatch.setattr(kept._idle, "_until", 0.0)
    kept._idle._look()
    assert pool.ended.is_set()
