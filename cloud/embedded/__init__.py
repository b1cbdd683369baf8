"""PostgreSQL and Redis started from pip-installed binaries, for one machine."""
