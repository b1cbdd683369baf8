"""Threads and tasks that move frames; they hold no decision."""
