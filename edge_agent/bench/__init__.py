"""Benchmarks of the agent: figures with the machine, the versions and the date they were measured on."""
