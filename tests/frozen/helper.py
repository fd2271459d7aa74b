"""A module of the program."""

import os
import threading

import pdparallel


def twice(value: int) -> int:
    found = []
    thread = threading.Thread(target=lambda: found.append(__import__("pdparallel") is pdparallel))
    thread.start()
    thread.join(60)
    assert found == [True]
    return value * 2


def process(_: int) -> int:
    return os.getpid()
