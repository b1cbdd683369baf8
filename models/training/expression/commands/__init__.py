"""What each `countenance models` command about the expression network does."""
