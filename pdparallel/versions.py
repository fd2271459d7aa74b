"""Versions: which pandas this is, where the two that there are go different ways."""

from __future__ import annotations

import pandas as pd

__all__ = ["PANDAS_2"]

#: Whether this is pandas 2, where a function that writes into what it is given writes into what that was cut from.
PANDAS_2 = int(pd.__version__.partition(".")[0]) < 3
