"""Frames from a device or a recording, each with its time."""
