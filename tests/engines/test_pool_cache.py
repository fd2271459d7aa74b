"""Warm: when a kept pool goes away, seen with a pool that only notes what is done to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pdparallel.engines import pool_cache
from pdparallel.engines.pool_cache import Warm


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
    monkeypatch.setattr(pool_cache, "IDLE_SECONDS", 0.05)
    pool = kept.borrow("key", _Pool)
    kept.give_back(pool)
    assert pool.ended.wait(20)
    assert not kept.has("key")


def test_a_pool_that_is_lent_does_not(kept: Warm[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_cache, "IDLE_SECONDS", 0.05)
    kept.give_back(kept.borrow("key", _Pool))
    timer = kept._idle["key"]._timer
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
    timer = kept._idle["key"]._timer
    kept.give_back(kept.borrow("key", _Pool))
    assert timer is not None
    assert kept._idle["key"]._timer is timer


def test_a_look_that_comes_before_the_pool_was_idle_long_enough_is_repeated(
    kept: Warm[_Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = kept.borrow("key", _Pool)
    kept.give_back(pool)
    timer = kept._idle["key"]._timer
    kept._idle["key"]._look()
    assert kept._idle["key"]._timer is not timer
    assert not pool.ended.is_set()
    monkeypatch.setattr(kept._idle["key"], "_until", 0.0)
    kept._idle["key"]._look()
    assert pool.ended.is_set()


def test_the_pools_that_were_used_last_are_kept(kept: Warm[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_keep", 2)
    pools = {}
    for key in ("one", "two", "one", "three"):
        pool = kept.borrow(key, _Pool)
        assert pools.setdefault(key, pool) is pool
        kept.give_back(pool)
    assert [key for key, pool in pools.items() if pool.ended.is_set()] == ["two"]
    assert [kept.has(key) for key in pools] == [True, False, True]


def test_a_pool_that_is_lent_ends_with_its_call_if_others_took_its_place(kept: Warm[_Pool]) -> None:
    lent = kept.borrow("one", _Pool)
    kept.give_back(kept.borrow("two", _Pool))
    assert not kept.has("one")
    assert not lent.ended.is_set()
    kept.give_back(lent)
    assert lent.ended.is_set()


def test_each_pool_is_idle_by_itself(kept: Warm[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_keep", 2)
    lent = kept.borrow("one", _Pool)
    monkeypatch.setattr(pool_cache, "IDLE_SECONDS", 0.05)
    idle = kept.borrow("two", _Pool)
    kept.give_back(idle)
    assert idle.ended.wait(20)
    assert kept.has("one")
    kept.give_back(lent)


@pytest.mark.parametrize("step", ["borrow", "give back", "drop", "idle"])
def test_nobody_waits_for_a_pool_that_ends(kept: Warm[_Pool], monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(_Pool):
        def end(self, *, kill: bool) -> None:
            entered.set()
            assert go_on.wait(60)
            super().end(kill=kill)

    slow = kept.borrow("slow", Slow)
    if step in ("borrow", "drop"):
        kept.give_back(slow)
    monkeypatch.setattr(pool_cache, "IDLE_SECONDS", 0.0)
    ways = {
        "borrow": lambda: kept.give_back(kept.borrow("other", _Pool)),
        "give back": lambda: kept.give_back(slow, kill=True),
        "drop": kept.drop,
        "idle": lambda: kept.give_back(slow),
    }
    ending = threading.Thread(target=ways[step])
    ending.start()
    assert entered.wait(60)
    asked = threading.Thread(target=lambda: (kept.has("slow"), kept.borrow("third", _Pool)))
    asked.start()
    asked.join(60)
    assert not asked.is_alive()
    go_on.set()
    ending.join(60)
    assert slow.ended.wait(60)
