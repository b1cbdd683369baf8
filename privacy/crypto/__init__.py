"""Keys, signatures, and the sealing of crops and timelines."""
