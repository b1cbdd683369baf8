"""The face detector: building and evaluation."""
