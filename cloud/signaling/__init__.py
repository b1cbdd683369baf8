"""Decides whether a session may begin."""
