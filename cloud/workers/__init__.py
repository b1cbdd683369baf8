"""Thin async loops around the stages, one per process; each has `run(settings, stop=...)`."""
