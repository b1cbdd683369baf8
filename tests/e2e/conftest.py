"""One platform for all end-to-end tests; they run one after another in one process (`xdist_group`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.demo.performer import Staging, film
from cloud.demo.schedule import Schedule, make_schedule
from tests.e2e.street_platform import StreetPlatform

SCHEDULE = make_schedule(["happy", "surprised", "neutral", "happy"], each_ms=2500)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("e2e"))


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreetPlatform]:
    platform = StreetPlatform(tmp_path_factory.mktemp("street"))
    platform.start()
    yield platform
    platform.stop()


@pytest.fixture(scope="session")
def schedule() -> Schedule:
    return SCHEDULE


@pytest.fixture(scope="session")
def performed_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of the self-made viewer."""
    path = tmp_path_factory.mktemp("films") / "viewer.mp4"
    film(SCHEDULE, Staging(seed=7), path)
    return path


@pytest.fixture(scope="session")
def data_folder() -> Path:
    folder = os.environ.get("COUNTENANCE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("COUNTENANCE_DATA names no folder with films of real people")
    return Path(folder)
