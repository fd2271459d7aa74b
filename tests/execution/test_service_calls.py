"""Calls of a real service: retries, a rate, a service that dies, and a call that goes on where the first one ended."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading

import pandas as pd
import pytest

import pdparallel
from tests.service import Service

httpx = pytest.importorskip("httpx")
aiohttp = pytest.importorskip("aiohttp")
requests = pytest.importorskip("requests")

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in.*(socket|ransport):pytest.PytestUnraisableExceptionWarning"
    ),
]

N = 200
ROWS = pd.DataFrame({"key": range(N)})
EXPECTED = pd.Series([key**2 for key in range(N)])


async def connect(url):
    global client
    client = httpx.AsyncClient(base_url=url, timeout=30)


async def close():
    global client
    if client is not None:
        await client.aclose()
    client = None


client = None


@pytest.fixture(autouse=True)
def no_client_is_left():
    yield
    pdparallel.map(lambda _: close(), [0])
    gc.collect()  # the clients of earlier calls, which nobody closed


async def fetch(row):
    answer = await client.get(f"/rows/{row['key']}")
    answer.raise_for_status()
    return answer.json()["value"]


def test_one_call_gets_every_row_right(tmp_path):
    """429 for a fifth of the rows, and the service dies once in the middle and starts again."""
    behaviour = {"too_many": 0.2, "retry_after": 0.2, "times": 1, "latency": 0.01, "dies_after": 100}
    with Service(**behaviour) as service:

        def start_again():
            service.wait_for_end()
            service.restart()

        starter = threading.Thread(target=start_again)
        starter.start()
        par = ROWS.par(
            initializer=connect,
            initargs=(service.url,),
            retry_on=(httpx.HTTPStatusError, httpx.TransportError),
            retries=40,
            retry_wait=0.05,
            rate_limit=100,
            checkpoint=tmp_path / "calls",
        )
        with pdparallel.profile() as found:
            pd.testing.assert_series_equal(par.apply_rows(fetch), EXPECTED)
        starter.join()
        assert service.successes() == {str(key): 1 for key in range(N)}
        times = [call.time for call in service.calls()]
        assert times[-1] - times[0] > 0.8 * len(times) / 100  # calls may arrive later than they begin
        assert service.statuses()[429] > 20
        assert found.calls["retried"][1] >= service.statuses()[429]
        before = len(service.calls())
        pd.testing.assert_series_equal(par.apply_rows(fetch), EXPECTED)
        assert len(service.calls()) == before  # all is in the folder


def test_a_call_goes_on_after_the_service_died(tmp_path):
    with Service(latency=0.005, dies_after=90) as service:
        par = ROWS.par(initializer=connect, initargs=(service.url,), checkpoint=tmp_path / "calls", max_concurrency=4)
        with pytest.raises(httpx.TransportError) as failed:
            par.apply_rows(fetch)
        assert "rows are safe in" in failed.value.__notes__[-1]
        service.restart()
        pd.testing.assert_series_equal(par.apply_rows(fetch), EXPECTED)
        assert service.successes() == {str(key): 1 for key in range(N)}


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(as_date):
    with Service(too_many=[3], retry_after=1.0, as_date=as_date) as service:
        par = ROWS.head(5).par(
            initializer=connect, initargs=(service.url,), retry_on=httpx.HTTPStatusError, retry_wait=0
        )
        assert par.apply_rows(fetch).tolist() == [0, 1, 4, 9, 16]
        first, second = (call.time for call in service.calls() if call.key == "3")
        assert second - first >= (0.0 if as_date else 1.0)


def test_a_waiting_retry_holds_no_slot():
    with Service(too_many=range(4), retry_after=2.0) as service:
        par = ROWS.head(40).par(
            initializer=connect, initargs=(service.url,), retry_on=httpx.HTTPStatusError, max_concurrency=4
        )
        assert par.apply_rows(fetch).tolist() == EXPECTED.head(40).tolist()
        last = [call.key for call in service.calls()][-4:]
        assert set(last) == {"0", "1", "2", "3"}  # all others came in between


def test_aiohttp():
    async def begin(url):
        global session
        session = aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0))

    async def ask(row):
        async with session.get(f"/rows/{row['key']}") as answer:
            answer.raise_for_status()
            return (await answer.json())["value"]

    async def end():
        await session.close()

    with Service(unavailable=0.2, retry_after=0.1, latency=0.05) as service:
        par = ROWS.par(
            initializer=begin,
            initargs=(service.url,),
            retry_on=aiohttp.ClientResponseError,
            max_concurrency=50,
        )
        pd.testing.assert_series_equal(par.apply_rows(ask), EXPECTED)
        assert service.most_at_once() <= 50
        pdparallel.map(lambda _: end(), [0])


def test_threads():
    own = threading.local()

    def ask(row):
        if not hasattr(own, "session"):
            own.session = requests.Session()
        answer = own.session.get(f"{url}/rows/{row['key']}", timeout=30)
        answer.raise_for_status()
        return answer.json()["value"]

    with Service(too_many=0.2, retry_after=0.1, latency=0.01) as service:
        url = service.url
        par = ROWS.par(engine="thread", n_workers=16, retry_on=requests.HTTPError, rate_limit="9000/min")
        pd.testing.assert_series_equal(par.apply_rows(ask), EXPECTED)
        assert service.successes() == {str(key): 1 for key in range(N)}


def test_a_handler_of_fastapi():
    fastapi = pytest.importorskip("fastapi")
    app = fastapi.FastAPI()

    async def ask_with(one, row):
        answer = await one.get(f"/rows/{row['key']}")
        return answer.json()["value"]

    with Service(latency=0.01) as service:

        @app.get("/awaited")
        async def awaited():
            async with httpx.AsyncClient(base_url=service.url) as one:
                found = await ROWS.par.background.apply_rows(lambda row: ask_with(one, row))
            return found.tolist()

        @app.get("/blocking")
        def blocking():
            return ROWS.par(initializer=connect, initargs=(service.url,)).apply_rows(fetch).tolist()

        async def main():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
                answers = await asyncio.gather(browser.get("/awaited"), browser.get("/blocking"))
            return [answer.json() for answer in answers]

        assert asyncio.run(main()) == [EXPECTED.tolist()] * 2


SCRIPT = """
import json, sys
import httpx, pandas as pd, pdparallel

async def connect():
    global client
    client = httpx.AsyncClient(base_url=sys.argv[1])

async def fetch(row):
    return (await client.get(f"/rows/{row['key']}")).json()["value"]

frame = pd.DataFrame({"key": range(20)})
values = [frame.par(initializer=connect, engine=engine).apply_rows(fetch).tolist() for engine in ("auto", "process")]
print(json.dumps(values))
"""


def test_a_script_without_guard(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    with Service() as service:
        strict = ["-W", "error", "-W", "ignore::ResourceWarning"]
        command = [sys.executable, *strict, str(tmp_path / "script.py"), service.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [EXPECTED.head(20).tolist()] * 2
