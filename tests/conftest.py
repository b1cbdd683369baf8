"""Fixtures that several kinds of test share."""

from collections.abc import Iterator

# First of all: where TensorFlow was loaded before it, its SRTP library crashes the process.
import aiortc  # noqa: F401
import pytest
import structlog
from hypothesis import settings

# How long one example takes says how busy the machine is, and nothing about the code.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")

pytest_plugins = [
    "tests.fixtures_films",
    "tests.fixtures_keys",
    "tests.fixtures_postgres",
    "tests.fixtures_redis",
]


@pytest.fixture(autouse=True)
def _logging_of_this_test_alone() -> Iterator[None]:
    """Undo what a command started in this process configured: its streams are closed after the test."""
    yield
    structlog.reset_defaults()
