"""Timelines, shares and pages made from stored frames; pure functions, nothing here reads a store."""
