"""Fixtures that several kinds of test share."""

pytest_plugins = ["tests.fixtures_redis"]
