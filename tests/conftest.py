"""Fixtures that several kinds of test share."""

from hypothesis import settings

# How long one example takes says how busy the machine is, and nothing about the code.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")

pytest_plugins = ["tests.fixtures_postgres", "tests.fixtures_redis"]
