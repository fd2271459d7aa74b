"""Ray: one on this machine gives what pandas gives; what goes wrong there is told here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import pdparallel
from pdparallel import WorkerStartError
from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing.leaks import children, wait_until
from tests.clusters.suite import (
    MARKS,
    ROOT,
    Answers,
    Contract,
    Frames,
    Options,
    S,
    Scripts,
    Stores,
    assert_tells_of_rows,
    dies_once,
    kills_at_seven,
    printed,
)

ray = pytest.importorskip("ray")

pytestmark = MARKS


@pytest.fixture
def ray_here() -> str:
    if not ray.is_initialized():
        environment = {"env_vars": {"PYTHONPATH": ROOT}}
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment,
            _system_config={"worker_niceness": 0},
        )  # fmt: skip
    return "ray"


@pytest.fixture(scope="module", autouse=True)
def it_ends() -> Iterator[None]:
    yield
    pdparallel.shutdown()
    ray.shutdown()


@pytest.fixture
def none_is_here() -> None:
    """A program would find it, also while it ends."""
    pdparallel.shutdown()
    ray.shutdown()
    assert wait_until(lambda: not [child for child in children() if "/ray/" in child.command], 30)


CLUSTERS = {"Ray": "ray_here"}


class TestContract(Contract): ...


class TestFrames(Frames): ...


class TestAnswers(Answers): ...


class TestOptions(Options): ...


class TestStores(Stores): ...


@pytest.mark.usefixtures("none_is_here")
class TestScripts(Scripts):
    name = "ray"


# Workers that end


def test_a_ray_worker_that_is_killed_in_the_middle_loses_nothing(ray_here: str, tmp_path: Path) -> None:
    s = pd.Series(range(40))
    assert_same_as_pandas(
        lambda: s.par(engine="ray", chunk_size=5).map(dies_once(tmp_path)), lambda: s.map(lambda x: x * 2)
    )
    assert (tmp_path / "died").exists()


def test_a_value_that_kills_each_ray_worker_is_told(ray_here: str) -> None:
    s = S
    assert_tells_of_rows(lambda: s.par(engine="ray", chunk_size=3).map(kills_at_seven))
    assert s.par(engine="ray").map(str).tolist() == s.map(str).tolist()


# Whose Ray


@pytest.mark.usefixtures("none_is_here")
def test_workers_are_as_important_as_the_program(tmp_path: Path) -> None:
    text = """
        os.nice(3)
        found = pd.Series(range(4)).par(engine="ray", n_workers=1).map(lambda _: os.nice(0))
        print(os.nice(0), set(found))
    """
    assert printed(tmp_path, text) == "3 {3}\n"


@pytest.mark.usefixtures("none_is_here")
def test_a_ray_that_the_user_begins_later_stays_the_users(tmp_path: Path) -> None:
    text = """
        import ray, shutil, tempfile
        theirs = tempfile.mkdtemp(dir="/tmp")
        s = pd.Series(range(4))
        assert s.par(engine="ray", n_workers=1).map(abs).tolist() == s.tolist()
        ray.shutdown()
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=theirs)
        assert s.par(engine="ray", n_workers=2).map(abs).tolist() == s.tolist()
        pdparallel.shutdown()
        print(ray.is_initialized())
        ray.shutdown()
        shutil.rmtree(theirs)
    """
    assert printed(tmp_path, text) == "True\n"


# Ray's driver: Ray ends the process that it runs in when one of these happens, and it must not be the user's


#: What finds the processes of Ray that a program has, by a part of their command.
FIND = """
        import psutil, signal, sys
        def find(part):
            return [p for p in psutil.Process().children(recursive=True) if part in " ".join(p.cmdline()[:3])]
        s = pd.Series(range(40))
        par = s.par(engine="ray", n_workers=2, chunk_size=2)
        assert par.map(abs).tolist() == s.tolist()
"""


@pytest.mark.usefixtures("none_is_here")
@pytest.mark.parametrize("dies", ["gcs_server", "raylet", "ray_driver"])
def test_a_ray_that_dies_between_two_calls_is_replaced(
    dies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")  # a minute otherwise
    text = f"""{FIND}
        [found] = [p for p in find({dies!r}) if "gcs_server" not in p.name() or {dies!r} == "gcs_server"][:1]
        [driver] = find("ray_driver")
        found.kill()
        if {dies!r} == "gcs_server":
            psutil.wait_procs([driver], timeout=60)
            assert not driver.is_running() or driver.status() == "zombie"
        for _ in range(3):
            try:
                assert par.map(lambda x: -x).tolist() == (-s).tolist()
                break
            except pdparallel.WorkerDiedError as error:
                print("told", file=sys.stderr)
        pdparallel.shutdown()
        print("goes on", "ray" in sys.modules)
    """
    assert printed(tmp_path, text) == "goes on False\n"


@pytest.mark.usefixtures("none_is_here")
@pytest.mark.parametrize("sent", ["SIGKILL", "SIGABRT", "SIGTERM"])
def test_a_driver_that_dies_in_the_middle_of_a_call_is_told(sent: str, tmp_path: Path) -> None:
    text = f"""{FIND}
        def slow(x):
            pathlib.Path("beat").touch()
            time.sleep(0.2)
            return x
        future = par.background.map(slow)
        while not pathlib.Path("beat").exists():
            time.sleep(0.01)
        find("ray_driver")[0].send_signal(signal.{sent})
        try:
            future.result()
        except pdparallel.WorkerDiedError as error:
            print("The helper process for Ray ended" in str(error))
        assert par.map(lambda x: -x).tolist() == (-s).tolist()
        print("goes on")
    """
    assert printed(tmp_path, text) == "True\ngoes on\n"


@pytest.mark.usefixtures("none_is_here")
def test_threads_that_call_cancel_and_fail_while_another_one_shuts_down(tmp_path: Path) -> None:
    text = """
        import threading
        s = pd.Series(range(100))
        stop = threading.Event()
        wrong = []
        def calls(number):
            par = s.par(engine="ray", n_workers=2, chunk_size=5)
            while not stop.is_set():
                try:
                    if number == 0:
                        assert par.map(abs).tolist() == s.tolist()
                    elif number == 1:
                        par.background.map(lambda x: time.sleep(0.01)).cancel()
                    else:
                        try:
                            par.map(lambda x: 1 // (x - 50))
                        except ZeroDivisionError:
                            pass
                except BaseException as error:
                    wrong.append(repr(error))
        threads = [threading.Thread(target=calls, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            time.sleep(1)
            pdparallel.shutdown()
        stop.set()
        for thread in threads:
            thread.join()
        print(wrong)
    """
    assert printed(tmp_path, text) == "[]\n"


def test_the_users_ray_is_joined_as_it_is(ray_here: str) -> None:
    here = ray.get_runtime_context()
    nodes = lambda _: (ray.get_runtime_context().get_node_id(), ray.get_runtime_context().namespace)
    assert set(S.par(engine="ray").map(nodes)) == {(here.get_node_id(), here.namespace)}


def test_a_ray_that_another_program_has_for_itself_is_not_joined(ray_here: str, tmp_path: Path) -> None:
    """It would end with that program."""
    text = """
        import ray
        where = lambda _: ray.get_runtime_context().get_node_id()
        print(*set(pd.Series(range(4)).par(engine="ray", n_workers=1).map(where)))
    """
    node = ray.get_runtime_context().get_node_id()
    found = printed(tmp_path, text).split()
    assert len(found) == 1
    assert found != [node]


def test_no_ray_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pdparallel.shutdown()
    (tmp_path / "ray.py").write_text("raise ImportError('no such thing here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ray")
    with pytest.raises(WorkerStartError, match="no such thing here"):
        S.par(engine="ray").map(str)
