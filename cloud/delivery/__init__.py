"""Batches sealed crops for the stream, holds what cannot be written, decides what is poison."""
