"""Fixtures that several kinds of test share."""

pytest_plugins = ["tests.fixtures_postgres", "tests.fixtures_redis"]
