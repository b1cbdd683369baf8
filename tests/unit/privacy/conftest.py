"""Fixtures of the privacy tests."""

import pytest

from tests.unit.privacy.worlds import World, make_world


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()
