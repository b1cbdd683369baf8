"""Opens sealed crops, reads an expression from each, wipes them."""
