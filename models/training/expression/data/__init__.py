"""Labelled pictures: where they come from, which part each belongs to, what webcams do to them."""
