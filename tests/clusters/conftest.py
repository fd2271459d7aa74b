"""Each test of a suite is run on each of the clusters that its module, or its class, names."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster" in metafunc.fixturenames:
        names = getattr(metafunc.cls, "CLUSTERS", None) or metafunc.module.CLUSTERS
        metafunc.parametrize("cluster", names, indirect=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Any:
    """What ``engine=`` may be."""
    return request.getfixturevalue(request.module.CLUSTERS[request.param])
