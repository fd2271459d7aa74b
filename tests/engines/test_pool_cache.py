"""Warm: when a kept pool goes away, seen with a pool that only notes what is done to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pdparallel.engines import pool_cache
from pdparallel.engines.pool_cache import PoolCache


class _Pool:
    usable = up = True

    def __init__(self) -> None:
        self.ended = threading.Event()

    def end(self, *, kill: bool) -> None:
        self.ended.set()


@pytest.fixture
def kept() -> Iterator[PoolCache[_Pool]]:
    kept: PoolCache[_Pool] = PoolCache()
    yield kept
    kept.clear()
    PoolCache._all.remove(kept)


def test_an_idle_pool_goes_away(kept: PoolCache[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_cache, "IDLE_SECONDS", 0.05)
    pool = kept.acquire("key", _Pool)
    kept.release(pool)
    assert pool.ended.wait(20)
    assert not kept.is_ready("key")


def test_a_pool_that_is_lent_does_not(kept: PoolCache[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_cache, "IDLE_SECONDS", 0.05)
    kept.release(kept.acquire("key", _Pool))
    timer = kept._idle["key"]._timer
    pool = kept.acquire("key", _Pool)
    assert timer is not None
    timer.join(20)  # the look has come, and has found it lent
    assert not pool.ended.is_set()
    kept.release(pool)
    assert pool.ended.wait(20)


def test_it_says_whether_another_call_has_the_pool(kept: PoolCache[_Pool]) -> None:
    pool = kept.acquire("key", _Pool)
    assert kept.acquire("key", _Pool) is pool
    assert kept.release(pool, kill=True)
    assert not pool.ended.is_set()
    assert not kept.release(pool, kill=True)
    assert pool.ended.is_set()


def test_a_pool_that_this_process_has_not_borrowed_is_left_alone(kept: PoolCache[_Pool]) -> None:
    pool = _Pool()  # as a fork of the process that has
    assert not kept.release(pool, kill=True)
    assert not pool.ended.is_set()


def test_many_calls_share_one_look(kept: PoolCache[_Pool]) -> None:
    kept.release(kept.acquire("key", _Pool))
    timer = kept._idle["key"]._timer
    kept.release(kept.acquire("key", _Pool))
    assert timer is not None
    assert kept._idle["key"]._timer is timer


def test_a_look_that_comes_before_the_pool_was_idle_long_enough_is_repeated(
    kept: PoolCache[_Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = kept.acquire("key", _Pool)
    kept.release(pool)
    timer = kept._idle["key"]._timer
    kept._idle["key"]._look()
    assert kept._idle["key"]._timer is not timer
    assert not pool.ended.is_set()
    monkeypatch.setattr(kept._idle["key"], "_until", 0.0)
    kept._idle["key"]._look()
    assert pool.ended.is_set()


def test_the_pools_that_were_used_last_are_kept(kept: PoolCache[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_keep", 2)
    pools = {}
    for key in ("one", "two", "one", "three"):
        pool = kept.acquire(key, _Pool)
        assert pools.setdefault(key, pool) is pool
        kept.release(pool)
    assert [key for key, pool in pools.items() if pool.ended.is_set()] == ["two"]
    assert [kept.is_ready(key) for key in pools] == [True, False, True]


def test_a_pool_that_is_lent_ends_with_its_call_if_others_took_its_place(kept: PoolCache[_Pool]) -> None:
    lent = kept.acquire("one", _Pool)
    kept.release(kept.acquire("two", _Pool))
    assert not kept.is_ready("one")
    assert not lent.ended.is_set()
    kept.release(lent)
    assert lent.ended.is_set()


def test_each_pool_is_idle_by_itself(kept: PoolCache[_Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_keep", 2)
    lent = kept.acquire("one", _Pool)
    monkeypatch.setattr(pool_cache, "IDLE_SECONDS", 0.05)
    idle = kept.acquire("two", _Pool)
    kept.release(idle)
    assert idle.ended.wait(20)
    assert kept.is_ready("one")
    kept.release(lent)


@pytest.mark.parametrize("step", ["borrow", "give back", "drop", "idle"])
def test_nobody_waits_for_a_pool_that_ends(kept: PoolCache[_Pool], monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(_Pool):
        def end(self, *, kill: bool) -> None:
            entered.set()
            assert go_on.wait(60)
            super().end(kill=kill)

    slow = kept.acquire("slow", Slow)
    if step in ("borrow", "drop"):
        kept.release(slow)
    monkeypatch.setattr(pool_cache, "IDLE_SECONDS", 0.0)
    ways = {
        "borrow": lambda: kept.release(kept.acquire("other", _Pool)),
        "give back": lambda: kept.release(slow, kill=True),
        "drop": kept.clear,
        "idle": lambda: kept.release(slow),
    }
    ending = threading.Thread(target=ways[step])
    ending.start()
    assert entered.wait(60)
    asked = threading.Thread(target=lambda: (kept.is_ready("slow"), kept.acquire("third", _Pool)))
    asked.start()
    asked.join(60)
    assert not asked.is_alive()
    go_on.set()
    ending.join(60)
    assert slow.ended.wait(60)
