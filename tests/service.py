"""A service on this machine whose calls wait, fail, drip and die as they are told: ``with Service() as service``.

It runs in a process of its own, on a free port that it keeps after a restart. What it does with a call depends only on
the key of the call and on how often this key was asked before::

    service.url + "/rows/17"                               {"key": "17", "attempt": 1, "value": 289}
    service.url + "/rows/17?status=429&times=2"            the first two attempts get status 429

The parameters of an address are the fields of :class:`Behaviour`, and win over those of the service. The log is a file
that each process of the service continues. So it survives a kill, and attempts are counted on after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import email.utils
import json
import math
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

__all__ = ["Behaviour", "Call", "Service", "value_of"]

ROOT = Path(__file__).parent.parent

#: Exit code of a service that ``dies_after`` ended.
DIED = 70

#: Seconds that a service may take to import aiohttp and to listen.
START_SECONDS = 60.0

#: Parts in which a slow body arrives.
DRIPS = 10


@dataclass(frozen=True)
class Behaviour:
    """How calls are answered. A share of keys is a number (0.2: 20 % of them, by hash), or a collection of keys.

    Attributes
    ----------
    latency : float
        Seconds before each answer.
    too_many, unavailable, resets, drips : float or collection of str
        Keys that get status 429, status 503, a reset connection, or a slow body. The first that fits counts.
    times : int
        Attempts of such a key that fail. A later one succeeds. Slow bodies are slow each time.
    retry_after : float, optional
        Seconds in the header ``Retry-After`` of 429 and 503. With `as_date` it is an HTTP date, rounded up to a second.
    as_date : bool
        See `retry_after`.
    status : int, optional
        For one address: the first `times` attempts get this status.
    reset : bool
        For one address: the first `times` attempts are reset.
    drip : float
        Seconds that a slow body takes; an address that names it has one.
    max_at_once : int, optional
        Calls above this number get 503, or a reset connection with `above="reset"`.
    above : str
        See `max_at_once`.
    dies_after : int, optional
        The process ends when one more call than this arrives. This happens once: after a restart it lives.
    """

    latency: float = 0.0
    too_many: float | Iterable[str] = 0.0
    unavailable: float | Iterable[str] = 0.0
    resets: float | Iterable[str] = 0.0
    drips: float | Iterable[str] = 0.0
    times: int = 1
    retry_after: float | None = None
    as_date: bool = False
    status: int | None = None
    reset: bool = False
    drip: float = 0.0
    max_at_once: int | None = None
    above: str = "503"
    dies_after: int | None = None

    def for_address(self, query: Iterable[tuple[str, str]]) -> Behaviour:
        """Replace fields by the parameters of an address."""
        return dataclasses.replace(self, **{name: json.loads(text) for name, text in query})

    def answer(self, key: str, attempt: int) -> int | str:
        """Return the status of an attempt, ``"reset"`` or ``"drip"``."""
        kinds: dict[int | str, object] = {}
        if attempt <= self.times:
            kinds = {429: self.too_many, 503: self.unavailable, "reset": self.resets}
            if self.reset or self.status is not None:
                return "reset" if self.reset else int(self.status or 0)
        for kind, share in kinds.items():
            if _is_in(share, key, kind):
                return kind
        return "drip" if self.drip and (_is_in(self.drips, key, "drip") or not self.drips) else 200


def _is_in(share: Any, key: str, kind: object) -> bool:
    if isinstance(share, int | float):
        return zlib.crc32(f"{kind} {key}".encode()) % 10_000 < share * 10_000
    return key in map(str, share)


def value_of(key: str) -> int | str:
    """Return what the service answers for a key: the square of a number, or the text in capitals."""
    return int(key) ** 2 if key.lstrip("-").isdecimal() else key.upper()


class Call(NamedTuple):
    """A line of the log.

    Attributes
    ----------
    key : str
        Of the address.
    time : float
        Seconds at which the call arrived, by ``time.monotonic()``, which all processes of a machine share.
    status : int, str or None
        200, 429, ..., ``"reset"``, or None if nothing was answered: the service or the client ended before.
    ended : float or None
        Seconds at which it was answered, or at which the client gave up. None if the service ended before.
    """

    key: str
    time: float
    status: int | str | None
    ended: float | None


class Service:
    """The service, as tests use it. Give the fields of :class:`Behaviour` as arguments."""

    def __init__(self, **behaviour: Any) -> None:
        self._behaviour = Behaviour(**behaviour)
        self._process: subprocess.Popen[str] | None = None
        self._last: list[Call] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Service:
        """Start the process on a free port, and return this object. ``with`` does the same."""
        self._folder = Path(tempfile.mkdtemp(prefix="service-"))
        self._log = self._folder / "log"
        self._log.touch()
        # Bound but not listening: the port stays ours while the service is dead, and connections are refused.
        self._reserved = socket.socket()
        _share_port(self._reserved)
        try:
            self._reserved.bind(("127.0.0.1", 0))
            self.port = self._reserved.getsockname()[1]
            if not hasattr(socket, "SO_REUSEPORT"):
                self._reserved.close()
            self.restart()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process, and remove its files. The log can still be read."""
        self.kill()
        self._last = self.calls()
        self._reserved.close()
        shutil.rmtree(self._folder)

    def __enter__(self) -> Service:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End the process with SIGKILL. What was under way is never answered."""
        if self._process is not None:
            self._process.kill()
            self.wait_for_end()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
            self._process = None

    def wait_for_end(self, seconds: float = 60.0) -> int:
        """Wait until the process has ended, and return its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def restart(self, **changes: Any) -> None:
        """Start the process again on the same port, with other fields of its behaviour if they are given."""
        if self._process is not None and self._process.poll() == DIED:
            changes = {"dies_after": None, **changes}
        self.kill()
        self._behaviour = dataclasses.replace(self._behaviour, **changes)
        command = [sys.executable, "-m", "tests.service", str(self.port), str(self._log), _as_json(self._behaviour)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment(), cwd=self._folder
        )
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        timer.cancel()
        timer.join()
        if said != "listens\n":
            raise RuntimeError(f"the service did not start: exit code {self.wait_for_end()}")

    def calls(self) -> list[Call]:
        """Return all calls since the beginning, in the order of their arrival. It works after the end, too."""
        return read_log(self._log) if self._folder.exists() else self._last

    def statuses(self) -> Counter[int | str | None]:
        """Return how often each status was answered."""
        return Counter(call.status for call in self.calls())

    def successes(self) -> Counter[str]:
        """Return how often each key was answered with 200."""
        return Counter(call.key for call in self.calls() if call.status == 200)

    def most_in_any_second(self, seconds: float = 1.0) -> int:
        """Return the largest number of calls that arrived within a second, wherever it begins."""
        times = sorted(call.time for call in self.calls())
        most = first = 0
        for last, time_ in enumerate(times):
            while time_ - times[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def most_at_once(self) -> int:
        """Return the largest number of calls that were under way at one moment. Calls that a kill ended count on."""
        moments = [(call.time, 1) for call in self.calls()]
        moments += [(call.ended, -1) for call in self.calls() if call.ended is not None]
        most = now = 0
        for _, step in sorted(moments):
            now += step
            most = max(most, now)
        return most


def read_log(log: Path) -> list[Call]:
    """Read a log. The last line may be cut off by a kill."""
    arrived: dict[str, tuple[str, float]] = {}
    ended: dict[str, tuple[Any, float]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            kind, number, what, time_ = json.loads(line)
            (arrived if kind == "arrived" else ended)[number] = (what, time_)
    found = [Call(key, time_, *ended.get(number, (None, None))) for number, (key, time_) in arrived.items()]
    return sorted(found, key=lambda call: call.time)


def _as_json(behaviour: Behaviour) -> str:
    return json.dumps(dataclasses.asdict(behaviour), default=lambda keys: sorted(map(str, keys)))


def _environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _share_port(bound: socket.socket) -> None:
    if hasattr(socket, "SO_REUSEPORT"):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


# The process of the service


class _Log:
    """The file, written at once and unbuffered, so that nothing is lost with the process."""

    def __init__(self, path: Path) -> None:
        before = read_log(path)
        self.attempts = Counter(call.key for call in before)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        self._file.write(b"\n" * bool(before))  # the line before may have no end

    def arrived(self, key: str) -> str:
        self.attempts[key] += 1
        number = f"{os.getpid()} {self.attempts.total()}"
        self._write("arrived", number, key)
        return number

    def ended(self, number: str, status: int | str | None) -> None:
        self._write("ended", number, status)

    def _write(self, *line: object) -> None:
        self._file.write(json.dumps([*line, time.monotonic()]).encode() + b"\n")


class _Answers:
    """The handler of all calls."""

    def __init__(self, behaviour: Behaviour, log: _Log) -> None:
        self._behaviour = behaviour
        self._log = log
        self._arrived = self._at_once = 0

    async def handle(self, request: Any) -> Any:
        key = request.match_info["key"]
        number = self._log.arrived(key)
        self._arrived += 1
        if self._arrived - 1 == self._behaviour.dies_after:
            os._exit(DIED)
        behaviour = self._behaviour.for_address(request.query.items())
        attempt = self._log.attempts[key]
        kind = behaviour.answer(key, attempt)
        self._at_once += 1
        try:
            if behaviour.max_at_once is not None and self._at_once > behaviour.max_at_once:
                kind = "reset" if behaviour.above == "reset" else 503
            else:
                await asyncio.sleep(behaviour.latency)
            if kind == "reset":
                return self._reset(request, number)
            return await self._answer(request, number, behaviour, kind, attempt)
        except asyncio.CancelledError:
            self._log.ended(number, None)
            raise
        finally:
            self._at_once -= 1

    def _reset(self, request: Any, number: str) -> Any:
        from aiohttp import web

        self._log.ended(number, "reset")
        transport = request.transport
        if transport is not None:
            linger = struct.pack("ii", 1, 0)  # so that the client gets a reset, and not the end of the stream
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        return web.Response()

    async def _answer(self, request: Any, number: str, behaviour: Behaviour, kind: int | str, attempt: int) -> Any:
        from aiohttp import web

        key, status = request.match_info["key"], 200 if kind == "drip" else int(kind)
        content: dict[str, object] = {"key": key, "attempt": attempt}
        content |= {"value": value_of(key)} if status == 200 else {"error": f"status {status}"}
        body, headers = json.dumps(content).encode(), {"Content-Type": "application/json"}
        if behaviour.retry_after is not None and status in (429, 503):
            headers["Retry-After"] = f"{behaviour.retry_after:g}"
            if behaviour.as_date:
                headers["Retry-After"] = email.utils.formatdate(
                    math.ceil(time.time() + behaviour.retry_after), usegmt=True
                )
        if kind != "drip":
            self._log.ended(number, status)
            return web.Response(status=status, body=body, headers=headers)
        response = web.StreamResponse(headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        for part in range(DRIPS):
            await asyncio.sleep(behaviour.drip / DRIPS)
            if part == DRIPS - 1:
                self._log.ended(number, status)
            await response.write(body[part * len(body) // DRIPS : (part + 1) * len(body) // DRIPS])
        return response


async def _serve(port: int, log: Path, behaviour: Behaviour) -> None:
    from aiohttp import web

    app = web.Application()
    app.router.add_route("*", "/rows/{key}", _Answers(behaviour, _Log(log)).handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    bound = socket.socket()
    _share_port(bound)
    if os.name == "posix":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    await web.SockSite(runner, bound, backlog=1_024).start()
    print("listens", flush=True)
    await asyncio.Event().wait()


def _end_with(stream: IO[str]) -> None:
    """End this process with the one that started it: then the pipe between them is closed, however that one ended."""
    stream.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), Behaviour(**json.loads(sys.argv[3]))))
