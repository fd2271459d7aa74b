"""The service and the fakes that other tests use: each behaviour, by the clients that users have."""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx
import pytest
import requests

from pdparallel.testing.leaks import children, wait_until
from tests.fakes import InterfaceError, create_pool, open_connections
from tests.service import DIED, ROOT, Behaviour, Service, value_of


@pytest.fixture(scope="module")
def service():
    with Service() as service:
        yield service


def get(service, address):
    """Status, content and headers of one call."""
    answer = requests.get(f"{service.url}/rows/{address}", timeout=60)
    return answer.status_code, answer.json(), answer.headers


def by_httpx(url, keys):
    async def all_of_them():
        async with httpx.AsyncClient(timeout=60) as client:
            answers = await asyncio.gather(*(client.get(f"{url}/rows/{key}") for key in keys))
            return [answer.json()["value"] for answer in answers]

    return asyncio.run(all_of_them())


def by_aiohttp(url, keys):
    async def one(session, key):
        async with session.post(f"{url}/rows/{key}", json={"a": 1}) as answer:
            return (await answer.json())["value"]

    async def all_of_them():
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(*(one(session, key) for key in keys))

    return asyncio.run(all_of_them())


def by_requests(url, keys):
    with requests.Session() as session:
        return [session.get(f"{url}/rows/{key}", timeout=60).json()["value"] for key in keys]


def by_urllib(url, keys):
    def one(key):
        with urllib.request.urlopen(f"{url}/rows/{key}", timeout=60) as answer:
            return json.load(answer)["value"]

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, keys))


@pytest.mark.parametrize("client", [by_httpx, by_aiohttp, by_requests, by_urllib])
def test_each_client_gets_its_values(service, client):
    keys = [f"{client.__name__}-{number}" for number in range(20)] + ["7"]
    assert client(service.url, keys) == [value_of(key) for key in keys]
    assert {key: service.successes()[key] for key in keys[:20]} == dict.fromkeys(keys[:20], 1)


def test_values():
    assert [value_of(key) for key in ("12", "-3", "a b")] == [144, 9, "A B"]


def test_attempts_of_a_key_are_counted(service):
    address = "second-try?status=503&times=2&retry_after=0.25"
    found = [get(service, address) for _ in range(3)]
    assert [(status, content["attempt"]) for status, content, _ in found] == [(503, 1), (503, 2), (200, 3)]
    assert [headers.get("Retry-After") for *_, headers in found] == ["0.25", "0.25", None]


def test_retry_after_is_a_date(service):
    before = time.time()
    _, _, headers = get(service, "date?status=429&retry_after=30&as_date=true")
    date = email.utils.parsedate_to_datetime(headers["Retry-After"])
    assert before + 30 <= date.timestamp() <= time.time() + 31


def test_a_reset_connection_has_the_error_of_each_client(service):
    def address(key):
        return f"{service.url}/rows/{key}?reset=true&times=1"

    async def by_coroutines():
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ReadError):
                await client.get(address("httpx-reset"))
            assert (await client.get(address("httpx-reset"))).json()["attempt"] == 2
        async with aiohttp.ClientSession() as session:
            with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
                await session.post(address("aiohttp-reset"))

    asyncio.run(by_coroutines())
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(address("requests-reset"), timeout=60)
    with pytest.raises(OSError, match="reset"):
        urllib.request.urlopen(address("urllib-reset"), timeout=60)
    assert [call.status for call in service.calls() if call.key.endswith("-reset")].count("reset") == 4


def test_a_slow_body(service):
    assert get(service, "drip?drip=0.2")[1]["value"] == "DRIP"
    (call,) = (call for call in service.calls() if call.key == "drip")
    assert call.ended - call.time >= 0.2


def test_latency(service):
    get(service, "late?latency=0.1")
    (call,) = (call for call in service.calls() if call.key == "late")
    assert call.ended - call.time >= 0.1


def test_a_call_that_the_client_gives_up_has_no_status(service):
    with pytest.raises(requests.exceptions.Timeout):
        requests.get(f"{service.url}/rows/given-up?latency=60", timeout=0.2)

    def given_up():
        (call,) = (call for call in service.calls() if call.key == "given-up")
        return call.status is None and call.ended is not None

    assert wait_until(given_up, 60)


def test_an_unknown_behaviour_is_an_error():
    with pytest.raises(TypeError, match="latensy"):
        Service(latensy=1)


def test_a_share_of_the_keys_is_the_same_everywhere():
    behaviour = Behaviour(too_many=0.2, unavailable=0.1, resets=["5", "6"], drips=0.1, drip=1, times=2)
    keys = [str(number) for number in range(2_000)]
    found = [behaviour.answer(key, 1) for key in keys]
    assert found == [behaviour.answer(key, 2) for key in keys]
    assert 300 < found.count(429) < 500
    assert 100 < found.count(503) < 220
    assert {behaviour.answer(key, 3) for key in keys} == {200, "drip"}
    assert "reset" in found
    assert Behaviour(resets=["5", "6"]).answer("5", 1) == "reset"


@pytest.mark.parametrize(("above", "status"), [("503", 503), ("reset", "reset")])
def test_calls_above_the_limit_are_refused(above, status):
    with Service(latency=0.2, max_at_once=3, above=above) as service:
        with ThreadPoolExecutor(8) as pool:
            for call in [pool.submit(get, service, key) for key in range(8)]:
                if above == "503":
                    call.result()
                else:
                    call.exception()
        assert service.statuses()[200] >= 3
        assert service.statuses().keys() <= {200, status}
        assert service.most_at_once() >= 3


def test_the_log_and_the_port_outlive_a_kill():
    with Service(too_many={1}, times=2) as service:
        url = service.url
        assert [get(service, key)[0] for key in (1, 2)] == [429, 200]
        service.kill()
        assert not service.is_alive
        with pytest.raises(requests.exceptions.ConnectionError, match="refused"):
            get(service, 3)
        service.restart()
        assert service.url == url
        assert [get(service, 1)[0] for _ in range(2)] == [429, 200]
        service.restart(too_many=1.0)
        assert get(service, 4)[0] == 429
    assert [(call.key, call.status) for call in service.calls()] == [
        ("1", 429), ("2", 200), ("1", 429), ("1", 200), ("4", 429)
    ]  # fmt: skip
    assert service.successes() == {"2": 1, "1": 1}


def test_it_dies_once():
    with Service(dies_after=2) as service:
        assert [get(service, key)[0] for key in "ab"] == [200, 200]
        with pytest.raises(requests.exceptions.ConnectionError):
            get(service, "c")
        assert service.wait_for_end() == DIED
        service.restart()
        assert [get(service, key)[0] for key in "cd"] == [200, 200]
        service.restart(dies_after=1)
        assert [get(service, "e")[0], service.is_alive] == [200, True]
        assert [call.status for call in service.calls()] == [200, 200, None, 200, 200, 200]


def test_the_rate_is_the_largest_of_all_windows(tmp_path, monkeypatch):
    log = tmp_path / "log"
    times = [0.0, 0.5, 0.9, 1.4, 1.5, 3.0]
    lines = [["arrived", str(number), "a", at] for number, at in enumerate(times)]
    lines += [["ended", "0", 200, 1.0], ["ended", "1", 200, 0.6]]
    log.write_text("\n".join(map(json.dumps, lines)) + '\n["arri')
    service = Service()
    monkeypatch.setattr(service, "_folder", tmp_path, raising=False)
    monkeypatch.setattr(service, "_log", log, raising=False)
    assert service.most_in_any_second() == 3
    assert service.most_in_any_second(1.1) == 4
    assert service.calls()[0] == ("a", 0.0, 200, 1.0)
    assert service.most_at_once() == 4


def test_no_process_is_left():
    before = {child.pid for child in children()}
    with Service() as service:
        get(service, 1)
        assert len({child.pid for child in children()} - before) == 1
    assert {child.pid for child in children()} == before


@pytest.mark.skipif(os.name == "nt", reason="kills with a signal")
def test_it_ends_with_the_process_that_started_it():
    program = """
import time
from tests.service import Service
service = Service().__enter__()
print(service.url, service._process.pid, service._folder, flush=True)
time.sleep(100)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        url, pid, folder = process.stdout.readline().split()
        assert requests.get(f"{url}/rows/1", timeout=60).status_code == 200
        process.send_signal(signal.SIGKILL)

    def is_gone():
        try:
            urllib.request.urlopen(f"{url}/rows/1", timeout=1)
        except OSError:
            return True

    assert wait_until(is_gone, 60), pid
    os.remove(f"{folder}/log")
    os.rmdir(folder)


# The fakes


def test_a_pool_has_as_many_connections_as_it_may():
    async def uses():
        async with create_pool(max_size=3, latency=0.01) as pool:

            async def one(number):
                async with pool.acquire() as connection:
                    return await connection.fetchval("select $1", number)

            found = await asyncio.gather(*map(one, range(20)))
            assert (open_connections(), pool.opened, pool.queries) == (3, 3, 20)
        return found

    assert asyncio.run(uses()) == list(range(20))
    assert open_connections() == 0


def test_a_pool_that_is_not_closed_is_seen():
    async def leaves():
        pool = await create_pool(answer=lambda query: query.upper())
        connection = await pool.acquire()
        assert await connection.fetchval("a") == "A"
        await pool.release(connection)
        return pool

    pool = asyncio.run(leaves())
    assert open_connections() == 1
    pool.terminate()
    assert open_connections() == 0


@pytest.mark.parametrize("is_idle", [True, False])
def test_a_pool_belongs_to_its_loop(is_idle):
    async def uses(pool):
        async with pool.acquire() as connection:
            await connection.fetchval("a")

    async def makes():
        pool = await create_pool()
        if is_idle:
            await uses(pool)
        return pool

    pool = asyncio.run(makes())
    with pytest.raises(RuntimeError, match="attached to a different loop"):
        asyncio.run(uses(pool))
    pool.terminate()
    assert open_connections() == 0


def test_errors_of_a_pool():
    async def uses():
        async with create_pool() as pool, pool.acquire() as connection:
            found = await asyncio.gather(connection.fetchval("a"), connection.fetchval("b"), return_exceptions=True)
        with pytest.raises(InterfaceError, match="pool is closed"):
            await pool.acquire()
        with pytest.raises(InterfaceError, match="connection is closed"):
            await connection.fetchval("a")
        return found

    first, second = asyncio.run(uses())
    assert first == "a"
    assert "another operation is in progress" in str(second)


def test_closing_a_pool_waits_for_its_connections():
    async def uses():
        pool = await create_pool(max_size=1)
        connection = await pool.acquire()
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0)
        assert open_connections() == 1
        await pool.release(connection)
        await closing

    asyncio.run(uses())
    assert open_connections() == 0


def test_a_cancelled_query_leaves_no_connection():
    async def uses():
        async with create_pool(max_size=1, latency=0.01) as pool:

            async def one():
                async with pool.acquire() as connection:
                    await connection.fetchval("a")

            tasks = [asyncio.create_task(one()) for _ in range(4)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await one()

    asyncio.run(uses())
    assert open_connections() == 0
