"""Ray: one on this machine gives what pandas gives; what goes wrong there is told here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pdparallel.testing import assert_same_as_pandas
from pdparallel.testing.leaving import children, wait_until
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
    ray.shutdown()


@pytest.fixture
def none_is_here() -> None:
    """A program would find it, also while it ends."""
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
