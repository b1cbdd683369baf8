"""How a process listens for HTTP, and which connections it keeps when there are too many."""
