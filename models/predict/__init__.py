"""Reads the expression in ordinary pictures: face, aligned crop, expression, and why to doubt it."""
