"""What every network needs to be loaded, and every command to be honest about it."""
