"""A script as a user writes it, without a guard and without ``freeze_support()``, of which a program is made."""

import sys

import helper  # imports pdparallel itself, before it defines what is called
import pandas as pd

import pdparallel

WAYS = {
    "serial": {"engine": "serial"},
    "forkserver": {"engine": "process", "start_method": "forkserver"},
    "spawn": {"engine": "process", "start_method": "spawn"},
    "fork": {"engine": "process", "start_method": "fork"},
    "pathos forkserver": {"engine": "pathos", "start_method": "forkserver"},
    "pathos spawn": {"engine": "pathos", "start_method": "spawn"},
    "pathos fork": {"engine": "pathos", "start_method": "fork"},
}

print("begins", flush=True)
factor = 3
way = sys.argv[1]
s = pd.Series(range(8))
par = s.par(n_workers=2 if way != "serial" else None, chunk_size=1, **WAYS[way])
assert par.map(lambda value: value * factor).equals(s.map(lambda value: value * factor))
assert par.map(helper.twice).equals(s.map(helper.twice))
assert len(set(par.map(helper.process))) <= 2
assert (set(par.map(helper.process)) == {helper.process(0)}) == (way == "serial")
pdparallel.shutdown()
print("ends", flush=True)
