"""Retries and rates by themselves: what runs again, after how long, and when calls may begin."""

from __future__ import annotations

import datetime
import email.utils
import pickle
import random
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pdparallel.core.options import resolve
from pdparallel.core.retry import RateLimit, RetryPolicy, note_tries, policy_of, retry_after


def policy(on: Any = (OSError,), times: int = 2, wait: float = 1.0) -> RetryPolicy:
    return RetryPolicy(on, times, wait)


class TestPolicy:
    def test_there_is_none_by_default(self) -> None:
        assert policy_of(resolve()) is None
        assert policy_of(resolve({"retry_on": (OSError,), "retries": 0})) is None
        assert policy_of(resolve({"retry_on": (OSError,), "retry_wait": 0.5})) == policy(wait=0.5)

    def test_of_classes(self) -> None:
        assert policy().allows(ConnectionError(), 1)
        assert policy().allows(ConnectionError(), 2)
        assert not policy().allows(ConnectionError(), 3)
        assert not policy().allows(ValueError(), 1)

    def test_of_a_function(self) -> None:
        on = policy(lambda error: np.bool_("429" in str(error)))
        assert on.allows(ValueError("429"), 1)
        assert not on.allows(ValueError("404"), 1)

    def test_a_function_that_raises_is_heard(self) -> None:
        def raises(error: BaseException) -> bool:
            raise KeyError("status")

        with pytest.raises(KeyError) as caught:
            policy(raises).allows(ValueError(), 1)
        assert caught.value.__notes__ == ["pdparallel: retry_on raised this when it got a ValueError"]

    @pytest.mark.parametrize("exception", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), StopIteration()])
    def test_what_never_runs_again(self, exception: BaseException) -> None:
        for on in ((Exception,), lambda error: True):
            assert not policy(on).allows(exception, 1)

    def test_waits_double_with_full_jitter(self) -> None:
        for tries, most in [(1, 1), (2, 2), (5, 16), (7, 60), (5_000, 60)]:
            waits = [policy().seconds(OSError(), tries) for _ in range(500)]
            assert all(0 <= wait <= most for wait in waits)
            assert min(waits) < most / 4
            assert max(waits) > most * 3 / 4

    def test_a_long_wait_stays_as_it_is(self) -> None:
        waits = [policy(wait=90.0).seconds(OSError(), 3) for _ in range(500)]
        assert 60 < max(waits) <= 90

    def test_no_wait(self) -> None:
        assert policy(wait=0.0).seconds(OSError(), 9) == 0

    def test_a_longer_wish_of_the_service_counts(self) -> None:
        error = OSError()
        error.retry_after = 7  # type: ignore[attr-defined]
        assert policy().seconds(error, 1) == 7
        assert policy(wait=60.0).seconds(error, 1) >= 7

    def test_more_than_an_hour_is_no_retry(self) -> None:
        error = OSError()
        error.retry_after = 3_600  # type: ignore[attr-defined]
        assert policy().allows(error, 1)
        error.retry_after = 3_601  # type: ignore[attr-defined]
        assert not policy().allows(error, 1)

    def test_streams_of_the_user_stay(self) -> None:
        random.seed(1)
        expected = random.random()
        random.seed(1)
        policy().seconds(OSError(), 1)
        assert random.random() == expected

    def test_it_can_be_sent(self) -> None:
        assert pickle.loads(pickle.dumps(policy())) == policy()


class _HTTPError(Exception):
    pass


def error_with(**attributes: Any) -> _HTTPError:
    error = _HTTPError()
    vars(error).update(attributes)
    return error


def response(value: Any, name: str = "Retry-After") -> _HTTPError:
    return error_with(response=SimpleNamespace(headers={"Date": "now", name: value}))


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("error", "seconds"),
        [
            (error_with(retry_after=3), 3),
            (error_with(retry_after=np.float64(2.5)), 2.5),
            (error_with(retry_after="4"), 4),
            (error_with(retry_after=datetime.timedelta(minutes=1)), 60),
            (error_with(headers={"retry-after": "5"}), 5),
            (error_with(headers=[(b"Retry-After", b"6")]), 6),
            (response("7"), 7),
            (response("7", "RETRY-AFTER"), 7),
            (response(" 8 "), 8),
            (response("0"), 0),
            (response("Wed, 21 Oct 2015 07:28:00 GMT"), 0),
            (error_with(retry_after="soon", headers={"Retry-After": "9"}), 9),
        ],
    )
    def test_is_found(self, error: Exception, seconds: float) -> None:
        assert retry_after(error) == seconds

    @pytest.mark.parametrize(
        "error",
        [
            OSError(), response("soon"), response(""), response("nan"), response("-1"), response("inf"), response(None),
            error_with(retry_after=True), error_with(retry_after=lambda: 3), error_with(headers=3),
            error_with(retry_after=float("nan")), error_with(response=None, headers=None),
        ],
    )  # fmt: skip
    def test_is_not_there(self, error: Exception) -> None:
        assert retry_after(error) is None

    @pytest.mark.parametrize("zone", [datetime.UTC, datetime.timezone(datetime.timedelta(hours=5))])
    def test_a_date(self, zone: datetime.tzinfo, monkeypatch: pytest.MonkeyPatch) -> None:
        now = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
        monkeypatch.setattr("time.time", now.timestamp)
        then = (now + datetime.timedelta(seconds=30)).astimezone(zone)
        assert retry_after(response(email.utils.format_datetime(then))) == 30
        assert retry_after(error_with(retry_after=then)) == 30

    def test_attributes_that_raise(self) -> None:
        class OddError(Exception):
            @property
            def response(self) -> Any:
                raise RuntimeError("there was no response")

            @property
            def retry_after(self) -> Any:
                raise SystemError

            headers = {"Retry-After": "2"}

        assert retry_after(OddError()) == 2


def test_the_note_says_how_often_it_was_tried() -> None:
    error = ValueError("x")
    note_tries(error, 3, 4.21)
    assert error.__notes__ == ["pdparallel: the function was called 3 times in 4.2 s, and raised each time"]


def test_an_exception_may_refuse_the_note() -> None:
    class RefusesError(Exception):
        def add_note(self, note: str) -> None:
            raise TypeError

    note_tries(RefusesError(), 3, 4.2)


class Clock:
    """A clock that goes only when it is told to, and timers that are late."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def begins_of(limit: RateLimit, clock: Clock, late: list[float], n: int, call_seconds: float = 0.0) -> list[float]:
    """The moments at which ``n`` calls begin, one after the other, with timers that are late in turn."""
    begins = []
    for number in range(n):
        clock.now += limit.reserve()
        while True:
            clock.now += late[number % len(late)]
            more = limit.begin()
            if not more:
                break
            clock.now += more
        begins.append(clock.now)
        clock.now += call_seconds
    return begins


def most_in_a_window(begins: list[float], seconds: float) -> int:
    return max(sum(start <= other < start + seconds - 1e-9 for other in begins) for start in begins)


LATE: dict[str, list[float]] = {
    "never": [0.0], "a little": [0.0001, 0.004, 0.0, 0.009], "much": [0.0, 0.3, 0.0, 0.0, 2.5, 0.02, 0.0, 0.0],
}  # fmt: skip


class TestRate:
    @pytest.mark.parametrize("late", LATE)
    @pytest.mark.parametrize("rate", [1, 2.5, 3, 10, 100, 1_000])
    def test_no_second_has_more_calls(self, rate: float, late: str) -> None:
        clock = Clock()
        begins = begins_of(RateLimit(rate, clock), clock, LATE[late], min(300, int(rate) * 5))
        most = max(1, int(rate))
        assert most_in_a_window(begins, most / rate) <= most

    def test_a_slow_rate(self) -> None:
        clock = Clock()
        begins = begins_of(RateLimit(1 / 3_600, clock), clock, LATE["much"], 20)
        assert min(np.diff(begins)) >= 3_600

    @pytest.mark.parametrize("late", ["never", "a little"])
    def test_the_rate_is_used(self, late: str) -> None:
        clock = Clock()
        begins = begins_of(RateLimit(50, clock), clock, LATE[late], 500)
        assert begins[-1] - begins[0] <= 500 / 50 * 1.04

    def test_calls_that_take_long_wait_for_nothing(self) -> None:
        clock = Clock()
        limit = RateLimit(10, clock)
        for _ in range(5):
            assert limit.reserve() == 0
            assert limit.begin() == 0
            clock.now += 0.5

    def test_a_pause_saves_no_slots(self) -> None:
        clock = Clock()
        limit = RateLimit(10, clock)
        begins_of(limit, clock, [0.0], 5)
        clock.now += 60
        begins = begins_of(limit, clock, [0.0], 5)
        assert min(np.diff(begins)[1:]) > 0.1

    def test_calls_of_a_loop_are_even(self) -> None:
        """Many calls take their slots at once, as coroutines do."""
        clock = Clock()
        limit = RateLimit(10, clock)
        assert np.diff([limit.reserve() for _ in range(20)]).round(6).tolist() == [0.103] * 19

    def test_no_two_threads_have_the_same_slot(self) -> None:
        clock = Clock()
        limit, waits = RateLimit(100, clock), list[float]()

        def take() -> None:
            waits.extend(limit.reserve() for _ in range(200))

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert np.diff(sorted(waits)).min() == pytest.approx(0.0103)

    def test_its_clock_never_goes_back(self) -> None:
        assert RateLimit(1)._clock is time.monotonic
