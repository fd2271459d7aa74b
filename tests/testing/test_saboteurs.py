"""Saboteurs: each does its harm in a worker, and none to the process that made it."""

from __future__ import annotations

import pickle
import time

import pandas as pd
import pytest

import pdparallel
from pdparallel.errors import CallTimeoutError, RemoteError, ResultNotSerializableError, WorkerDiedError
from pdparallel.testing import saboteurs
from pdparallel.testing.saboteurs import (
    Bomb,
    NotAWorkerError,
    NoTextError,
    NotReadable,
    NotWritable,
    TwoArgumentsError,
    WithLockError,
    ends,
    hangs,
    kills,
    loops,
    prints,
    raises,
    returns,
    when,
)

S = pd.Series([1, 2, 3, 4])
PROCESS = {"engine": "process", "n_workers": 2, "chunk_size": 1, "retries": 0}

#: What a value is at which the worker goes wrong, as errors="return" gives it.
SEEN = {
    "raises": (raises(ValueError("bad")), ValueError),
    "raises two": (raises(TwoArgumentsError(1, 2)), TwoArgumentsError),
    "raises with a lock": (raises(WithLockError), RemoteError),
    "raises without a text": (raises(NoTextError), NoTextError),
    "kills": (kills(), WorkerDiedError),
    "ends": (ends(5), WorkerDiedError),
    "returns what cannot be written": (returns(NotWritable), ResultNotSerializableError),
    "returns what cannot be read": (returns(NotReadable), ResultNotSerializableError),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_value_goes_wrong(name):
    sabotage, error = SEEN[name]
    came = S.par(**PROCESS, errors="return").map(when(3, sabotage, float)).tolist()
    assert came[:2] + came[3:] == [1.0, 2.0, 4.0]
    assert isinstance(came[2], error), came[2]


@pytest.mark.parametrize("sabotage", [hangs(), loops()], ids=["hangs", "loops"])
def test_a_value_takes_too_long(sabotage):
    came = S.par(**PROCESS, errors="return", timeout=1).map(when(lambda value: value > 3, sabotage)).tolist()
    assert came[:3] == [1, 2, 3]
    assert isinstance(came[3], CallTimeoutError)


@pytest.mark.parametrize("sabotage", [kills(), ends(), hangs(), loops()], ids=lambda one: type(one).__name__)
def test_none_harms_the_process_that_made_it(sabotage):
    with pytest.raises(NotAWorkerError, match="engine='process'"):
        sabotage(3)
    with pytest.raises(NotAWorkerError):
        pickle.loads(pickle.dumps(sabotage))(3)


def test_a_bomb_ends_who_reads_it():
    with pytest.raises(WorkerDiedError, match="exit code 7"):
        pdparallel.map(type, [1, Bomb(7)], **PROCESS)
    with pytest.raises(NotAWorkerError):
        pickle.loads(pickle.dumps(Bomb()))


def test_prints(capsys):
    assert prints("here", then=abs)(-1) == 1
    assert prints("there")(-1) == -1
    assert capsys.readouterr().out == "here\nthere\n"


def test_an_exception_is_another_one_each_time():
    error = ValueError("bad")
    error.code = 3
    caught = []
    for _ in range(2):
        with pytest.raises(ValueError, match="bad") as info:
            raises(error)()
        info.value.add_note("seen")
        caught.append(info.value)
    assert caught[0] is not caught[1]
    assert [one.code for one in caught] == [3, 3]
    assert caught[1].__notes__ == ["seen"]
    assert not hasattr(error, "__notes__")


def test_all_of_them_travel():
    for name in saboteurs.__all__:
        assert pickle.loads(pickle.dumps(getattr(saboteurs, name))) is getattr(saboteurs, name)
    began = time.monotonic()
    assert pickle.loads(pickle.dumps(hangs(0.5))).seconds == 0.5
    assert time.monotonic() - began < 60
